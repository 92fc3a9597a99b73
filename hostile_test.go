package dashstream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// stuck is a value whose encoding does not end before it is let go; entered tells that it has begun.
type stuck struct{ entered, release chan struct{} }

func (s stuck) MarshalJSON() ([]byte, error) {
	close(s.entered)
	<-s.release
	return []byte("1"), nil
}

func newStuck() stuck { return stuck{make(chan struct{}), make(chan struct{})} }

// A value that takes its time to be encoded holds up its caller, and nobody else: not Close, nor the end of the run.
func TestAValueThatBlocks(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithFlushTimeout(testkafka.Wait))
	var wg sync.WaitGroup
	var values []stuck
	block := func(f func(stuck)) {
		v := newStuck()
		values = append(values, v)
		wg.Go(func() { f(v) })
		<-v.entered
	}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: 0})
	block(func(v stuck) { run.State(v) })
	block(func(v stuck) { run.Checkpoint(v) })
	block(func(v stuck) { p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "late", InitialState: v}) })
	run.State(2)
	run.End(nil)
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	for _, v := range values {
		close(v.release)
	}
	wg.Wait()
	checkAccounts(t, p)
	records := readAll(t, c, topic)
	if len(records) != 3 || records[2].msg.GetEvent().GetEventType() != pb.EventType_EVENT_TYPE_GRAPH_END {
		t.Errorf("%d records, the last is %v", len(records), records[len(records)-1].msg)
	}
	if s := p.Stats(); s.Runs != 0 || s.Total().Dropped[dashstream.DropClosed] != 3 {
		t.Errorf("%d runs are open, dropped %v", s.Runs, s.Total().Dropped)
	}
}

// recursive uses its run while it is encoded.
type recursive struct{ run *dashstream.Run }

func (r recursive) MarshalJSON() ([]byte, error) {
	r.run.State("inner")
	r.run.Edge("a", "b")
	return []byte(`"outer"`), nil
}

func TestAValueThatUsesItsRun(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: "first"})
	run.State(recursive{run})
	run.End(nil)
	flush(t, p)
	replicate(t, readAll(t, c, topic), "t").wants(t, "outer")
}

// Runs that are begun while the producer is closed end, or do not begin: readers see no run without its end, and no end
// without its beginning.
func TestCloseWhileRunsBegin(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	for round := range 10 {
		p := newProducer(t, c, topic, dashstream.WithFlushTimeout(testkafka.Wait))
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := 0; p.Stats().Total().Dropped[dashstream.DropClosed] == 0; i++ {
					run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: fmt.Sprint(round, g, i), InitialState: i, Graph: dashstream.Graph{Name: "g"}})
					run.State(i + 1)
					if i%2 == 0 {
						run.End(nil)
					}
				}
			})
		}
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
		wg.Wait()
		checkAccounts(t, p)
		if n := p.Stats().Runs; n != 0 {
			t.Errorf("%d runs are open", n)
		}
	}
	records := readAll(t, c, topic)
	checkSequences(t, records)
	state := map[string]string{}
	for _, r := range records {
		switch r.msg.GetEvent().GetEventType() {
		case pb.EventType_EVENT_TYPE_GRAPH_START:
			state[r.key] += "start "
		case pb.EventType_EVENT_TYPE_GRAPH_END, pb.EventType_EVENT_TYPE_GRAPH_ERROR:
			state[r.key] += "end "
		}
	}
	for thread, got := range state {
		if got != "start end " {
			t.Errorf("thread %s: %s", thread, got)
		}
	}
}

// The end of a run comes also where its error is larger than the queue.
func TestALongErrorInASmallQueue(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithQueueBytes(64<<10))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", Graph: dashstream.Graph{Name: "g"}})
	flush(t, p)
	err := errors.New("it failed: " + strings.Repeat("x", 400_000))
	run.End(&err)
	flush(t, p)
	records := readAll(t, c, topic)
	last := records[len(records)-1].msg.GetEvent()
	if last.GetEventType() != pb.EventType_EVENT_TYPE_GRAPH_ERROR || !strings.Contains(last.Attributes["error"].String(), "it failed: ") {
		t.Errorf("the last event is %v", last)
	}
}

