package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

const patience = 30 * time.Second

// server is a gateway behind a real HTTP server.
type server struct {
	*httptest.Server
	g   *gateway.Gateway
	mux *http.ServeMux
	reg *prometheus.Registry
	// stop ends it as a process ends on SIGTERM.
	stop func()
}

func start(t *testing.T, c *testkafka.Cluster, topic string, change func(*gateway.Config)) *server {
	t.Helper()
	return startOn(t, c.Brokers(), topic, change)
}

func startOn(t *testing.T, brokers []string, topic string, change func(*gateway.Config)) *server {
	t.Helper()
	return startLogged(t, brokers, topic, nil, change)
}

func startLogged(t *testing.T, brokers []string, topic string, log *slog.Logger, change func(*gateway.Config)) *server {
	t.Helper()
	cfg := gateway.DefaultConfig(topic)
	cfg.Feed.RefreshInterval = 100 * time.Millisecond
	cfg.ProgressInterval = 50 * time.Millisecond
	if change != nil {
		change(&cfg)
	}
	reg := prometheus.NewPedanticRegistry()
	g, err := gateway.New(cfg, gateway.Deps{Feed: feed.Deps{Options: []kgo.Opt{kgo.SeedBrokers(brokers...)}}, Logger: log, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(ctx) })
	mux := http.NewServeMux()
	g.Routes(mux)
	s := &server{Server: httptest.NewServer(mux), g: g, mux: mux, reg: reg}
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			sctx, scancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer scancel()
			g.Shutdown(sctx)
			cancel()
			wg.Wait()
			g.Close()
			s.Close()
		})
	}
	t.Cleanup(s.stop)
	select {
	case <-g.Feed().Started():
	case <-time.After(patience):
		t.Fatalf("the feed did not start: %v", g.Feed().Ready())
	}
	return s
}

