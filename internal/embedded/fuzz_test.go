package embedded_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/embedded"
)

// FuzzRequest sends one frame with any key, version and body. Invariants: the process lives, and another client is served
// afterwards.
func FuzzRequest(f *testing.F) {
	b, err := embedded.Start(f.Context(), embedded.Options{DataDir: f.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			f.Error(err)
		}
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(cl.Close)
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(f.Context(), 2, 1, nil, "topic"); err != nil {
		f.Fatal(err)
	}
	if err := cl.ProduceSync(f.Context(), &kgo.Record{Topic: "topic", Value: []byte("value")}).FirstErr(); err != nil {
		f.Fatal(err)
	}
	for key := range int16(100) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		for _, version := range []int16{0, req.MaxVersion() / 2, req.MaxVersion()} {
			req.SetVersion(version)
			f.Add(uint16(key), uint16(version), req.AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version uint16, body []byte) {
		conn, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		frame := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
		frame = binary.BigEndian.AppendUint16(frame, key)
		frame = binary.BigEndian.AppendUint16(frame, version)
		frame = binary.BigEndian.AppendUint32(frame, 1)
		frame = append(frame, 0xff, 0xff) // no client id
		frame = append(frame, body...)
		if err := conn.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(frame); err != nil {
			return // the broker ended the connection; its right
		}
		io.ReadFull(conn, make([]byte, 8)) // an answer, the end, or a request that waits: all are fine
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := kmsg.NewPtrListGroupsRequest().RequestWith(ctx, cl); err != nil {
			t.Fatalf("key %d version %d body %x: another client is not served: %v", key, version, body, err)
		}
	})
}
