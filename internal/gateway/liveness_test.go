package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

func TestAClientThatAnswersNoPingIsCutOff(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) { cfg.PingInterval = time.Second })
	// A library that does not read answers no ping.
	testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	live := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	live.Subscribe(nil, nil)
	go func() { _ = live.End() }()
	testkafka.Eventually(t, "one client is left", func(context.Context) error {
		if n := value(t, s.reg, "websocket_connected_clients"); n != 1 {
			return fmt.Errorf("%v are connected", n)
		}
		return nil
	})
}

// A client that reads slowly answers a ping late: what was sent before lies ahead
// of it. It was cut off although it took everything.
func TestASlowReaderIsNotTakenForADeadOne(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	const records = 8000
	var all []*kgo.Record
	for range records {
		all = append(all, &kgo.Record{Topic: topic, Value: []byte("\x07" + strings.Repeat("z", 1000))})
	}
	produce(t, c, all...)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.PingInterval = time.Second })
	slow := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	slow.Subscribe(testclient.Earliest(), nil)
	tick := time.NewTicker(60 * time.Millisecond)
	defer tick.Stop()
	slow.Until("all", func() bool {
		<-tick.C
		return len(slow.Records) == records && slow.CaughtUp == 1
	})
}

// A client that took five times what is asked of it was cut off: the system had taken
// megabytes for it, and took no more until a third of them was read.
func TestAClientThatTakesEnoughIsNotCutOff(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	all := make([]*kgo.Record, 20_000)
	for i := range all {
		all[i] = &kgo.Record{Topic: topic, Value: message(t, "thread", "tenant", uint64(i)+1, strings.Repeat("z", 1000))}
	}
	produce(t, c, all...)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.SendTimeout = time.Second }) // at least 64 KiB
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /v1/stream?from=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 50 {
		<-tick.C
		if _, err := io.CopyN(io.Discard, conn, 32<<10); err != nil {
			t.Fatal(err)
		}
		if n := value(t, s.reg, "websocket_slow_client_disconnects_total"); n != 0 {
			t.Fatal("the client was cut off for taking nothing")
		}
	}
}

// A session that waited for Kafka got no pings, and was then cut off because it had
// answered none.
func TestASessionThatWaitsForKafkaIsPinged(t *testing.T) {
	t.Parallel()
	cl := testkafka.NewFake(t, kfake.SeedTopics(2, "events"))
	// Of one partition nobody tells the end: caught up cannot be said.
	cl.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: "events", Partitions: []int32{1}, Err: kerr.LeaderNotAvailable, Count: -1})
	s := startOn(t, cl.ListenAddrs(), "events", func(cfg *gateway.Config) { cfg.PingInterval = time.Second })
	pings := make(chan struct{}, 100)
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws?from=latest", &websocket.DialOptions{
		OnPingReceived: func(context.Context, []byte) bool { pings <- struct{}{}; return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := conn.Read(t.Context()); err != nil {
				ended <- err
				return
			}
		}
	}()
	for range 4 {
		select {
		case <-pings:
		case err := <-ended:
			t.Fatalf("the session ended: %v", err)
		case <-time.After(patience):
			t.Fatal("no ping")
		}
	}
	if n := value(t, s.reg, "websocket_kafka_partitions_unread"); n != 1 {
		t.Errorf("%v partitions cannot be read, want 1", n)
	}
}

// A request for the event stream with a body was a stream that ended at once.
func TestAnEventStreamOutlivesWhatTheClientSends(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) { cfg.PingInterval = 100 * time.Millisecond })
	for name, request := range map[string]string{
		"body":      "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
		"pipelined": "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"HTTP/1.0":  "GET /v1/stream HTTP/1.0\r\nHost: localhost\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		for pings := 0; pings < 3; {
			line, err := in.ReadString('\n')
			if err != nil || strings.HasPrefix(line, "event: close") {
				t.Fatalf("%s: the stream ended: %q, %v", name, line, err)
			}
			if line == ": ping\n" {
				pings++
			}
		}
	}
	// One that goes on sending is cut off all the same.
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(conn, "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"+strings.Repeat("x", 1<<20))
	}()
	if b, _ := io.ReadAll(conn); !strings.Contains(string(b), "event: close\ndata: {\"code\":4502") {
		t.Errorf("a client that sends without end got %q", b)
	}
}

// Each fragment of a message, and a ping between them, began the time for it anew.
func TestAMessageInFragmentsHasOneDeadline(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) { cfg.HandshakeTimeout = 300 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	}()
	tick := time.NewTicker(50 * time.Millisecond) // well within the limit of frames a second
	defer tick.Stop()
	frame := "\x01\x81\x00\x00\x00\x00x" // the first fragment
	for sent := 0; ; sent++ {
		select {
		case err := <-ended:
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the session did not end")
			}
			return
		case <-tick.C:
			if _, err := io.WriteString(conn, frame); err != nil {
				return // cut off
			}
			frame = "\x00\x81\x00\x00\x00\x00x" // and one that goes on
			if sent%3 == 2 {
				frame = "\x89\x80\x00\x00\x00\x00" // or a ping
			}
			if sent > 100 {
				t.Fatal("a message of more than 5 s was not cut off after 0.3 s")
			}
		}
	}
}

// What is not known yet is not 0, which would be good news.
func TestNothingIsKnownBeforeTheTopicIsSeen(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	g, err := gateway.New(gateway.DefaultConfig("topic"), gateway.Deps{Feed: feed.Deps{Options: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1")}}, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	for _, name := range []string{"websocket_kafka_broker_silence_seconds", "websocket_kafka_partitions_unread", "websocket_client_apply_lag_records_max"} {
		if n := value(t, reg, name); n != -1 {
			t.Errorf("%s is %v, want -1", name, n)
		}
	}
}
