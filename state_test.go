package dashstream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// noise is text that does not compress below its half.
func noise(n int) string {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+."
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
	return string(b)
}

type chat struct {
	History []string       `json:"history"`
	Notes   map[string]any `json:"notes,omitempty"`
	Turn    int            `json:"turn"`
}

func TestStateArrivesAsItIs(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithCheckpointEvery(10))
	state := chat{History: []string{"a first message that is long enough to be worth a diff"}, Notes: map[string]any{}}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: state})
	for i := range 100 {
		state.Turn = i
		switch i % 5 {
		case 0, 1:
			state.History = append(state.History, fmt.Sprintf("message %d with some more text in it", i))
		case 2:
			state.History = state.History[1:]
		case 3:
			state.Notes[fmt.Sprintf("note/%d~", i%4)] = map[string]any{"score": float64(i) / 3, "nil": nil}
		case 4:
			delete(state.Notes, "note/3~")
		}
		run.State(state)
	}
	run.State(state) // no change
	flush(t, p)
	v := replicate(t, readAll(t, c, topic), "t")
	v.wants(t, state)
	if v.froze != 0 || v.diffs+v.fulls != 100 || v.diffs < 90 || v.checkpoints != 10 {
		t.Errorf("%d diffs, %d whole states, %d checkpoints, %d times frozen", v.diffs, v.fulls, v.checkpoints, v.froze)
	}
}

// One element more in a list of 10000 is one small operation.
func TestStateOfALongList(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	state := chat{}
	for i := range 10_000 {
		state.History = append(state.History, fmt.Sprintf("message %d", i))
	}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: state})
	state.History = append(state.History, "one more")
	run.State(state)
	flush(t, p)
	records := readAll(t, c, topic)
	d := records[len(records)-1].msg.GetStateDiff()
	if len(d.GetOperations()) != 1 || d.Operations[0].Op != pb.DiffOperation_OP_TYPE_ADD || d.Operations[0].Path != "/history/10000" || string(d.Operations[0].Value) != `"one more"` {
		t.Errorf("operations %v", d.GetOperations())
	}
	replicate(t, records, "t").wants(t, state)
}

func TestStateKeepsEveryDigit(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithCheckpointEvery(1))
	type numbers struct {
		Pad  string
		ID   int64
		Max  uint64
		Raw  json.RawMessage
		Num  json.Number
		Tiny float64
	}
	state := numbers{Pad: strings.Repeat("padding ", 30), ID: 1}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: state})
	state.ID, state.Max = 1<<53+1, math.MaxUint64
	state.Raw, state.Num, state.Tiny = json.RawMessage(`[9007199254740993, 0.1000000000000000055511151231257827]`), "123456789012345678901234567890.5", 5e-324
	run.State(state)
	state.ID = math.MinInt64
	run.State(state)
	flush(t, p)
	records := readAll(t, c, topic)
	v := replicate(t, records, "t")
	for _, digits := range []string{"-9223372036854775808", "18446744073709551615", "9007199254740993", "0.1000000000000000055511151231257827", "123456789012345678901234567890.5", "5e-324"} {
		if !bytes.Contains(v.state, []byte(digits)) {
			t.Errorf("%s is not in the reader's state %s", digits, v.state)
		}
	}
	for _, r := range records {
		if d := r.msg.GetStateDiff(); d != nil && len(d.StateHash) > 0 {
			t.Errorf("a state that RFC 8785 cannot hash has the hash %x", d.StateHash)
		}
		if cp := r.msg.GetCheckpoint(); cp != nil && (cp.Metadata["hash"] != "" || len(cp.Checksum) != 32) {
			t.Errorf("checkpoint with metadata %v, checksum %x", cp.Metadata, cp.Checksum)
		}
	}
}

