package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// A kilobyte that was stored became a frame of many megabytes.
func TestARecordThatIsTooLargeAsJSONIsShownAsSuch(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.Limits = wire.Limits{Framed: 1 << 20, Decoded: 1 << 20} })
	bomb := message(t, "k", "t", 1, strings.Repeat("\x01", 600_000))
	produce(t, c, &kgo.Record{Topic: topic, Key: []byte("k"), Value: bomb},
		&kgo.Record{Topic: topic, Key: []byte("k"), Value: message(t, "k", "t", 2, strings.Repeat("x", 600_000))})
	pb := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	js := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
	sse := testclient.SSE(t, s.URL, "?from=earliest", "")
	for _, cl := range []*testclient.Client{pb, js, sse} {
		if cl != sse {
			cl.Subscribe(testclient.Earliest(), nil)
		}
		cl.Until("both", func() bool { return len(cl.Records) == 2 && cl.CaughtUp == 1 })
	}
	if got := pb.Records[0]; string(got.GetValue()) != string(bomb) || got.GetError() != nil {
		t.Errorf("protobuf got %d bytes and %v, want what is stored", len(got.GetValue()), got.GetError())
	}
	for name, cl := range map[string]*testclient.Client{"json": js, "sse": sse} {
		e := cl.Records[0].GetError()
		if e.GetReason() != "too_large" || !strings.Contains(e.GetDetail(), "as JSON the message takes more than 1677720 bytes") || e.GetValueBytes() != int64(len(bomb)) {
			t.Errorf("%s: error %v, want too_large as JSON", name, e)
		}
		if got := cl.Records[1].GetMessage().GetTokenChunk().GetText(); len(got) != 600_000 {
			t.Errorf("%s: the record after it has %d bytes of text", name, len(got))
		}
	}
}

// Each filter had a frame of its own, for the same records.
func TestFiltersThatSelectTheSameShareFrames(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 700_000} {
		c := testkafka.Start(t, testkafka.Options{})
		topic := c.Topic(t, 1)
		s := start(t, c, topic, nil)
		var encoded atomic.Int32
		gateway.BreakEncoder(s.g, func() bool {
			encoded.Add(1)
			return false
		})
		var clients []*testclient.Client
		for i := range 20 {
			cl := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
			cl.Subscribe(nil, &streampb.Filter{Threads: []string{"k", fmt.Sprint("other", i)}})
			cl.Until("caught up", func() bool { return cl.CaughtUp == 1 })
			clients = append(clients, cl)
		}
		produce(t, c, &kgo.Record{Topic: topic, Key: []byte("k"), Value: message(t, "k", "t", 1, strings.Repeat("x", size))})
		for _, cl := range clients {
			cl.Until("the record", func() bool { return len(cl.Records) == 1 })
		}
		if got := encoded.Load(); got != 1 {
			t.Errorf("a record of %d bytes was encoded %d times, want once", size, got)
		}
	}
}

// While there is no room for a large record, its client is told nothing that lies
// behind it, is answered, and gets it once there is.
func TestALargeRecordWaitsForRoom(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.ProgressInterval = 10 * time.Millisecond })
	waiting, release := gateway.FillLarge(s.g)
	var records []*kgo.Record
	for i, thread := range []string{"other", "k", "other", "k"} {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(thread), Value: message(t, thread, "t", uint64(i+1), strings.Repeat("x", []int{9, 700_000, 9, 9}[i]))})
	}
	produce(t, c, records...)
	conn := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
	conn.Subscribe(testclient.Earliest(), &streampb.Filter{Threads: []string{"k"}})
	deadline := time.Now().Add(patience)
	for waiting() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the session does not wait for room")
		}
		<-time.After(time.Millisecond)
	}
	// Another session of the gateway is served meanwhile, and this one answered.
	small := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	small.Subscribe(testclient.Earliest(), &streampb.Filter{Threads: []string{"other"}})
	small.Until("small records", func() bool { return len(small.Records) == 2 && small.CaughtUp == 1 })
	conn.Subscribe(nil, nil)
	conn.Until("another subscription", func() bool { return conn.CaughtUp == 1 })
	if len(conn.Records) != 0 || conn.Positions[0] != 4 {
		t.Errorf("%d records, position %d", len(conn.Records), conn.Positions[0])
	}
	again, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws?from=earliest&thread=k", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.CloseNow() }()
	again.SetReadLimit(8 << 20)
	for waiting() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the session does not wait for room")
		}
		<-time.After(time.Millisecond)
	}
	if err := again.Write(t.Context(), websocket.MessageText, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answered := false
	for {
		_, b, err := again.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b[:min(len(b), 300)])
		switch {
		case strings.HasPrefix(text, `{"error"`):
			answered = true
			release()
		case strings.HasPrefix(text, `{"progress"`) && !strings.Contains(text, `"nextOffset":"1"`):
			t.Fatalf("told what lies behind the large record: %s", text)
		case strings.HasPrefix(text, `{"batch"`):
			if !answered || len(b) < 700_000 {
				t.Fatalf("a batch of %d bytes came first: %s", len(b), text)
			}
			return
		}
	}
}

// A filter looks into every record that may be sent: the limit is the one that is set.
func TestAFilterSelectsWhatTheSetLimitAllows(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.Limits = wire.Limits{Framed: 50 << 20, Decoded: 50 << 20} })
	plain, err := proto.Marshal(&dashstreampb.DashStreamMessage{Message: &dashstreampb.DashStreamMessage_TokenChunk{TokenChunk: &dashstreampb.TokenChunk{
		Header: &dashstreampb.Header{MessageId: make([]byte, 16), ThreadId: "thread", TenantId: "acme", Sequence: 1, SchemaVersion: 1},
		Text:   strings.Repeat("x", wire.DefaultMaxBytes+100),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	value, err := wire.Compress([]byte{1}, plain)
	if err != nil {
		t.Fatal(err)
	}
	produce(t, c, &kgo.Record{Topic: topic, Key: []byte("key"), Value: value})
	for name, f := range map[string]*streampb.Filter{
		"tenant": {Tenants: []string{"acme"}}, "thread": {Threads: []string{"thread"}},
		"type": {Types: []dashstreampb.MessageType{dashstreampb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK}},
	} {
		cl := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
		cl.Subscribe(testclient.Earliest(), f)
		cl.Until("caught up", func() bool { return cl.CaughtUp == 1 })
		if len(cl.Records) != 1 {
			t.Errorf("the filter of its %s got %d records of 10 MiB where 50 are allowed, want 1", name, len(cl.Records))
		}
	}
}
