package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

const patience = 30 * time.Second

// server is a gateway behind a real HTTP server.
type server struct {
	*httptest.Server
	g   *gateway.Gateway
	reg *prometheus.Registry
	// stop ends it as a process ends on SIGTERM.
	stop func()
}

func start(t *testing.T, c *testkafka.Cluster, topic string, change func(*gateway.Config)) *server {
	t.Helper()
	cfg := gateway.DefaultConfig(topic)
	cfg.Feed.RefreshInterval = 100 * time.Millisecond
	cfg.ProgressInterval = 50 * time.Millisecond
	if change != nil {
		change(&cfg)
	}
	reg := prometheus.NewPedanticRegistry()
	g, err := gateway.New(cfg, gateway.Deps{Feed: feed.Deps{Options: []kgo.Opt{kgo.SeedBrokers(c.Brokers()...)}}, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(ctx) })
	mux := http.NewServeMux()
	g.Routes(mux)
	s := &server{Server: httptest.NewServer(mux), g: g, reg: reg}
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

// client is a client of any kind, held to the protocol's promise.
type client struct {
	t     *testing.T
	next  func(context.Context) (*streampb.ServerFrame, error)
	send  func(*streampb.ClientFrame)
	close func()

	hello   *streampb.Hello
	stream  string
	cursor  map[int32]int64
	records []*streampb.Record
	gaps    []*streampb.Gap
	resets  []*streampb.Reset
	errs    []*streampb.Error
	caught  int
	moved   int // progress frames
}

func dial(t *testing.T, s *server, protocol string, header http.Header) *client {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws", &websocket.DialOptions{Subprotocols: []string{protocol}, HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.Subprotocol(); got != protocol {
		t.Fatalf("subprotocol %q, want %q", got, protocol)
	}
	conn.SetReadLimit(64 << 20)
	binary := protocol == "dashstream.v1+proto"
	c := &client{t: t, cursor: map[int32]int64{}}
	c.next = func(ctx context.Context) (*streampb.ServerFrame, error) {
		typ, b, err := conn.Read(ctx)
		if err != nil {
			return nil, err
		}
		if (typ == websocket.MessageBinary) != binary {
			t.Fatalf("a %v message on %s", typ, protocol)
		}
		f := &streampb.ServerFrame{}
		if binary {
			err = proto.Unmarshal(b, f)
		} else {
			err = protojson.Unmarshal(b, f)
		}
		if err != nil {
			t.Fatalf("frame of %d bytes: %v", len(b), err)
		}
		return f, nil
	}
	c.send = func(f *streampb.ClientFrame) {
		t.Helper()
		typ, b := websocket.MessageText, []byte(nil)
		var err error
		if binary {
			typ = websocket.MessageBinary
			b, err = proto.Marshal(f)
		} else {
			b, err = protojson.Marshal(f)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Write(t.Context(), typ, b); err != nil {
			t.Fatal(err)
		}
	}
	c.close = func() { _ = conn.CloseNow() }
	t.Cleanup(c.close)
	return c
}

// openSSE connects to the event stream as a browser's EventSource would.
func openSSE(t *testing.T, s *server, query, lastID string) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v1/stream"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: %s", resp.Status, resp.Header.Get("Content-Type"), b)
	}
	in := bufio.NewReaderSize(resp.Body, 1<<20)
	c := &client{t: t, cursor: map[int32]int64{}, close: func() { cancel(); _ = resp.Body.Close() }}
	t.Cleanup(c.close)
	c.next = func(context.Context) (*streampb.ServerFrame, error) {
		var event, data, id string
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return nil, err
			}
			line = strings.TrimSuffix(line, "\n")
			switch {
			case line == "" && data != "":
				if event == "close" {
					return nil, errors.New(data)
				}
				f := &streampb.ServerFrame{}
				if err := protojson.Unmarshal([]byte(data), f); err != nil {
					t.Fatalf("event %s: %v in %s", event, err, data)
				}
				if id != "" {
					lastEventIDs.Store(c, id)
				}
				return f, nil
			case strings.HasPrefix(line, "event: "):
				event = line[7:]
			case strings.HasPrefix(line, "data: "):
				data = line[6:]
			case strings.HasPrefix(line, "id: "):
				id = line[4:]
			}
		}
	}
	return c
}