// message makes a stored value.
func message(t testing.TB, thread, tenant string, seq uint64, text string) []byte {
	t.Helper()
	b, err := wire.Append(nil, &dashstreampb.DashStreamMessage{Message: &dashstreampb.DashStreamMessage_TokenChunk{TokenChunk: &dashstreampb.TokenChunk{
		Header: &dashstreampb.Header{MessageId: make([]byte, 16), ThreadId: thread, TenantId: tenant, Sequence: seq, TimestampUs: time.Now().UnixMicro(), Type: dashstreampb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK},
		Text:   text,
	}}}, wire.MaxProducerBytes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func produce(t testing.TB, c *testkafka.Cluster, records ...*kgo.Record) {
	t.Helper()
	cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := cl.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func fill(t *testing.T, c *testkafka.Cluster, topic string, partitions, n int) {
	t.Helper()
	var records []*kgo.Record
	for i := range n {
		for p := range partitions {
			thread := fmt.Sprintf("thread-%d-%d", p, i%5)
			records = append(records, &kgo.Record{Topic: topic, Partition: int32(p), Key: []byte(thread), Value: message(t, thread, []string{"red", "blue"}[i%2], uint64(i+1), strings.Repeat("x", 200))})
		}
	}
	produce(t, c, records...)
}

func TestEveryKindOfClientSeesTheSameStream(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	fill(t, c, topic, 3, 400)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.Feed.TailBytes, cfg.Feed.CacheBytes = 1<<20, 1<<20 })

	pb := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	js := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
	pb.Subscribe(testclient.Earliest(), nil)
	js.Subscribe(testclient.Earliest(), nil)
	sse := testclient.SSE(t, s.URL, "?from=earliest", "")
	clients := map[string]*testclient.Client{"proto": pb, "json": js, "sse": sse}
	fill(t, c, topic, 3, 600)
	for name, cl := range clients {
		cl.Until(name, func() bool { return len(cl.Records) == 3000 && cl.CaughtUp == 1 })
		cl.Complete(1000, 1000, 1000)
		if cl.Hello.GetTopic() != topic || len(cl.Hello.GetPartitions()) != 3 || cl.Hello.GetLimits().GetMaxRecordBytes() == 0 {
			t.Errorf("%s: hello %v", name, cl.Hello)
		}
	}
	for i, r := range pb.Records {
		m, err := wire.Decode(r.GetValue(), wire.DefaultLimits())
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if r.GetMessage() != nil || r.GetError() != nil {
			t.Fatalf("record %d on the protobuf subprotocol: %v", i, r)
		}
		_ = m
	}
	byPlace := map[[2]int64]*streampb.Record{}
	for _, r := range pb.Records {
		byPlace[[2]int64{int64(r.GetPartition()), r.GetOffset()}] = r
	}
	for name, cl := range map[string]*testclient.Client{"json": js, "sse": sse} {
		for _, r := range cl.Records {
			stored := byPlace[[2]int64{int64(r.GetPartition()), r.GetOffset()}]
			want, err := wire.Decode(stored.GetValue(), wire.DefaultLimits())
			if err != nil || !proto.Equal(want, r.GetMessage()) || r.GetTimestampMs() != stored.GetTimestampMs() || string(r.GetKey()) != string(stored.GetKey()) {
				t.Fatalf("%s: partition %d offset %d differs from what is stored", name, r.GetPartition(), r.GetOffset())
			}
		}
	}
}

func TestAClientResumesOnAnotherGateway(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	fill(t, c, topic, 2, 500)
	first := start(t, c, topic, nil)
	cl := testclient.Dial(t, first.URL, "dashstream.v1+proto", nil)
	cl.Subscribe(testclient.Earliest(), nil)
	cl.Until("a part", func() bool { return len(cl.Records) >= 300 })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		first.stop()
	}()
	err := cl.End() // a client that does not read until it has stopped is cut off before it could be told
	<-stopped
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 4000 {
		t.Errorf("the first gateway ended the session with %v, want code 4000", err)
	}
	fill(t, c, topic, 2, 100)

	second := start(t, c, topic, nil)
	again := testclient.Dial(t, second.URL, "dashstream.v1+json", nil)
	again.Subscribe(cl.Resume(), nil)
	again.Until("the rest", func() bool { return again.CaughtUp == 1 })
	testclient.Complete(t, append(cl.Records, again.Records...), 600, 600)
	if len(again.Gaps)+len(again.Resets) > 0 {
		t.Errorf("gaps %v, resets %v", again.Gaps, again.Resets)
	}
}

func TestAnEventSourceResumesByItsLastEventID(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	fill(t, c, topic, 2, 300)
	s := start(t, c, topic, nil)
	first := testclient.SSE(t, s.URL, "?from=earliest", "")
	first.Until("a part", func() bool { return len(first.Records) >= 100 })
	first.Close()
	// The browser repeats the URL as it was; the header decides.
	second := testclient.SSE(t, s.URL, "?from=earliest", first.LastEventID)
	second.Until("the rest", func() bool { return second.CaughtUp == 1 })
	testclient.Complete(t, append(first.Records, second.Records...), 300, 300)
	// An event that moves one partition says where all of them are.
	got := len(second.Records)
	produce(t, c, &kgo.Record{Topic: topic, Partition: 1, Value: message(t, "one more", "red", 1, "x")})
	second.Until("one more", func() bool { return len(second.Records) == got+1 })
	second.Close()
	third := testclient.SSE(t, s.URL, "?from=earliest", second.LastEventID)
	third.Until("caught up", func() bool { return third.CaughtUp == 1 })
	if n := len(third.Records); n > 0 {
		t.Errorf("%d records came again", n)
	}
}

