package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// masked is messages as text, without what no seed decides: ids, and with times also what the clock of the machine shows.
func masked(messages []*pb.DashStreamMessage, times bool) string {
	ids := map[string]string{}
	id := func(raw []byte) []byte {
		if len(raw) == 0 {
			return nil
		}
		if ids[string(raw)] == "" {
			ids[string(raw)] = fmt.Sprintf("id%d", len(ids)+1)
		}
		return []byte(ids[string(raw)])
	}
	// Calls and checkpoints are named after the messages that began them, in text.
	text := func(raw string) string { return string(id([]byte(raw))) }
	var b strings.Builder
	for _, m := range messages {
		m = proto.CloneOf(m)
		h := wire.HeaderOf(m)
		h.MessageId, h.ParentId = id(h.MessageId), id(h.ParentId)
		h.Compression = 0 // ids are random, and compress more or less well
		if times {
			h.TimestampUs = 0
		}
		switch m := m.Message.(type) {
		case *pb.DashStreamMessage_Event:
			if times {
				m.Event.DurationUs = 0
			}
			m.Event.LlmRequestId = text(m.Event.LlmRequestId)
			for _, key := range []string{"call_id", "checkpoint_id"} {
				if a := m.Event.Attributes[key]; a != nil {
					a.Value = &pb.AttributeValue_StringValue{StringValue: text(a.GetStringValue())}
				}
			}
		case *pb.DashStreamMessage_TokenChunk:
			m.TokenChunk.RequestId = text(m.TokenChunk.RequestId)
		case *pb.DashStreamMessage_ToolExecution:
			m.ToolExecution.CallId = text(m.ToolExecution.CallId)
			if times {
				m.ToolExecution.DurationUs = 0
			}
		case *pb.DashStreamMessage_StateDiff:
			m.StateDiff.BaseCheckpointId = id(m.StateDiff.BaseCheckpointId)
		case *pb.DashStreamMessage_Checkpoint:
			m.Checkpoint.CheckpointId = id(m.Checkpoint.CheckpointId)
		case *pb.DashStreamMessage_ExecutionTrace:
			if tr := m.ExecutionTrace; times {
				tr.StartedAt, tr.EndedAt, tr.TotalDurationMs = "", "", 0
				for _, n := range tr.NodesExecuted {
					n.StartedAt, n.EndedAt, n.DurationMs = "", "", 0
				}
				for _, e := range tr.Errors {
					e.Timestamp = ""
				}
			}
		}
		fmt.Fprintln(&b, prototext.MarshalOptions{}.Format(m))
	}
	// The text form is unstable on purpose, in its spaces.
	return strings.Join(strings.Fields(b.String()), " ")
}

// A seed decides what every run sends, whatever else is under way and however fast it goes.
func TestASeedDecidesTheMessages(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	const runs = 16
	_, first := play(t, c, Options{Seed: 11, Runs: runs, Concurrency: 1})
	_, second := play(t, c, Options{Seed: 11, Runs: runs, Concurrency: 7, Speed: 400})
	if len(first) != runs || len(second) != runs {
		t.Fatalf("%d and %d threads of %d runs", len(first), len(second), runs)
	}
	for thread := range first {
		if a, b := masked(first[thread], true), masked(second[thread], true); a != b {
			t.Errorf("%s differs:\n%.2000s\n%.2000s", thread, a, b)
		}
	}
	_, other := play(t, c, Options{Seed: 12, Runs: 1})
	for thread := range other {
		if first[thread] != nil {
			t.Errorf("two seeds have the thread %s", thread)
		}
	}
}

// With a clock of its own a demo sends the same timestamps and durations too, and they are those of the scripts.
func TestAClockDecidesTheTimes(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	o := func() Options { return Options{Seed: 13, Runs: 16, Concurrency: 3, Clock: NewClock(at)} }
	_, first := play(t, c, o())
	_, second := play(t, c, o())
	for thread := range first {
		if a, b := masked(first[thread], false), masked(second[thread], false); a != b {
			t.Errorf("%s differs:\n%.2000s\n%.2000s", thread, a, b)
		}
	}
	s := written(t, 13, 1, AllScenarios)
	messages := first[s.thread]
	last := messages[len(messages)-1].GetEvent()
	if want := s.duration().Microseconds(); last.DurationUs != want || last.Header.TimestampUs != at.UnixMicro()+want {
		t.Errorf("the run took %d µs and ended at %d, want %d and %d", last.DurationUs, last.Header.TimestampUs, want, at.UnixMicro()+want)
	}
}