// PRO-07.
func TestCheckpointsAreExactlyEveryN(t *testing.T) {
	t.Parallel()
	const emitters, every = 16, 10
	each := 1000
	if raceEnabled {
		each = 200
	}
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithCheckpointEvery(every), dashstream.WithFlushTimeout(time.Minute))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	var wg sync.WaitGroup
	for e := range emitters {
		wg.Go(func() {
			for i := range each {
				run.State(map[string]any{"pad": strings.Repeat("x", 100), "value": fmt.Sprint(e, i)})
				makeRoom(p)
			}
		})
	}
	wg.Wait()
	flush(t, p)
	records := readAll(t, c, topic)
	v := replicate(t, records, "t")
	ids := map[string]bool{}
	for _, r := range records {
		if cp := r.msg.GetCheckpoint(); cp != nil {
			ids[string(cp.CheckpointId)] = true
		}
	}
	n := v.diffs + v.fulls
	if n != emitters*each || v.checkpoints != n/every || len(ids) != v.checkpoints {
		t.Errorf("%d diffs, %d checkpoints with %d ids", n, v.checkpoints, len(ids))
	}
	if v.froze != 0 {
		t.Errorf("a reader is lost %d times", v.froze)
	}
}

// PRO-02, PRO-03, H-07: the base never runs ahead of what was sent.
func TestStateAfterADrop(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithQueueBytes(64<<10))
	state := chat{History: []string{strings.Repeat("a message that makes a diff worth while ", 5)}}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: state})
	state.Turn = 1
	run.State(state)
	flush(t, p)
	state.Notes = map[string]any{"large": noise(100_000)} // no room for it in the queue, ever
	run.State(state)
	if n := p.Stats().Types[pb.MessageType_MESSAGE_TYPE_STATE_DIFF].Dropped[dashstream.DropQueueFull]; n != 1 {
		t.Fatalf("%d diffs were dropped, want 1", n)
	}
	state.Notes, state.Turn = nil, 2
	run.State(state)
	flush(t, p)
	records := readAll(t, c, topic)
	if d := records[len(records)-1].msg.GetStateDiff(); len(d.GetFullState()) == 0 {
		t.Errorf("the message after the drop is %v, want a whole state", d)
	}
	v := replicate(t, records, "t")
	if v.froze != 1 {
		t.Errorf("a reader noticed %d gaps, want 1", v.froze)
	}
	v.wants(t, state)
	state.Turn = 3
	run.State(state)
	flush(t, p)
	records = readAll(t, c, topic)
	if d := records[len(records)-1].msg.GetStateDiff(); len(d.GetOperations()) != 1 {
		t.Errorf("after the snapshot came %v, want a diff", d)
	}
	checkAccounts(t, p)
}

// Invariant 17: a snapshot follows within a bound, here the end of the run, also if the program gives no further state.
func TestStateIsHealedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithQueueBytes(256<<10))
	state := chat{History: []string{strings.Repeat("a message that makes a diff worth while ", 5)}}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: state})
	flush(t, p)
	// A message of the caller's own with state for the same thread is lost.
	err := p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Checkpoint{Checkpoint: &pb.Checkpoint{Header: &pb.Header{ThreadId: "t"}, State: []byte(`"` + noise(1_000_000) + `"`)}}})
	if !errors.Is(err, dashstream.ErrQueueFull) {
		t.Fatalf("send: %v", err)
	}
	run.End(nil)
	flush(t, p)
	v := replicate(t, readAll(t, c, topic), "t")
	if v.froze != 1 || v.fulls != 1 {
		t.Errorf("frozen %d times, %d whole states; want one each", v.froze, v.fulls)
	}
	v.wants(t, state)
}