func TestFiltersSelectExactlyAndTellProgress(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	fill(t, c, topic, 2, 200)
	s := start(t, c, topic, nil)
	thread := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	thread.Subscribe(testclient.Earliest(), &streampb.Filter{Threads: []string{"thread-0-3"}})
	both := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	both.Subscribe(testclient.Earliest(), &streampb.Filter{Threads: []string{"thread-0-3", "thread-1-2"}, Tenants: []string{"red"}})
	none := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
	none.Subscribe(testclient.Earliest(), &streampb.Filter{Types: []dashstreampb.MessageType{dashstreampb.MessageType_MESSAGE_TYPE_CHECKPOINT}})
	for _, cl := range []*testclient.Client{thread, both, none} {
		cl.Until("caught up", func() bool { return cl.CaughtUp == 1 })
	}
	fill(t, c, topic, 2, 100) // and live
	thread.Until("live", func() bool { return len(thread.Records) == 60 })
	both.Until("live", func() bool { return len(both.Records) == 60 })
	none.Until("progress", func() bool { return none.Positions[0] == 300 && none.Positions[1] == 300 })
	if len(none.Records) > 0 || none.Progress == 0 {
		t.Errorf("a filter that matches nothing got %d records and %d progress frames", len(none.Records), none.Progress)
	}
	for _, r := range thread.Records {
		if string(r.GetKey()) != "thread-0-3" {
			t.Fatalf("thread filter let %q through", r.GetKey())
		}
	}
	for _, r := range both.Records {
		m, err := wire.Decode(r.GetValue(), wire.DefaultLimits())
		if err != nil || wire.HeaderOf(m).GetTenantId() != "red" {
			t.Fatalf("tenant filter let %v through (%v)", wire.HeaderOf(m), err)
		}
	}
}

// A subscribe takes the place of the one before with all that it says: neither
// what the log holds nor what comes later is chosen by the old filter.
func TestASubscribeReplacesTheFilter(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	fill(t, c, topic, 1, 20)
	s := start(t, c, topic, nil)
	cl := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	last := int64(20) // the end of the log
	for i, tc := range []struct {
		filter *streampb.Filter
		of     func(thread, tenant string) bool
	}{
		{&streampb.Filter{Tenants: []string{"red"}}, func(_, tenant string) bool { return tenant == "red" }},
		{&streampb.Filter{Tenants: []string{"blue"}}, func(_, tenant string) bool { return tenant == "blue" }},
		{&streampb.Filter{Threads: []string{"thread-0-1"}}, func(thread, _ string) bool { return thread == "thread-0-1" }},
		{nil, func(string, string) bool { return true }},
		{&streampb.Filter{Threads: []string{"thread-0-2"}}, func(thread, _ string) bool { return thread == "thread-0-2" }},
	} {
		cl.Subscribe(testclient.Earliest(), tc.filter)
		cl.Until("caught up", func() bool { return cl.CaughtUp == i+1 })
		fill(t, c, topic, 1, 20)
		last += 20
		cl.Until("live", func() bool { return cl.Positions[0] == last })
		want := 0
		for n := range last {
			if tc.of(fmt.Sprintf("thread-0-%d", n%20%5), []string{"red", "blue"}[n%20%2]) {
				want++
			}
		}
		if len(cl.Records) != want {
			t.Errorf("subscribe %d: %d records, want %d", i, len(cl.Records), want)
		}
		for _, r := range cl.Records {
			m, err := wire.Decode(r.GetValue(), wire.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if h := wire.HeaderOf(m); !tc.of(h.GetThreadId(), h.GetTenantId()) {
				t.Errorf("subscribe %d: a record of thread %s and tenant %s came", i, h.GetThreadId(), h.GetTenantId())
			}
		}
		cl.Records = nil
	}
}

func TestAnUnreadableRecordIsShownAmongGoodOnes(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	good := message(t, "a", "b", 1, "fine")
	produce(t, c,
		&kgo.Record{Topic: topic, Value: good}, &kgo.Record{Topic: topic, Value: []byte{7, 7, 7}},
		&kgo.Record{Topic: topic}, &kgo.Record{Topic: topic, Value: []byte{0, 0xff}}, &kgo.Record{Topic: topic, Value: good})
	s := start(t, c, topic, nil)
	js := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
	js.Subscribe(testclient.Earliest(), nil)
	js.Until("all", func() bool { return js.CaughtUp == 1 })
	js.Complete(5)
	var reasons []string
	for _, r := range js.Records {
		reasons = append(reasons, r.GetError().GetReason())
	}
	if got, want := fmt.Sprint(reasons), "[ unknown_framing empty malformed ]"; got != want {
		t.Errorf("reasons %s, want %s", got, want)
	}
	pb := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	pb.Subscribe(testclient.Earliest(), nil)
	pb.Until("all", func() bool { return pb.CaughtUp == 1 })
	if got := pb.Records[1].GetValue(); string(got) != "\x07\x07\x07" {
		t.Errorf("the stored bytes came as %x", got)
	}
}

func TestAClientThatStopsReadingIsCutOffAndResumes(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.SendTimeout = 300 * time.Millisecond })
	slow := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	slow.Subscribe(nil, nil)
	slow.Until("subscribed", func() bool { return len(slow.Positions) == 1 })
	// More than the sockets hold, while slow reads nothing.
	const batches = 40
	records := make([]*kgo.Record, 1000)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Value: []byte("\x07" + strings.Repeat("z", 900))}
	}
	producing := make(chan struct{})
	go func() {
		defer close(producing)
		for range batches {
			produce(t, c, records...)
		}
	}()
	defer func() { <-producing }()
	fast := keepUp(t, s, nil, batches*1000)
	fast.Complete(batches * 1000)
	testkafka.Eventually(t, "the slow client is gone", func(context.Context) error {
		if n := value(t, s.reg, "websocket_slow_client_disconnects_total"); n < 1 {
			return errors.New("no slow client was cut off")
		}
		if n := value(t, s.reg, "websocket_connected_clients"); n != 1 {
			return fmt.Errorf("%v clients are connected", n)
		}
		return nil
	})
	_ = slow.End()
	keepUp(t, s, slow, batches*1000).Complete(batches * 1000)
}