// lastEventIDs holds, by client, the id of the last event.
var lastEventIDs sync.Map

func (c *client) subscribe(start *streampb.Start, filter *streampb.Filter) {
	c.send(&streampb.ClientFrame{Frame: &streampb.ClientFrame_Subscribe{Subscribe: &streampb.Subscribe{Start: start, Filter: filter}}})
}

func earliest() *streampb.Start {
	return &streampb.Start{From: &streampb.Start_Earliest{Earliest: true}}
}

func (c *client) merge(cur *streampb.Cursor) {
	if cur.GetStreamId() != c.stream {
		c.t.Fatalf("cursor of stream %q in stream %q", cur.GetStreamId(), c.stream)
	}
	for _, p := range cur.GetPartitions() {
		if p.GetNextOffset() < c.cursor[p.GetPartition()] {
			c.t.Fatalf("partition %d: the cursor goes back from %d to %d", p.GetPartition(), c.cursor[p.GetPartition()], p.GetNextOffset())
		}
		c.cursor[p.GetPartition()] = p.GetNextOffset()
	}
}

// step takes one frame; it returns false at the end of the session.
func (c *client) step(ctx context.Context) error {
	c.t.Helper()
	f, err := c.next(ctx)
	if err != nil {
		return err
	}
	switch f := f.GetFrame().(type) {
	case *streampb.ServerFrame_Hello:
		c.hello = f.Hello
		c.stream = f.Hello.GetStreamId()
	case *streampb.ServerFrame_Subscribed:
		c.cursor = map[int32]int64{}
		c.stream = f.Subscribed.GetCursor().GetStreamId()
		c.merge(f.Subscribed.GetCursor())
	case *streampb.ServerFrame_Batch:
		at := map[int32]int64{}
		for _, r := range f.Batch.GetRecords() {
			if r.GetOffset() < c.cursor[r.GetPartition()] || r.GetOffset() < at[r.GetPartition()] {
				c.t.Fatalf("partition %d: record %d came again, or out of order (cursor %d)", r.GetPartition(), r.GetOffset(), c.cursor[r.GetPartition()])
			}
			at[r.GetPartition()] = r.GetOffset() + 1
			c.records = append(c.records, r)
		}
		c.merge(f.Batch.GetCursor())
		for p, o := range at {
			if c.cursor[p] < o {
				c.t.Fatalf("partition %d: the batch's cursor %d does not cover its record %d", p, c.cursor[p], o-1)
			}
		}
	case *streampb.ServerFrame_Progress:
		c.moved++
		c.merge(f.Progress.GetCursor())
	case *streampb.ServerFrame_CaughtUp:
		c.caught++
		c.merge(f.CaughtUp.GetCursor())
	case *streampb.ServerFrame_Gap:
		c.gaps = append(c.gaps, f.Gap)
		c.merge(f.Gap.GetCursor())
	case *streampb.ServerFrame_Reset_:
		c.resets = append(c.resets, f.Reset_)
		c.cursor = map[int32]int64{}
		c.records = nil
		c.stream = f.Reset_.GetCursor().GetStreamId()
		c.merge(f.Reset_.GetCursor())
	case *streampb.ServerFrame_Error:
		c.errs = append(c.errs, f.Error)
	}
	return nil
}

func (c *client) until(what string, done func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeoutCause(c.t.Context(), patience, fmt.Errorf("waiting for %s", what))
	defer cancel()
	for !done() {
		if err := c.step(ctx); err != nil {
			c.t.Fatalf("%s: %v (%d records, cursor %v, errors %v)", what, err, len(c.records), c.cursor, c.errs)
		}
	}
}

// end reads to the end of the session and returns why it ended.
func (c *client) end() error {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		if err := c.step(ctx); err != nil {
			return err
		}
	}
}

