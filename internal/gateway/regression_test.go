package gateway_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// slowdown makes every request of a kind take a while.
func slowdown(c *kfake.Cluster, key kmsg.Key, d time.Duration, which func(kmsg.Request) bool) {
	c.ControlKey(key.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if which == nil || which(r) {
			c.SleepControl(func() { <-time.After(d) })
		}
		return nil, nil, false
	})
}

// A session whose read of old records had failed once was parked, and woke only
// for new records or a ping.
func TestAFailedReadIsTriedAgainWithoutNews(t *testing.T) {
	t.Parallel()
	cl := testkafka.NewFake(t, kfake.SeedTopics(2, "events"))
	k, err := kgo.NewClient(kgo.SeedBrokers(cl.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("events"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for i := range 20 {
		if err := k.ProduceSync(t.Context(), &kgo.Record{Partition: int32(i % 2), Key: []byte("k"), Value: message(t, "k", "t", uint64(i+1), "x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s := startOn(t, cl.ListenAddrs(), "events", func(c *gateway.Config) { c.PingInterval = time.Hour })
	cl.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "events", Partitions: []int32{0}, Err: kerr.NotLeaderForPartition, Count: 1,
		When: func(r kmsg.Request) bool { // the live reader asks at offset 10
			for _, t := range r.(*kmsg.FetchRequest).Topics {
				for _, p := range t.Partitions {
					if p.Partition == 0 && p.FetchOffset == 0 {
						return true
					}
				}
			}
			return false
		}})
	c := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	c.Subscribe(testclient.Earliest(), nil)
	c.Until("all", func() bool { return len(c.Records) == 20 && c.CaughtUp == 1 })
}

// Frames that were cached for filters which nobody has any more piled up
// beside a tail that got no new records.
func TestFramesOfManyFiltersStayWithinTheBound(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.Feed.TailBytes, cfg.Feed.CacheBytes = 1<<20, 1<<20 })
	var records []*kgo.Record
	for i := range 100 {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte("k"), Value: message(t, "k", "t", uint64(i+1), strings.Repeat("x", 8000))})
	}
	produce(t, c, records...)
	for i := range 20 {
		w := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
		w.Subscribe(testclient.Earliest(), &streampb.Filter{Tenants: []string{"t", fmt.Sprint("x", i)}})
		w.Until("all", func() bool { return len(w.Records) == 100 && w.CaughtUp == 1 })
		w.Close()
	}
	// The newest segment always stays, with whatever is cached for it.
	if tail, cache := s.g.Feed().TailBytes(), s.g.Feed().CacheBytes(); tail > 3<<20 || cache > 3<<20 {
		t.Errorf("hot tail of %d bytes and cache of %d, bounded at %d each", tail, cache, 1<<20)
	}
}

// A ping, an ack or a second subscription while the first one waited for Kafka
// had the client cut off as if the stream could not be read; pings in a row kept
// it from ever beginning.
func TestASubscriptionBeginsWhateverTheClientSays(t *testing.T) {
	t.Parallel()
	cl := testkafka.NewFake(t, kfake.SeedTopics(1, "events"))
	s := startOn(t, cl.ListenAddrs(), "events", nil)
	slowdown(cl, kmsg.ListOffsets, 200*time.Millisecond, nil)
	subscribe := []byte(`{"subscribe":{"start":{"earliest":true}}}`)
	for name, say := range map[string]func(context.Context, *websocket.Conn) error{
		"subscribe": func(ctx context.Context, c *websocket.Conn) error {
			return c.Write(ctx, websocket.MessageText, subscribe)
		},
		"bad ack": func(ctx context.Context, c *websocket.Conn) error {
			return c.Write(ctx, websocket.MessageText, []byte(`{"ack":{}}`))
		},
		"pings": func(ctx context.Context, c *websocket.Conn) error {
			go func() {
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for range 40 {
					<-tick.C
					go func() { _ = c.Ping(ctx) }() // answered once the subscription has begun
				}
			}()
			return nil
		},
	} {
		conn, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := conn.Write(ctx, websocket.MessageText, subscribe); err != nil {
			t.Fatal(err)
		}
		<-time.After(300 * time.Millisecond) // the second question is under way
		if err := say(ctx, conn); err != nil {
			t.Fatal(err)
		}
		for {
			_, b, err := conn.Read(ctx)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			if strings.Contains(string(b), "caughtUp") {
				break
			}
		}
		cancel()
		_ = conn.CloseNow()
	}
}

// A client whose filter matched nothing in a long history was told nothing
// until the end of it, and began again wherever it was cut off.
func TestProgressIsToldWhileOldRecordsAreRead(t *testing.T) {
	t.Parallel()
	cl := testkafka.NewFake(t, kfake.SeedTopics(1, "events"))
	k, err := kgo.NewClient(kgo.SeedBrokers(cl.ListenAddrs()...), kgo.DefaultProduceTopic("events"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	noise := make([]byte, 60_000)
	for i := range noise {
		noise[i] = byte('a' + rand.IntN(26))
	}
	var records []*kgo.Record
	for i := range 200 {
		records = append(records, &kgo.Record{Key: []byte("k"), Value: message(t, "k", "t", uint64(i+1), fmt.Sprint(i)+string(noise[i:]))})
	}
	if err := k.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s := startOn(t, cl.ListenAddrs(), "events", func(c *gateway.Config) { c.ProgressInterval, c.Feed.CacheBytes = 20*time.Millisecond, 1<<20 })
	slowdown(cl, kmsg.Fetch, 100*time.Millisecond, func(r kmsg.Request) bool {
		f := r.(*kmsg.FetchRequest)
		return len(f.Topics) > 0 && f.Topics[0].Partitions[0].FetchOffset < 200
	})
	c := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	c.Subscribe(testclient.Earliest(), &streampb.Filter{Threads: []string{"nobody"}})
	before := 0
	c.Until("caught up", func() bool {
		if c.CaughtUp == 0 {
			before = c.Progress
		}
		return c.CaughtUp == 1
	})
	if before < 2 {
		t.Errorf("%d progress frames before caught up, want some", before)
	}
}

// An old producer's batch: the headers of its events are authoritative, its own
// names no tenant.
func TestABatchIsSelectedByItsEvents(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	event := func(thread, tenant string, seq uint64) *dashstreampb.Event {
		return &dashstreampb.Event{EventType: dashstreampb.EventType_EVENT_TYPE_NODE_START, NodeId: "n", Header: &dashstreampb.Header{MessageId: make([]byte, 16), ThreadId: thread, TenantId: tenant, Sequence: seq, TimestampUs: 1, Type: dashstreampb.MessageType_MESSAGE_TYPE_EVENT}}
	}
	batch, err := wire.Append(nil, &dashstreampb.DashStreamMessage{Message: &dashstreampb.DashStreamMessage_EventBatch{EventBatch: &dashstreampb.EventBatch{
		Header: &dashstreampb.Header{MessageId: make([]byte, 16), ThreadId: "t", Type: dashstreampb.MessageType_MESSAGE_TYPE_EVENT_BATCH},
		Events: []*dashstreampb.Event{event("t", "red", 1), event("u", "blue", 1)},
	}}}, wire.MaxProducerBytes)
	if err != nil {
		t.Fatal(err)
	}
	produce(t, c, &kgo.Record{Topic: topic, Key: []byte("t"), Value: batch})
	s := start(t, c, topic, nil)
	for _, tc := range []struct {
		filter *streampb.Filter
		want   int
	}{
		{&streampb.Filter{Threads: []string{"t"}}, 1},
		{&streampb.Filter{Threads: []string{"u"}}, 1},
		{&streampb.Filter{Tenants: []string{"red"}}, 1},
		{&streampb.Filter{Types: []dashstreampb.MessageType{dashstreampb.MessageType_MESSAGE_TYPE_EVENT}}, 1},
		{&streampb.Filter{Types: []dashstreampb.MessageType{dashstreampb.MessageType_MESSAGE_TYPE_EVENT_BATCH}}, 1},
		{&streampb.Filter{Threads: []string{"t"}, Tenants: []string{"blue"}}, 0}, // no event is both
		{&streampb.Filter{Types: []dashstreampb.MessageType{dashstreampb.MessageType_MESSAGE_TYPE_CHECKPOINT}}, 0},
	} {
		w := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
		w.Subscribe(testclient.Earliest(), tc.filter)
		w.Until("caught up", func() bool { return w.CaughtUp == 1 })
		if len(w.Records) != tc.want {
			t.Errorf("%v: %d records, want %d", tc.filter, len(w.Records), tc.want)
		}
	}
}

// A filter with a field of a newer protocol selected everything.
func TestAnUnknownFieldIsRefusedAtAnyDepth(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), nil)
	filter := &streampb.Filter{}
	filter.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 77, protowire.BytesType), "only-this"))
	w := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	w.Subscribe(testclient.Earliest(), filter)
	w.Until("an answer", func() bool { return len(w.Errors) > 0 || len(w.Positions) > 0 })
	if len(w.Errors) != 1 || w.Errors[0].GetField() != "frame" {
		t.Errorf("errors %v, positions %v", w.Errors, w.Positions)
	}
}