// PRO-03, PRO-09.
func TestStateThatCannotBeSent(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	cycle := map[string]any{}
	cycle["self"] = cycle
	for name, tt := range map[string]struct {
		bad    any
		reason string
		count  dashstream.Degradation
	}{
		"function":                 {map[string]any{"f": func() {}}, "unserializable", dashstream.DegradedUnserializable},
		"channel":                  {make(chan int), "unserializable", dashstream.DegradedUnserializable},
		"cycle":                    {cycle, "unserializable", dashstream.DegradedUnserializable},
		"NaN":                      {math.NaN(), "unserializable", dashstream.DegradedUnserializable},
		"method that panics":       {panics{}, "unserializable", dashstream.DegradedUnserializable},
		"method that fails":        {fails{}, "unserializable", dashstream.DegradedUnserializable},
		"same name twice":          {json.RawMessage(`{"a":1,"a":2}`), "unserializable", dashstream.DegradedUnserializable},
		"larger than the limit":    {noise(3000), "too_large", dashstream.DegradedStateTooLarge},
		"larger than can be sent":  {noise(1_600_000), "too_large", dashstream.DegradedStateTooLarge},
		"larger by a list of many": {make([]int, 2000), "too_large", dashstream.DegradedStateTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := c.Topic(t, 1)
			limit := 2048
			if name == "larger than can be sent" {
				limit = 4 << 20
			}
			p := newProducer(t, c, topic, dashstream.WithMaxStateBytes(limit))
			good := chat{Turn: 7, History: []string{strings.Repeat("long enough ", 20)}}

			atStart := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "start", InitialState: tt.bad})
			flush(lenient{t}, p)
			if n := p.Stats().Degraded[tt.count]; n != 1 {
				t.Errorf("counted %d times, want 1", n)
			}
			v := replicate(t, readAll(t, c, topic), "start")
			if !v.frozen || v.unavailable != tt.reason {
				t.Errorf("the reader has %.100s and was told %q, want nothing and %q", v.state, v.unavailable, tt.reason)
			}
			atStart.State(good)
			flush(lenient{t}, p)
			v = replicate(t, readAll(t, c, topic), "start")
			if v.fulls != 1 {
				t.Errorf("%d whole states, want 1", v.fulls)
			}
			v.wants(t, good)

			later := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "later", InitialState: good})
			later.State(tt.bad)
			flush(lenient{t}, p)
			later.State(good)
			flush(lenient{t}, p)
			v = replicate(t, readAll(t, c, topic), "later")
			if v.fulls != 1 || v.unavailable != "" {
				t.Errorf("%d whole states after the bad one, unavailable %q", v.fulls, v.unavailable)
			}
			v.wants(t, good)
			if n := p.Stats().Degraded[tt.count]; n != 2 {
				t.Errorf("counted %d times, want 2", n)
			}
			checkAccounts(t, p)
		})
	}
}

// lenient lets a flush end with messages that were dropped because they do not fit.
type lenient struct{ *testing.T }

func (t lenient) Fatalf(format string, args ...any) {
	for _, a := range args {
		var incomplete *dashstream.IncompleteError
		if err, ok := a.(error); ok && errors.As(err, &incomplete) && incomplete.InFlight == 0 && incomplete.Failed == 0 {
			return
		}
	}
	t.T.Fatalf(format, args...)
}

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("no") }

type fails struct{}

func (fails) MarshalJSON() ([]byte, error) { return nil, errors.New("no") }