// The id that a run says it has leads to the same order as the one it was given.
func TestTheSentThreadIDIsTheThread(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	for _, id := range []string{strings.Repeat("long", 100), "a\xffb", "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ"} {
		run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: id})
		if run.ThreadID() == id {
			t.Errorf("%q is sent as it is", id)
		}
		for _, id := range []string{run.ThreadID(), id} {
			if err := p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: &pb.Header{ThreadId: id}}}}); err != nil {
				t.Error(err)
			}
		}
		run.End(nil)
	}
	flush(t, p)
	records := readAll(t, c, topic)
	checkSequences(t, records)
	if n := p.Stats().Threads; n != 3 || len(records) != 12 {
		t.Errorf("%d threads, %d records; want 3 and 12", n, len(records))
	}
}

// A message that holds itself, or is deeper than readers go, is refused.
func TestSendOfAnEndlessMessage(t *testing.T) {
	t.Parallel()
	p := offline(t)
	cyclic := &pb.AttributeArray{}
	cyclic.Values = []*pb.AttributeValue{{Value: &pb.AttributeValue_ArrayValue{ArrayValue: cyclic}}}
	deep := &pb.AttributeValue{}
	for range 2_000_000 {
		deep = &pb.AttributeValue{Value: &pb.AttributeValue_ArrayValue{ArrayValue: &pb.AttributeArray{Values: []*pb.AttributeValue{deep}}}}
	}
	for name, v := range map[string]*pb.AttributeValue{"cyclic": {Value: &pb.AttributeValue_ArrayValue{ArrayValue: cyclic}}, "deep": deep} {
		err := p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{
			Header: &pb.Header{ThreadId: "t"}, Attributes: map[string]*pb.AttributeValue{"a": v},
		}}})
		if !errors.Is(err, dashstream.ErrInvalidMessage) || !strings.Contains(err.Error(), "100") {
			t.Errorf("%s: %v", name, err)
		}
	}
	checkAccounts(t, p)
}

// Two producers that write one thread keep each its own order, and no message is lost.
func TestTwoProducersOfOneThread(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	var wg sync.WaitGroup
	for i := range 2 {
		p := newProducer(t, c, topic, dashstream.WithTenant(fmt.Sprint("p", i)))
		wg.Go(func() {
			run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "shared"})
			for range 200 {
				run.Edge("a", "b")
			}
			run.End(nil)
			if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	last := map[string]uint64{}
	partitions := map[int32]bool{}
	epochs := map[string]bool{}
	for _, r := range readAll(t, c, topic) {
		h := r.header()
		if h.Sequence != last[h.TenantId]+1 {
			t.Fatalf("%s: sequence %d behind %d", h.TenantId, h.Sequence, last[h.TenantId])
		}
		last[h.TenantId] = h.Sequence
		partitions[r.partition] = true
		if e := r.headers[dashstream.EpochHeader]; e != "" {
			epochs[e] = true
		}
	}
	if last["p0"] != 202 || last["p1"] != 202 || len(partitions) != 1 || len(epochs) != 2 {
		t.Errorf("last sequences %v, on %d partitions, with %d epochs", last, len(partitions), len(epochs))
	}
}

// A clock that is set back makes no negative duration, and changes no order.
func TestClockStepsBack(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	var mu sync.Mutex
	now := time.Unix(1_700_000_000, 0)
	p := newProducer(t, c, topic, dashstream.WithClock(func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(-time.Minute)
		return now
	}))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	node := run.Node("n")
	node.LLM("m", "p").End(dashstream.Usage{})
	node.Tool("x", nil).End(nil)
	node.End(nil)
	run.End(nil)
	flush(t, p)
	records := readAll(t, c, topic)
	checkSequences(t, records)
	ids := map[string]bool{}
	for _, r := range records {
		ids[string(r.header().MessageId)] = true
		if d := r.msg.GetEvent().GetDurationUs(); d != 0 {
			t.Errorf("%s has the duration %d", r.msg.GetEvent().GetEventType(), d)
		}
	}
	if len(ids) != len(records) {
		t.Errorf("%d ids of %d messages", len(ids), len(records))
	}
}