// complete fails unless the records are all of partition and offset below the
// counts, each once.
func (c *client) complete(counts ...int64) {
	c.t.Helper()
	got := make([]int64, len(counts))
	for _, r := range c.records {
		if r.GetOffset() != got[r.GetPartition()] {
			c.t.Fatalf("partition %d: record %d where %d is next", r.GetPartition(), r.GetOffset(), got[r.GetPartition()])
		}
		got[r.GetPartition()]++
	}
	for p, n := range counts {
		if got[p] != n {
			c.t.Errorf("partition %d: %d records, want %d", p, got[p], n)
		}
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

	pb := dial(t, s, "dashstream.v1+proto", nil)
	js := dial(t, s, "dashstream.v1+json", nil)
	pb.subscribe(earliest(), nil)
	js.subscribe(earliest(), nil)
	sse := openSSE(t, s, "?from=earliest", "")
	clients := map[string]*client{"proto": pb, "json": js, "sse": sse}
	fill(t, c, topic, 3, 600)
	for name, cl := range clients {
		cl.until(name, func() bool { return len(cl.records) == 3000 && cl.caught == 1 })
		cl.complete(1000, 1000, 1000)
		if cl.hello.GetTopic() != topic || len(cl.hello.GetPartitions()) != 3 || cl.hello.GetLimits().GetMaxRecordBytes() == 0 {
			t.Errorf("%s: hello %v", name, cl.hello)
		}
	}
	for i, r := range pb.records {
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
	for _, r := range pb.records {
		byPlace[[2]int64{int64(r.GetPartition()), r.GetOffset()}] = r
	}
	for name, cl := range map[string]*client{"json": js, "sse": sse} {
		for _, r := range cl.records {
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
	cl := dial(t, first, "dashstream.v1+proto", nil)
	cl.subscribe(earliest(), nil)
	cl.until("a part", func() bool { return len(cl.records) >= 300 })
	first.stop()
	err := cl.end()
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 4000 {
		t.Errorf("the first gateway ended the session with %v, want code 4000", err)
	}
	fill(t, c, topic, 2, 100)

	second := start(t, c, topic, nil)
	again := dial(t, second, "dashstream.v1+json", nil)
	cursor := &streampb.Cursor{StreamId: cl.stream}
	for p, o := range cl.cursor {
		cursor.Partitions = append(cursor.Partitions, &streampb.PartitionOffset{Partition: proto.Int32(p), NextOffset: proto.Int64(o)})
	}
	again.subscribe(&streampb.Start{From: &streampb.Start_Cursor{Cursor: cursor}}, nil)
	again.until("the rest", func() bool { return again.caught == 1 })
	all := &client{t: t, records: append(cl.records, again.records...)}
	all.complete(600, 600)
	if len(again.gaps)+len(again.resets) > 0 {
		t.Errorf("gaps %v, resets %v", again.gaps, again.resets)
	}
}

func TestAnEventSourceResumesByItsLastEventID(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	fill(t, c, topic, 2, 300)
	s := start(t, c, topic, nil)
	first := openSSE(t, s, "?from=earliest", "")
	first.until("a part", func() bool { return len(first.records) >= 100 })
	id, _ := lastEventIDs.Load(first)
	first.close()
	// The browser repeats the URL as it was; the header decides.
	second := openSSE(t, s, "?from=earliest", id.(string))
	second.until("the rest", func() bool { return second.caught == 1 })
	all := &client{t: t, records: append(first.records, second.records...)}
	all.complete(300, 300)
}

func TestFiltersSelectExactlyAndTellProgress(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	fill(t, c, topic, 2, 200)
	s := start(t, c, topic, nil)
	thread := dial(t, s, "dashstream.v1+proto", nil)
	thread.subscribe(earliest(), &streampb.Filter{Threads: []string{"thread-0-3"}})
	both := dial(t, s, "dashstream.v1+proto", nil)
	both.subscribe(earliest(), &streampb.Filter{Threads: []string{"thread-0-3", "thread-1-2"}, Tenants: []string{"red"}})
	none := dial(t, s, "dashstream.v1+json", nil)
	none.subscribe(earliest(), &streampb.Filter{Types: []dashstreampb.MessageType{dashstreampb.MessageType_MESSAGE_TYPE_CHECKPOINT}})
	for _, cl := range []*client{thread, both, none} {
		cl.until("caught up", func() bool { return cl.caught == 1 })
	}
	fill(t, c, topic, 2, 100) // and live
	thread.until("live", func() bool { return len(thread.records) == 60 })
	both.until("live", func() bool { return len(both.records) == 60 })
	none.until("progress", func() bool { return none.cursor[0] == 300 && none.cursor[1] == 300 })
	if len(none.records) > 0 || none.moved == 0 {
		t.Errorf("a filter that matches nothing got %d records and %d progress frames", len(none.records), none.moved)
	}
	for _, r := range thread.records {
		if string(r.GetKey()) != "thread-0-3" {
			t.Fatalf("thread filter let %q through", r.GetKey())
		}
	}
	for _, r := range both.records {
		m, err := wire.Decode(r.GetValue(), wire.DefaultLimits())
		if err != nil || wire.HeaderOf(m).GetTenantId() != "red" {
			t.Fatalf("tenant filter let %v through (%v)", wire.HeaderOf(m), err)
		}
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
	js := dial(t, s, "dashstream.v1+json", nil)
	js.subscribe(earliest(), nil)
	js.until("all", func() bool { return js.caught == 1 })
	js.complete(5)
	var reasons []string
	for _, r := range js.records {
		reasons = append(reasons, r.GetError().GetReason())
	}
	if got, want := fmt.Sprint(reasons), "[ unknown_framing empty malformed ]"; got != want {
		t.Errorf("reasons %s, want %s", got, want)
	}
	pb := dial(t, s, "dashstream.v1+proto", nil)
	pb.subscribe(earliest(), nil)
	pb.until("all", func() bool { return pb.caught == 1 })
	if got := pb.records[1].GetValue(); string(got) != "\x07\x07\x07" {
		t.Errorf("the stored bytes came as %x", got)
	}
}

func TestAClientThatStopsReadingIsCutOffAndResumes(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.SendTimeout = 300 * time.Millisecond })
	slow := dial(t, s, "dashstream.v1+proto", nil)
	slow.subscribe(nil, nil)
	slow.until("subscribed", func() bool { return len(slow.cursor) == 1 })
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
	fast.complete(batches * 1000)
	testkafka.Eventually(t, "the slow client is gone", func(context.Context) error {
		if n := value(t, s.reg, "websocket_slow_client_disconnects_total"); n < 1 {
			return errors.New("no slow client was cut off")
		}
		if n := value(t, s.reg, "websocket_connected_clients"); n != 1 {
			return fmt.Errorf("%v clients are connected", n)
		}
		return nil
	})
	_ = slow.end()
	keepUp(t, s, slow, batches*1000).complete(batches * 1000)
}

// keepUp reads until it has n records, coming back with its cursor whenever it
// is cut off, as any client does. It goes on where before ended, or begins at
// the start.
func keepUp(t *testing.T, s *server, before *client, n int) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for {
		c := dial(t, s, "dashstream.v1+proto", nil)
		start := earliest()
		if before != nil {
			cursor := &streampb.Cursor{StreamId: before.stream}
			for p, o := range before.cursor {
				cursor.Partitions = append(cursor.Partitions, &streampb.PartitionOffset{Partition: proto.Int32(p), NextOffset: proto.Int64(o)})
			}
			start = &streampb.Start{From: &streampb.Start_Cursor{Cursor: cursor}}
			c.records = before.records
		}
		c.subscribe(start, nil)
		var err error
		for err == nil && len(c.records) < n {
			err = c.step(ctx)
		}
		if err == nil {
			return c
		}
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records: %v", len(c.records), n, err)
		}
		c.close()
		if c.cursor[0] > 0 || before == nil {
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