// What cannot be sent is not sent: the demo waits while the producer's queue is full.
func TestAsFastAsPossibleLosesNothing(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	p, err := dashstream.New(dashstream.WithBrokers(c.Brokers()...), dashstream.WithTopic(c.Topic(t, 1)), dashstream.WithQueueBytes(1<<20), dashstream.WithFlushTimeout(testkafka.Wait))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), Options{Seed: 1, Runs: 120, Concurrency: 40}, p)
	if err != nil || report.Total.Acked < 10_000 || report.Total.Acked != report.Total.Emitted {
		t.Errorf("%v: %+v", err, report.Total)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// rehearsal is a demo whose time passes without anybody waiting for it.
type rehearsal struct {
	clock    *Clock
	end      time.Duration // when it is stopped; 0 never
	producer *dashstream.Producer
	read     func() map[string][]*pb.DashStreamMessage
}

func rehearse(t *testing.T, c *testkafka.Cluster) *rehearsal {
	t.Helper()
	r := &rehearsal{clock: NewClock(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC))}
	topic := c.Topic(t, 3)
	var err error
	r.producer, err = dashstream.New(dashstream.WithBrokers(c.Brokers()...), dashstream.WithTopic(topic), dashstream.WithFlushTimeout(testkafka.Wait),
		dashstream.WithClock(r.clock.Now))
	if err != nil {
		t.Fatal(err)
	}
	r.read = func() map[string][]*pb.DashStreamMessage {
		if err := r.producer.Close(t.Context()); err != nil {
			t.Error(err)
		}
		return read(t, c, topic, r.producer.Stats().Total().Acked)
	}
	return r
}

// passed is the time since the beginning.
func (r *rehearsal) passed() time.Duration { return r.clock.Now().Sub(r.clock.start) }

func (r *rehearsal) run(ctx context.Context, o Options) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return run(ctx, o, r.producer, pace{
		now: r.clock.Now,
		sleep: func(ctx context.Context, d time.Duration) bool {
			if r.end > 0 && r.passed()+d > r.end {
				r.clock.set(r.end)
				cancel()
			} else {
				r.clock.set(r.passed() + d)
			}
			return ctx.Err() == nil
		},
	})
}

