package dashstream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// offline returns a producer without a network: nothing leaves its queue but what the client takes.
func offline(t testing.TB, opts ...dashstream.Option) *dashstream.Producer {
	t.Helper()
	p, err := dashstream.New(append([]dashstream.Option{dashstream.WithFlushTimeout(0), dashstream.WithKafkaOptions(kgo.Dialer(nowhere))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(t.Context()) })
	return p
}

// PRO-06: whatever its size, a message arrives within the limit, and what was cut says what it was.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	huge := strings.Repeat("日本語 ", 200_000)    // 2 MB
	manifest := strings.Repeat("日本語 ", 10<<20) // 100 MiB
	run := p.StartRun(t.Context(), dashstream.RunSpec{
		ThreadID: "t",
		Graph:    dashstream.Graph{Name: huge, Manifest: map[string]any{"m": manifest}, Schema: `{"s":"` + huge + `"}`},
		Attrs:    []slog.Attr{slog.String("s", huge), slog.Any("any", []string{huge}), slog.Any("bytes", []byte(huge)), slog.Any("err", errors.New(huge)), slog.String("small", "x")},
	})
	flush(t, p)
	if n := p.Stats().Degraded[dashstream.DegradedTruncated]; n != 7 {
		t.Errorf("%d values were cut, want 7", n)
	}
	n := run.Node("n")
	l := n.LLM("m", "p")
	l.Token(noise(3 << 20))
	l.End(dashstream.Usage{})
	tool := n.Tool("tool", map[string]string{"q": noise(2 << 20)})
	tool.End(noise(2 << 20))
	n.Tool("tool", nil).Fail(errors.New(huge))
	run.Error(errors.New(huge), dashstream.ErrorInfo{StackTrace: huge, Context: map[string]string{"c": huge}})
	run.Quality(dashstream.Quality{Tags: map[string]string{"q": huge}})
	// Many values that are each within the limit, but not together.
	var many []slog.Attr
	for i := range 8 {
		many = append(many, slog.String(fmt.Sprint("a", i), noise(400_000)+fmt.Sprint(i)))
	}
	run.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, "n", many...)
	run.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, noise(3<<20))
	h := func() *pb.Header { return &pb.Header{ThreadId: "t"} }
	for _, m := range []*pb.DashStreamMessage{
		{Message: &pb.DashStreamMessage_ToolExecution{ToolExecution: &pb.ToolExecution{Header: h(), Arguments: []byte(`{"a":"` + noise(3<<20) + `"}`)}}},
		{Message: &pb.DashStreamMessage_ExecutionTrace{ExecutionTrace: &pb.ExecutionTrace{Header: h(), NodesExecuted: []*pb.NodeExecutionRecord{{Input: []byte(`"` + noise(3<<20) + `"`)}}}}},
		{Message: &pb.DashStreamMessage_Metrics{Metrics: &pb.Metrics{Header: h(), Tags: map[string]string{"a": noise(2 << 20), "b": "x"}}}},
	} {
		if err := p.Send(m); err != nil {
			t.Errorf("send: %v", err)
		}
	}
	flush(t, p)
	records := readAll(t, c, topic)
	checkSequences(t, records)
	checkAccounts(t, p)
	if got := p.Stats().Total(); got.Acked != got.Emitted {
		t.Errorf("emitted %d, acknowledged %d, dropped %v", got.Emitted, got.Acked, got.Dropped)
	}
	for _, r := range records {
		if len(r.value) > wire.MaxProducerBytes {
			t.Errorf("a frame of %d bytes", len(r.value))
		}
		if e := r.msg.GetToolExecution(); e != nil {
			for _, b := range [][]byte{e.Arguments, e.Result} {
				if len(b) > 0 && !json.Valid(b) {
					t.Errorf("%.100s is no JSON", b)
				}
			}
		}
	}
	start := records[0].msg.GetEvent().Attributes
	if start["small"].GetStringValue() != "x" {
		t.Error("a small attribute beside large ones was lost")
	}
	m := start["graph_manifest"].GetMapValue().GetValues()
	if m["truncated"].GetBoolValue() != true || len(m["sha256"].GetStringValue()) != 64 || m["len"].GetIntValue() != int64(len(manifest)+len(`{"m":""}`)) || !strings.HasPrefix(m["preview"].GetStringValue(), `{"m":"日本`) || !utf8.ValidString(m["preview"].GetStringValue()) {
		t.Errorf("the manifest became %v", m)
	}
	if s := start["s"].GetMapValue().GetValues(); s["sha256"].GetStringValue() != fmt.Sprintf("%x", sum256(huge)) {
		t.Errorf("the attribute became %v", s)
	}
	run.End(nil)
}