// keepUp reads until it has n records, coming back with its cursor whenever it
// is cut off, as any client does. It goes on where before ended, or begins at
// the start.
func keepUp(t *testing.T, s *server, before *testclient.Client, n int) *testclient.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for {
		c := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
		start := testclient.Earliest()
		if before != nil {
			start = before.Resume()
			c.Records = before.Records
		}
		c.Subscribe(start, nil)
		var err error
		for err == nil && len(c.Records) < n {
			err = c.Step(ctx)
		}
		if err == nil {
			return c
		}
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records: %v", len(c.Records), n, err)
		}
		c.Close()
		if c.Positions[0] > 0 || before == nil {
			before = c
		}
	}
}

// value returns the sum of a metric's series.
func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		found = true
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if !found {
		t.Fatalf("no metric %s", name)
	}
	return sum
}

func TestMetricsCountWhatClientsGot(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	fill(t, c, topic, 2, 50)
	s := start(t, c, topic, nil)
	a := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	a.Subscribe(testclient.Earliest(), nil)
	a.Until("caught up", func() bool { return a.CaughtUp == 1 })
	b := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
	b.Subscribe(testclient.Earliest(), &streampb.Filter{Tenants: []string{"red"}})
	b.Until("caught up", func() bool { return b.CaughtUp == 1 })
	fill(t, c, topic, 2, 10)
	a.Until("live", func() bool { return len(a.Records) == 120 })
	b.Until("live", func() bool { return len(b.Records) == 60 })
	for name, want := range map[string]float64{
		"websocket_messages_sent_total":   180,
		"websocket_replay_messages_total": 150,
		"websocket_resume_requests_total": 2,
		"websocket_kafka_messages_total":  20, // the hot tail began after the first hundred
		"websocket_connected_clients":     2,
	} {
		if got := value(t, s.reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}
