package embedded_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/embedded"
)

// TestGarbageEndsTheConnectionOnly: kfake allocated what the first four bytes said, up to 4 GiB, and a request key it did
// not know ended the process.
func TestGarbageEndsTheConnectionOnly(t *testing.T) {
	t.Parallel()
	var log logRecorder
	b := start(t, embedded.Options{DataDir: t.TempDir(), Logger: log.logger()})
	request := func(key, version uint16, body string) string {
		r := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
		r = binary.BigEndian.AppendUint16(r, key)
		r = binary.BigEndian.AppendUint16(r, version)
		r = binary.BigEndian.AppendUint32(r, 1)
		return string(r) + body
	}
	for name, bytes := range map[string]string{
		"a browser":              "GET / HTTP/1.1\r\nHost: localhost:9092\r\n\r\n",
		"a TLS client":           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"a huge size":            "\xff\xff\xff\xff\x00\x00\x00\x00",
		"a size of zero":         "\x00\x00\x00\x00\x00\x00",
		"an unknown key":         request(999, 0, "\xff\xff"),
		"a negative key":         request(0xffff, 0, "\xff\xff"),
		"a reserved key":         request(127, 0, "\xff\xff"),
		"a cut-off body":         request(3, 12, "\xff\xff\x00"),
		"an array without end":   request(3, 1, "\xff\xff\x7f\xff\xff\xff"),
		"a version of tomorrow":  request(1, 999, "\xff\xff"),
		"a produce of nothing":   request(0, 9, "\xff\xff"),
		"zeros for a controller": request(52, 0, "\xff\xff"),
	} {
		conn, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		// Either an answer or the end, and then, when nothing more comes from this side, the end. The broker may have hung up
		// before the last byte, so errors on the way there say nothing.
		io.WriteString(conn, bytes)
		conn.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open", name)
		}
		conn.Close()
	}
	if !log.contains("not a Kafka client") || !log.contains("GET ") {
		t.Errorf("the log does not say what came in:\n%s", log.String())
	}
	if _, err := kadm.NewClient(client(t, b.Addr())).BrokerMetadata(within(t)); err != nil {
		t.Errorf("a Kafka client after the garbage: %v", err)
	}
}

// TestSlowBytesAreARequest: a request may come a byte at a time.
func TestSlowBytesAreARequest(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Options{DataDir: t.TempDir()})
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	apiVersions := []byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff}
	for range 3 { // one after the other on the same connection
		for _, c := range apiVersions {
			if _, err := conn.Write([]byte{c}); err != nil {
				t.Fatal(err)
			}
		}
		var head [8]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			t.Fatal(err)
		}
		if corr := binary.BigEndian.Uint32(head[4:]); corr != 7 {
			t.Fatalf("answer to correlation id %d, want 7", corr)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[:4]))-4); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnreasonableTopicsAreRefused: kfake made two billion partitions when asked to, and files for any name.
func TestUnreasonableTopicsAreRefused(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Options{DataDir: t.TempDir()})
	cl := client(t, b.Addr())
	create := func(topics ...kmsg.CreateTopicsRequestTopic) map[string]error {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Topics = topics
		resp, err := req.RequestWith(within(t), cl)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]error)
		for _, rt := range resp.Topics {
			got[rt.Topic] = kerr.ErrorForCode(rt.ErrorCode)
		}
		return got
	}
	topic := func(name string, partitions int32) kmsg.CreateTopicsRequestTopic {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, partitions, 1
		return rt
	}
	for _, name := range []string{"", ".", "..", "a b", "a/b", "ü", "a\x00b", strings.Repeat("x", 250)} {
		if err := create(topic(name, 1))[name]; !errors.Is(err, kerr.InvalidTopicException) {
			t.Errorf("topic %q: %v, want %v", name, err, kerr.InvalidTopicException)
		}
	}
	for _, n := range []int32{1001, 1 << 30} {
		if err := create(topic("many", n))["many"]; !errors.Is(err, kerr.InvalidPartitions) {
			t.Errorf("%d partitions: %v, want %v", n, err, kerr.InvalidPartitions)
		}
	}
	got := create(topic("good", 1), topic("b@d", 1))
	if got["good"] == nil || got["b@d"] == nil {
		t.Errorf("a request with one bad topic: %v, want both refused", got)
	}
	for i, name := range []string{"good", "a.b-c_D9", strings.Repeat("y", 249)} {
		if err := create(topic(name, int32(i+1)))[name]; err != nil {
			t.Errorf("topic %q: %v", name, err)
		}
	}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	gt := kmsg.NewCreatePartitionsRequestTopic()
	gt.Topic, gt.Count = "good", 1<<30
	grow.Topics = append(grow.Topics, gt)
	resp, err := grow.RequestWith(within(t), cl)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); !errors.Is(err, kerr.InvalidPartitions) {
		t.Errorf("grow to 2^30 partitions: %v, want %v", err, kerr.InvalidPartitions)
	}
}

// TestTwoClientsSeeOneLog: what one client writes the other reads, also when both write.
func TestTwoClientsSeeOneLog(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Options{DataDir: t.TempDir(), Fsync: true})
	one, two := client(t, b.Addr()), client(t, b.Addr())
	createTopic(t, one, "topic", 1, nil)
	for i := range 10 {
		produce(t, one, "topic", 1, func(int) []byte { return fmt.Appendf(nil, "one %d", i) })
		produce(t, two, "topic", 1, func(int) []byte { return fmt.Appendf(nil, "two %d", i) })
	}
	records := readAll(t, b.Addr(), "topic")
	if len(records) != 20 {
		t.Fatalf("read %d records, want 20", len(records))
	}
	for i, r := range records {
		if want := fmt.Sprintf("%s %d", []string{"one", "two"}[i%2], i/2); string(r.Value) != want {
			t.Errorf("offset %d holds %q, want %q", r.Offset, r.Value, want)
		}
	}
}