// A secret at the place of the cut is not cut in half.
func TestCutsHideSecrets(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	for at := 200; at < 270; at += 3 {
		text := strings.Repeat("x", at) + " ghp_" + strings.Repeat("a1", 10) + needle + strings.Repeat(" y", 400_000)
		run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", Attrs: []slog.Attr{slog.String("s", text), slog.Any("j", []string{text})}})
		run.Node("n").Tool("t", text).Fail(errors.New(text))
	}
	flush(t, p)
	for _, r := range readAll(t, c, topic) {
		wantNoSecret(t, r)
	}
}

// The stated order in which messages give way.
func TestWhatIsDroppedFirst(t *testing.T) {
	t.Parallel()
	p := offline(t, dashstream.WithQueueBytes(1<<20))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	n := run.Node("n")
	event, state := pb.MessageType_MESSAGE_TYPE_EVENT, pb.MessageType_MESSAGE_TYPE_STATE_DIFF
	token := pb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK
	fillWith := func(emit func(i int), until func(dashstream.Stats) bool) {
		t.Helper()
		for i := range 100_000 {
			if until(p.Stats()) {
				return
			}
			emit(i)
		}
		t.Fatalf("never: %+v", p.Stats().Types)
	}
	l := n.LLM("m", "p")
	// Tokens are dropped when there is no room for them, and by then the client takes nothing more either.
	const clientTakes = 8192
	before := p.Stats()
	for deadline := time.Now().Add(30 * time.Second); before.SendingMessages < clientTakes || before.Types[token].Dropped[dashstream.DropQueueFull] == 0; before = p.Stats() {
		if time.Now().After(deadline) {
			t.Fatalf("the queue is not full: %+v", before)
		}
		l.Token(" word")
	}
	// Events take the place of tokens, the oldest first, and are dropped when there are none left.
	fillWith(func(int) { run.Edge("a", "b") }, func(s dashstream.Stats) bool {
		return s.Types[event].Dropped[dashstream.DropQueueFull] > 0
	})
	s := p.Stats()
	if gone := s.Types[token].Dropped[dashstream.DropEvicted]; gone == 0 || s.Types[event].Dropped[dashstream.DropEvicted] != 0 || s.Types[event].Emitted-before.Types[event].Emitted < 500 {
		t.Errorf("%d tokens made room for %d events", gone, s.Types[event].Emitted-before.Types[event].Emitted)
	}
	// State takes the place of events.
	fillWith(func(i int) { run.State(map[string]any{"i": i, "noise": noise(300)}) }, func(s dashstream.Stats) bool {
		return s.Types[state].Dropped[dashstream.DropQueueFull] > 0
	})
	if s = p.Stats(); s.Types[event].Dropped[dashstream.DropEvicted] == 0 || s.Types[state].Dropped[dashstream.DropEvicted] != 0 {
		t.Errorf("state did not take the place of events: %+v", s.Types)
	}
	// The end of a run takes the place of state.
	dropped := s.Types[event].Dropped[dashstream.DropQueueFull]
	run.End(nil)
	if s = p.Stats(); s.Types[event].Dropped[dashstream.DropQueueFull] != dropped {
		t.Errorf("the end of the run was dropped: %+v", s.Types)
	}
	checkAccounts(t, p)
}