// The cursor of subscribed came before the reset: a client that was cut off in
// between kept its void state.
func TestAResetComesBeforeTheNewCursor(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	fill(t, c, topic, 1, 5)
	s := start(t, c, topic, nil)
	id := testclient.SSE(t, s.URL, "", "")
	id.Until("hello", func() bool { return id.StreamID != "" })
	for _, last := range []string{id.StreamID + ":0=99", "AAAAAAAAAAAAAAAA:0=1"} {
		w := testclient.SSE(t, s.URL, "", last)
		w.Until("a cursor", func() bool { return len(w.Positions) > 0 })
		if len(w.Resets) != 1 {
			t.Errorf("%s: the first cursor came with %d resets before it, want 1", last, len(w.Resets))
		}
	}
}

// An event stream whose cursor can mean nothing stayed open and empty.
func TestAnEventStreamWithAnImpossibleCursorEnds(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), nil)
	id := testclient.SSE(t, s.URL, "", "")
	id.Until("hello", func() bool { return id.StreamID != "" })
	w := testclient.SSE(t, s.URL, "", id.StreamID+":0=0,7=0")
	err := w.End()
	if len(w.Errors) != 1 || !strings.Contains(w.Errors[0].GetMessage(), "partition 7") || err == nil || !strings.Contains(err.Error(), "4500") {
		t.Errorf("errors %v, end %v", w.Errors, err)
	}
}

// The connection was closed with bytes of the client unread, so the system reset
// it, and the client lost the close frame that says why.
func TestAClientThatStillSendsLearnsWhyItIsCutOff(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), nil)
	for range 5 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		big := make([]byte, 8<<20)
		header := binary.BigEndian.AppendUint64([]byte{0x81, 0xff}, uint64(len(big)))
		if _, err := conn.Write(append(append(header, 0, 0, 0, 0), big...)); err != nil {
			t.Errorf("writing a large message: %v", err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("reading the end: %v", err)
		}
		if !strings.Contains(string(got), "frame too large") {
			t.Errorf("the client got no close frame in %d bytes", len(got))
		}
		_ = conn.Close()
	}
}