// PRO-05.
func TestStateStreamingOff(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithStateStreaming(false), dashstream.WithCheckpointEvery(1))
	state := map[string]any{"marker": "xyzzy-state"}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: state})
	run.State(state)
	run.Checkpoint(state)
	run.State(func() {})
	h := func() *pb.Header { return &pb.Header{ThreadId: "t"} }
	for _, m := range []*pb.DashStreamMessage{
		{Message: &pb.DashStreamMessage_StateDiff{StateDiff: &pb.StateDiff{Header: h(), FullState: []byte(`"xyzzy-state"`)}}},
		{Message: &pb.DashStreamMessage_Checkpoint{Checkpoint: &pb.Checkpoint{Header: h(), State: []byte(`"xyzzy-state"`)}}},
	} {
		if err := p.Send(m); !errors.Is(err, dashstream.ErrStateOff) {
			t.Errorf("send: %v, want ErrStateOff", err)
		}
	}
	for _, m := range []*pb.DashStreamMessage{
		{Message: &pb.DashStreamMessage_ExecutionTrace{ExecutionTrace: &pb.ExecutionTrace{Header: h(), FinalState: []byte(`"xyzzy-state"`)}}},
		{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: h(), EventType: pb.EventType_EVENT_TYPE_GRAPH_START, Attributes: map[string]*pb.AttributeValue{
			"initial_state_json": {Value: &pb.AttributeValue_StringValue{StringValue: `"xyzzy-state"`}}}}}},
	} {
		if err := p.Send(m); err != nil {
			t.Errorf("send: %v", err)
		}
	}
	run.End(nil)
	flush(t, p)
	records := readAll(t, c, topic)
	for _, r := range records {
		plain, err := proto.Marshal(r.msg)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"xyzzy", "initial_state"} {
			if bytes.Contains(plain, []byte(word)) {
				t.Errorf("%q is in %v", word, r.msg)
			}
		}
		if r.msg.GetStateDiff() != nil || r.msg.GetCheckpoint() != nil {
			t.Errorf("state was sent: %v", r.msg)
		}
	}
	checkAccounts(t, p)
	checkSequences(t, records)
}

// A run that begins on a thread that had one starts from its own state.
func TestStateOfTheNextRun(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	state := chat{History: []string{strings.Repeat("long enough ", 20)}}
	for i := range 3 {
		run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
		state.Turn = 10 * i
		run.State(state)
		state.Turn++
		run.State(state)
		run.End(nil)
	}
	flush(t, p)
	v := replicate(t, readAll(t, c, topic), "t")
	if v.fulls != 3 || v.diffs != 3 {
		t.Errorf("%d whole states and %d diffs, want 3 each", v.fulls, v.diffs)
	}
	v.wants(t, state)
}

// State that comes after the end of a run is not the state of the next run of the thread.
func TestStateAfterTheEnd(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	first := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: "first"})
	first.End(nil)
	second := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: "second"})
	first.State("late")
	first.Checkpoint("late")
	first.State(func() {})
	second.End(nil)
	flush(t, p)
	records := readAll(t, c, topic)
	replicate(t, records, "t").wants(t, "second")
	if len(records) != 4 {
		t.Errorf("%d records, want 4", len(records))
	}
	if got := p.Stats().Total(); got.Dropped[dashstream.DropRunEnded] != 3 {
		t.Errorf("dropped %v, want 3 after the end", got.Dropped)
	}
	checkAccounts(t, p)
}

// A loss between the making of a diff and its place in the queue makes it a whole state after all.
func TestStateIsLostMeanwhile(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	var armed atomic.Bool
	var p *dashstream.Producer
	clock := func() time.Time {
		if armed.CompareAndSwap(true, false) { // a message is being made
			_ = p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Checkpoint{Checkpoint: &pb.Checkpoint{Header: &pb.Header{ThreadId: "t"}, State: []byte(`"` + noise(300_000) + `"`)}}})
		}
		return time.Now()
	}
	p = newProducer(t, c, topic, dashstream.WithQueueBytes(64<<10), dashstream.WithClock(clock))
	state := chat{History: []string{strings.Repeat("a message that makes a diff worth while ", 5)}}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: state})
	flush(t, p)
	armed.Store(true)
	state.Turn = 1
	run.State(state)
	if n := p.Stats().Types[pb.MessageType_MESSAGE_TYPE_CHECKPOINT].Dropped[dashstream.DropQueueFull]; n != 1 {
		t.Fatalf("%d checkpoints were dropped, want 1", n)
	}
	flush(t, p)
	v := replicate(t, readAll(t, c, topic), "t")
	if v.fulls != 1 || v.diffs != 0 {
		t.Errorf("%d whole states and %d diffs after the loss, want one whole state", v.fulls, v.diffs)
	}
	v.wants(t, state)
}