// What was dropped is a gap in the sequences, and a thread names its epoch until a record has arrived: a reader that sees
// the second message first neither takes it for the first, nor for one of an earlier count.
func TestWhatIsDroppedFirstOfAllIsSeen(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithQueueBytes(128<<10))
	send := func(text string) error {
		return p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_TokenChunk{TokenChunk: &pb.TokenChunk{Header: &pb.Header{ThreadId: "t"}, Text: text}}})
	}
	if err := send(noise(1 << 20)); !errors.Is(err, dashstream.ErrQueueFull) {
		t.Fatalf("a message larger than the queue: %v", err)
	}
	if err := send("b"); err != nil {
		t.Fatal(err)
	}
	flush(t, p)
	records := readAll(t, c, topic)
	if len(records) != 1 || records[0].header().Sequence != 2 {
		t.Fatalf("%d records, the first with sequence %d; want one with sequence 2", len(records), records[0].header().Sequence)
	}
	if e := records[0].headers[dashstream.EpochHeader]; len(e) != 16 {
		t.Errorf("the first record to arrive has the epoch %q", e)
	}
}

// PRO-10, PRO-11: the accounts add up and the gauges are within their bounds at every moment, not only in the end.
func TestAccountsAddUpAtEveryMoment(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	var n network
	p := newProducer(t, c, topic, n.option(), dashstream.WithQueueBytes(256<<10), dashstream.WithDeliveryTimeout(5*time.Second))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for e := range 4 {
		run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: fmt.Sprint(e)})
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(e)))
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					emitMixed(p, run, rng, i)
				}
			}
		})
	}
	start := time.Now()
	for cuts := 0; time.Since(start) < 2500*time.Millisecond && !t.Failed(); {
		checkAccounts(t, p)
		if int(time.Since(start)/(600*time.Millisecond)) > cuts {
			cuts++
			n.cut()
			n.down.Store(false)
		}
	}
	close(stop)
	wg.Wait()
	_ = p.Close(t.Context())
	checkAccounts(t, p)
	s := p.Stats()
	if s.Total().InFlight != 0 || s.QueueMessages != 0 || s.QueueBytes != 0 || s.SendingMessages != 0 || s.SendingBytes != 0 {
		t.Errorf("after close: %d in flight, queue %d/%d, sending %d/%d", s.Total().InFlight, s.QueueMessages, s.QueueBytes, s.SendingMessages, s.SendingBytes)
	}
	if s.Total().Acked == 0 || s.Total().DroppedTotal() == 0 {
		t.Errorf("the test did nothing of interest: %+v", s.Total())
	}
	// What arrived is in order, with gaps exactly where something was lost.
	last := map[string]uint64{}
	for _, r := range readAll(t, c, topic) {
		h := r.header()
		if h.Sequence <= last[h.ThreadId] {
			t.Fatalf("thread %s: sequence %d behind %d", h.ThreadId, h.Sequence, last[h.ThreadId])
		}
		last[h.ThreadId] = h.Sequence
	}
}

// PRO-12.
func TestIdleThreadsAreForgotten(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithMaxIdleThreads(10))
	hot := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "hot"})
	send := func(id string) {
		t.Helper()
		if err := p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: &pb.Header{ThreadId: id}}}}); err != nil {
			t.Fatal(err)
		}
	}
	send("reused")
	flush(t, p)
	for i := range 100 {
		send(fmt.Sprint(i))
		hot.Edge("a", "b")
		send("hot") // by its id, not by the run
		flush(t, p)
	}
	send("reused")
	send("reused")
	flush(t, p)
	s := p.Stats()
	if s.Threads > 11 || s.EvictedThreads < 89 {
		t.Errorf("%d threads are remembered, %d were forgotten", s.Threads, s.EvictedThreads)
	}
	records := readAll(t, c, topic)
	var sequences []uint64
	epochs := map[string]map[string]bool{}
	for _, r := range records {
		if e := r.headers[dashstream.EpochHeader]; e != "" {
			if len(e) != 16 {
				t.Errorf("the epoch %q is not 16 digits", e)
			}
			if epochs[r.key] == nil {
				epochs[r.key] = map[string]bool{}
			}
			epochs[r.key][e] = true
		}
		if r.key == "hot" {
			sequences = append(sequences, r.header().Sequence)
		}
		if r.key == "reused" && r.header().Sequence == 1 && r.headers[dashstream.EpochHeader] == "" {
			t.Error("sequence 1 came without an epoch")
		}
	}
	for i, seq := range sequences {
		if seq != uint64(i+1) {
			t.Fatalf("the hot thread has sequence %d at %d", seq, i)
		}
	}
	if len(epochs["hot"]) != 1 || len(epochs["reused"]) != 2 {
		t.Errorf("epochs: hot %d, reused %d; want 1 and 2", len(epochs["hot"]), len(epochs["reused"]))
	}
	if last := records[len(records)-1]; last.key != "reused" || last.header().Sequence != 2 {
		t.Errorf("the last record is %s %d", last.key, last.header().Sequence)
	}
}

