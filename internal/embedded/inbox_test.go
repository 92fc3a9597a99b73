package embedded_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/embedded"
)

// dialRaw connects and sends bytes.
func dialRaw(t *testing.T, addr string, sent []byte) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Four bytes that say that 100 MiB follow took 100 MiB.
func TestAnnouncedRequestTakesNoMemory(t *testing.T) {
	b := start(t, embedded.Options{DataDir: t.TempDir()})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const clients = 20
	for range clients {
		announced := binary.BigEndian.AppendUint32(nil, 100<<20)
		conn := dialRaw(t, b.Addr(), append(announced, 0x7f, 0xff)) // no request's key, so that the end tells that it was read
		if _, err := io.ReadAll(conn); err != nil {
			t.Log(err) // reset is an end too
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("%d clients that announced 100 MiB and sent 6 bytes made the broker take %d MiB", clients, took>>20)
	}
}

// What clients send at once is bounded, and each of them gets on.
func TestLargeRequestsShareMemory(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.WithRequestBytes(embedded.Options{DataDir: t.TempDir()}, 1<<20))
	createTopic(t, client(t, b.Addr()), "topic", 1, nil)

	// One that stops in the middle of a request that is larger than all there is.
	stalled := dialRaw(t, b.Addr(), append(binary.BigEndian.AppendUint32(nil, 50<<20), make([]byte, 2<<20)...))

	const producers, each = 6, 3
	var clients []*kgo.Client
	for range producers {
		clients = append(clients, client(t, b.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(8<<20)))
	}
	var sending sync.WaitGroup
	for i, cl := range clients {
		sending.Go(func() {
			for range each {
				if err := cl.ProduceSync(within(t), &kgo.Record{Topic: "topic", Value: bytes.Repeat([]byte{byte(i)}, 3<<20)}).FirstErr(); err != nil {
					t.Errorf("producer %d: %v", i, err)
				}
			}
		})
	}
	// Small requests wait for nobody.
	if start, _ := offsets(t, client(t, b.Addr()), "topic"); start != 0 {
		t.Errorf("log start %d, want 0", start)
	}
	stalled.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		sending.Wait()
	}()
	most := int64(0)
	for done := false; !done; {
		most = max(most, embedded.RequestBytes(b))
		select {
		case <-sent:
			done = true
		case <-time.After(time.Millisecond):
		}
	}
	// What there is, and one request above it, with the place for what is still to come of it.
	if allowed := int64(1<<20 + 3<<20 + 2<<20); most > allowed {
		t.Errorf("held %d bytes of requests at once, want at most %d", most, allowed)
	}
	eventually(t, "all is given back", func() bool { return embedded.RequestBytes(b) == 0 })
	got := readAll(t, b.Addr(), "topic")
	if len(got) != producers*each {
		t.Fatalf("read %d records, want %d", len(got), producers*each)
	}
	for _, r := range got {
		if want := bytes.Repeat(r.Value[:1], 3<<20); !bytes.Equal(r.Value, want) {
			t.Errorf("offset %d is not what was sent", r.Offset)
		}
	}
}