// At its natural pace an endless demo always has something to show: up to three runs, something new all the time, and
// ends of runs. When it is stopped, no run is left open.
func TestNaturalPace(t *testing.T) {
	t.Parallel()
	r := rehearse(t, testkafka.Start(t, testkafka.Options{}))
	r.end = 3 * time.Minute
	open, most, ended := 0, 0, map[Outcome]int{}
	report, err := r.run(t.Context(), Options{Seed: 3, Speed: 1, OnRun: func(r RunInfo) {
		if r.Outcome == "" {
			open++
			most = max(most, open)
			return
		}
		open--
		ended[r.Outcome]++
		if r.Outcome != Interrupted && (r.Took < 4*time.Second || r.Took > 32*time.Second) {
			t.Errorf("%s took %v", r.Thread, r.Took)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if open != 0 || most != DefaultConcurrency || ended[Completed] < 20 || ended[Failed] < 2 || ended[Interrupted] != DefaultConcurrency || !maps.Equal(ended, report.Runs) {
		t.Errorf("%d open, at most %d at once, ended %v, report %v", open, most, ended, report.Runs)
	}
	if report.Elapsed != r.end {
		t.Errorf("it took %v", report.Elapsed)
	}
	var times []time.Time
	for thread, messages := range r.read() {
		for _, m := range messages {
			times = append(times, time.UnixMicro(wire.HeaderOf(m).TimestampUs))
		}
		last := messages[len(messages)-1].GetEvent()
		switch last.GetEventType() {
		case pb.EventType_EVENT_TYPE_GRAPH_END, pb.EventType_EVENT_TYPE_GRAPH_ERROR:
		default:
			t.Errorf("%s ends with %v", thread, last)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	if first := times[0].Sub(r.clock.start); first != 0 {
		t.Errorf("the first message comes after %v", first)
	}
	for i, at := range times[1:] {
		if gap := at.Sub(times[i]); gap > 1500*time.Millisecond {
			t.Errorf("nothing happens for %v, %v after the beginning", gap, times[i].Sub(r.clock.start))
		}
	}
}

// A run that is stopped closes what it has open, says why it ends, and nothing of it is lost.
func TestStop(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	for _, scenario := range []string{"research", "agent", "approval", "retry"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			for after := 100 * time.Millisecond; after < 9*time.Second; after += 890 * time.Millisecond {
				r := rehearse(t, c)
				r.end = after
				report, err := r.run(t.Context(), Options{Scenario: scenario, Seed: 3, Runs: 1, Speed: 1})
				if err != nil || report.Total.Lost() != 0 {
					t.Fatalf("%v, %+v", err, report.Total)
				}
				messages := r.read()["demo-3-0001-"+scenario]
				if report.Runs[Interrupted] != 1 {
					continue // it had ended before
				}
				stopped(t, messages)
				if t.Failed() {
					t.Fatalf("stopped after %v", after)
				}
			}
		})
	}
}

// stopped looks at the messages of a run that was stopped.
func stopped(t *testing.T, messages []*pb.DashStreamMessage) {
	t.Helper()
	open := map[string]string{}
	for i, m := range messages {
		e := m.GetEvent()
		switch e.GetEventType() {
		case pb.EventType_EVENT_TYPE_NODE_START, pb.EventType_EVENT_TYPE_LLM_START, pb.EventType_EVENT_TYPE_TOOL_START, pb.EventType_EVENT_TYPE_PARALLEL_START:
			open[string(e.Header.MessageId)] = e.EventType.String()
		case pb.EventType_EVENT_TYPE_NODE_END, pb.EventType_EVENT_TYPE_NODE_ERROR, pb.EventType_EVENT_TYPE_LLM_END, pb.EventType_EVENT_TYPE_LLM_ERROR,
			pb.EventType_EVENT_TYPE_TOOL_END, pb.EventType_EVENT_TYPE_TOOL_ERROR, pb.EventType_EVENT_TYPE_PARALLEL_END:
			delete(open, string(e.Header.ParentId))
		}
		ends := e.GetEventType() == pb.EventType_EVENT_TYPE_GRAPH_ERROR && e.Attributes["error_type"].GetStringValue() == "demo.InterruptedError"
		if ends != (i == len(messages)-1) {
			t.Errorf("message %d of %d is %v", i+1, len(messages), m)
		}
	}
	trace := messages[len(messages)-2].GetExecutionTrace()
	if trace == nil || trace.Completed || slices.ContainsFunc(trace.NodesExecuted, func(n *pb.NodeExecutionRecord) bool { return n.EndedAt == "" }) {
		t.Errorf("the trace is %v", trace)
	}
	if len(open) > 0 {
		t.Errorf("open for ever: %v", open)
	}
}

func TestRateAndConcurrency(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	for _, tt := range []struct {
		name   string
		o      Options
		most   int // at once
		starts []time.Duration
	}{
		{"a rate at the natural pace", Options{Rate: 2, Speed: 1, Runs: 5}, 5, []time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond, 2 * time.Second}},
		{"the rate is of the machine's time", Options{Rate: 2, Speed: 5, Runs: 4}, 4, []time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond}},
		{"as fast as possible, but not more often", Options{Rate: 4, Runs: 3}, 1, []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond}},
		{"as fast as possible", Options{Runs: 3}, 3, []time.Duration{0, 0, 0}},
		{"apart from each other", Options{Speed: 2, Runs: 3}, 3, []time.Duration{0, time.Second, 2 * time.Second}},
		{"one after the other", Options{Speed: 1, Runs: 2, Concurrency: 1}, 1, []time.Duration{0, written(t, 1, 1, AllScenarios).duration()}},
		{"more often than there is a place", Options{Rate: 100, Speed: 1, Runs: 3, Concurrency: 2}, 2, []time.Duration{
			0, 10 * time.Millisecond, min(written(t, 1, 1, AllScenarios).duration(), 10*time.Millisecond+written(t, 1, 2, AllScenarios).duration()),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := rehearse(t, c)
			var starts []time.Duration
			open, most := 0, 0
			tt.o.Seed = 1
			tt.o.OnRun = func(i RunInfo) {
				if i.Outcome != "" {
					open--
					return
				}
				starts = append(starts, r.passed())
				open++
				most = max(most, open)
			}
			if _, err := r.run(t.Context(), tt.o); err != nil {
				t.Error(err)
			}
			if !slices.Equal(starts, tt.starts) || most != tt.most {
				t.Errorf("starts %v, %d at once, want %v and %d", starts, most, tt.starts, tt.most)
			}
			if n := len(r.read()); n != tt.o.Runs {
				t.Errorf("%d threads", n)
			}
		})
	}
}

// A machine that stood still does not make up for it by playing everything at once.
func TestLostTimeIsGivenUp(t *testing.T) {
	t.Parallel()
	r := rehearse(t, testkafka.Start(t, testkafka.Options{}))
	natural := written(t, 1, 1, "rag").duration()
	report, err := r.run(t.Context(), Options{Scenario: "rag", Seed: 1, Runs: 1, Speed: 1, OnRun: func(i RunInfo) {
		if i.Outcome == "" {
			r.clock.set(r.passed() + time.Minute)
		}
	}})
	if took := report.Elapsed - time.Minute; err != nil || took != natural {
		t.Errorf("%v; the run took %v after the pause, its natural pace is %v", err, took, natural)
	}
}

// What does not arrive is told, and is not waited for longer than the producer waits.
func TestLossIsReported(t *testing.T) {
	t.Parallel()
	nowhere := func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no route to the broker")
	}
	p, err := dashstream.New(dashstream.WithFlushTimeout(300*time.Millisecond), dashstream.WithKafkaOptions(kgo.Dialer(nowhere)))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), Options{Seed: 1, Runs: 2}, p)
	var lost *LostError
	if !errors.As(err, &lost) || lost.Report.Total != report.Total {
		t.Fatalf("%v", err)
	}
	if got := report.Total; got.Acked != 0 || got.Lost() != got.Emitted || got.Emitted != got.Dropped+got.Failed || got.Emitted == 0 {
		t.Errorf("%+v", got)
	}
	reasons := uint64(0)
	for _, n := range report.Reasons {
		reasons += n
	}
	if reasons != report.Total.Lost() {
		t.Errorf("%d messages are lost, there are reasons for %d: %v", report.Total.Lost(), reasons, report.Reasons)
	}
	if report.Elapsed < 300*time.Millisecond || report.Elapsed > 20*time.Second || report.Runs[Completed] != 2 {
		t.Errorf("%+v", report)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for says, o := range map[string]Options{
		`scenario "chess": allowed are rag, research, critic, retry, agent, approval, failure, tune, all`: {Scenario: "chess"},
		"runs -1: allowed is 0 to 2147483647":      {Runs: -1},
		"rate NaN: allowed is 0 to 10000":          {Rate: math.NaN()},
		"rate 10001: allowed is 0 to 10000":        {Rate: 10001},
		"speed -0.5: allowed is 0 to 10000":        {Speed: -0.5},
		"speed +Inf: allowed is 0 to 10000":        {Speed: math.Inf(1)},
		"concurrency 10001: allowed is 0 to 10000": {Concurrency: 10001},
	} {
		if err := o.Validate(); err == nil || err.Error() != says {
			t.Errorf("%+v: %v, want %s", o, err, says)
		}
	}
	for _, s := range append(Scenarios(), Scenario{Name: AllScenarios}, Scenario{}) {
		if err := (Options{Scenario: s.Name}).Validate(); err != nil {
			t.Error(err)
		}
	}
}