// PRO-16.
func TestClockBeforeTheEpoch(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	var log bytes.Buffer
	clock := func() time.Time { return time.Unix(-1, 0) }
	p := newProducer(t, c, topic, dashstream.WithClock(clock), dashstream.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	run.State(1)
	run.End(nil)
	err := p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_EventBatch{EventBatch: &pb.EventBatch{Events: []*pb.Event{{Header: &pb.Header{ThreadId: "t"}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range readAll(t, c, topic) {
		if h := r.header(); h.TimestampUs != 0 || len(h.MessageId) != 16 {
			t.Errorf("header %v", h)
		}
	}
	if n := strings.Count(log.String(), "1970"); n != 1 {
		t.Errorf("%d log lines, want 1:\n%s", n, log.String())
	}
	if p.Stats().Degraded[dashstream.DegradedClock] < 4 {
		t.Error("it was not counted")
	}
}

func TestAttributesArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	type point struct{ X, Y int }
	list := []string{"a", "b"}
	raw := []byte{1, 2, 0xff}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	run.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, "n",
		slog.String("string", "x"), slog.Int64("int", math.MinInt64), slog.Uint64("uint", 7), slog.Uint64("huge", math.MaxUint64),
		slog.Float64("float", 0.1), slog.Bool("bool", true), slog.Duration("duration", 1500*time.Microsecond), slog.Time("time", at),
		slog.Group("group", slog.Int("n", 1)), slog.Any("list", list), slog.Any("struct", point{1, 2}), slog.Any("bytes", raw),
		slog.Any("error", errors.New("no")), slog.Any("nil", nil), slog.Any("big", json.RawMessage(`[9007199254740993,1.5,123456789012345678901]`)), slog.String("", "no key"),
		slog.Any("func", func() {}), slog.String("utf8", "a\xffb"))
	list[0], raw[0] = "changed", 9
	flush(t, p)
	e := readAll(t, c, topic)[1].msg.GetEvent()
	got := map[string]string{}
	for k, v := range e.Attributes {
		got[k] = strings.ReplaceAll(v.String(), "  ", " ")
	}
	for k, want := range map[string]string{
		"string": `string_value:"x"`, "int": `int_value:-9223372036854775808`, "uint": `int_value:7`, "huge": `string_value:"18446744073709551615"`,
		"float": `float_value:0.1`, "bool": `bool_value:true`, "duration": `int_value:1500`, "time": `string_value:"2026-01-02T03:04:05.000006Z"`,
		"group": `map_value:{values:{key:"n" value:{int_value:1}}}`, "list": `array_value:{values:{string_value:"a"} values:{string_value:"b"}}`,
		"bytes": `bytes_value:"\x01\x02\xff"`, "error": `string_value:"no"`, "nil": ``,
		"big":  `array_value:{values:{int_value:9007199254740993} values:{float_value:1.5} values:{string_value:"123456789012345678901"}}`,
		"utf8": "string_value:\"a\uFFFDb\"",
	} {
		if got[k] != want {
			t.Errorf("%s is %s, want %s", k, got[k], want)
		}
	}
	if f := e.Attributes["func"].GetStringValue(); !strings.Contains(f, "not serializable") {
		t.Errorf("func is %q", f)
	}
	if len(e.Attributes) != 17 {
		t.Errorf("%d attributes, want 17", len(e.Attributes))
	}
	s := p.Stats()
	if s.Degraded[dashstream.DegradedInvalidUTF8] != 1 || s.Degraded[dashstream.DegradedUnserializable] != 1 {
		t.Errorf("degraded %v", s.Degraded)
	}
}
