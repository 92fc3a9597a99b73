package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/demo"
	"github.com/dashflow/dashstream/internal/wire"
)

// agent is a producer that a program makes every kind of call of, and a witness
// of what its Kafka client says of each record.
type agent struct {
	w        *world
	name     string
	producer *dashstream.Producer
	witness  *witness
	// stop ends the simulated agents, who close the producer; finish what else
	// uses it.
	stop, finish context.CancelFunc
	running      sync.WaitGroup
	beside       sync.WaitGroup
}

// witness is told of each record by the Kafka client, as kgo.Hook.
type witness struct {
	w  *world
	mu sync.Mutex
	// sent are the messages handed to the client, by id, and what came of each.
	sent map[string]*fate
}

type fate struct {
	thread    string
	kind      pb.MessageType
	sequence  uint64
	settled   bool
	err       error
	partition int32
	offset    int64
}

var (
	_ kgo.HookProduceRecordBuffered   = (*witness)(nil)
	_ kgo.HookProduceRecordUnbuffered = (*witness)(nil)
)

func (w *witness) decode(r *kgo.Record) *pb.DashStreamMessage {
	m, err := wire.Decode(r.Value, wire.DefaultLimits())
	if err != nil {
		w.w.t.Errorf("a record that is sent does not decode: %v", err)
	}
	return m
}

// OnProduceRecordBuffered implements kgo.HookProduceRecordBuffered.
func (w *witness) OnProduceRecordBuffered(r *kgo.Record) {
	m := w.decode(r)
	h := wire.HeaderOf(m)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent[messageID(m)] = &fate{thread: h.GetThreadId(), kind: wire.KindOf(m), sequence: h.GetSequence()}
}

// OnProduceRecordUnbuffered implements kgo.HookProduceRecordUnbuffered.
func (w *witness) OnProduceRecordUnbuffered(r *kgo.Record, err error) {
	id := messageID(w.decode(r))
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.sent[id]
	if f.settled {
		w.w.t.Errorf("message %s of thread %s has an outcome a second time: %v, then %v", id, f.thread, f.err, err)
	}
	f.settled, f.err, f.partition, f.offset = true, err, r.Partition, r.Offset
}

// newAgent makes a producer, and nothing of it yet.
func (w *world) newAgent(opts ...dashstream.Option) *agent {
	w.t.Helper()
	a := &agent{w: w, name: fmt.Sprintf("producer %d", len(w.agents)), witness: &witness{w: w, sent: map[string]*fate{}}}
	var err error
	a.producer, err = dashstream.New(append([]dashstream.Option{
		dashstream.WithBrokers(w.c.Brokers()...), dashstream.WithTopic(w.topic), dashstream.WithLogger(w.logger(a.name)),
		dashstream.WithFlushTimeout(patience), dashstream.WithKafkaOptions(kgo.WithHooks(a.witness)),
	}, opts...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(a.end)
	w.agents = append(w.agents, a)
	return a
}

// newAgents makes producers that simulated agents work with.
func (w *world) newAgents(n int, opts ...dashstream.Option) {
	w.t.Helper()
	for range n {
		a := w.newAgent(opts...)
		ctx, cancel := context.WithCancel(context.Background())
		besideCtx, finish := context.WithCancel(context.Background())
		a.stop, a.finish = cancel, finish
		seed := w.chance.Uint64()
		a.running.Go(func() {
			// Its accounts are compared with the log; that it lost something is no error as such.
			_, err := demo.Run(ctx, demo.Options{Seed: seed, Concurrency: 2, Speed: 3}, a.producer)
			if lost := (*demo.LostError)(nil); err != nil && !errors.As(err, &lost) {
				w.t.Errorf("%s: %v", a.name, err)
			}
		})
		a.beside.Go(func() { a.sendBatches(besideCtx) })
		a.beside.Go(func() { a.audit(besideCtx) })
	}
}

// sendBatches sends, beside what a run emits, batches of events.
func (a *agent) sendBatches(ctx context.Context) {
	for n := 0; ; n++ {
		b := &pb.EventBatch{}
		for i := range 5 {
			b.Events = append(b.Events, &pb.Event{
				Header: &pb.Header{ThreadId: fmt.Sprintf("%s batch %d", a.name, i%3)}, EventType: pb.EventType_EVENT_TYPE_NODE_PROGRESS, NodeId: fmt.Sprint(n),
			})
		}
		_ = a.producer.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_EventBatch{EventBatch: b}}) // what is refused is counted
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// audit holds the accounts to their sum at any moment.
func (a *agent) audit(ctx context.Context) {
	for {
		a.balanced()
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (a *agent) balanced() {
	s := a.producer.Stats()
	for _, k := range dashstream.MessageTypes() {
		if c := s.Types[k]; c.Emitted != c.Acked+c.DroppedTotal()+c.FailedTotal()+c.InFlight {
			a.w.t.Errorf("%s: the account of %s does not balance: %+v", a.name, k, c)
		}
	}
}

// end closes the producer, in order.
func (a *agent) end() {
	if a.stop != nil {
		a.finish()
		a.beside.Wait()
		a.stop()
	}
	a.running.Wait()
	_ = a.producer.Close(context.Background()) // once for all; what it could not deliver is in its accounts
}

// verify holds the accounts to the log, after the end.
func (a *agent) verify(l *log) {
	t := a.w.t
	t.Helper()
	a.balanced()
	stats := a.producer.Stats()
	w := a.witness
	w.mu.Lock()
	defer w.mu.Unlock()
	cut := func(f *fate) bool {
		from, ok := a.w.cutFrom[f.partition]
		return ok && f.offset >= from
	}
	lost := 0
	acked := map[pb.MessageType]uint64{}
	unsure := map[pb.MessageType]uint64{} // in the log, and not acknowledged
	for id, f := range w.sent {
		found := l.byID[id]
		switch {
		case !f.settled:
			t.Errorf("%s: the Kafka client did not say what became of message %s", a.name, id)
		case len(found) > 1:
			t.Errorf("%s: message %s is in the log %d times: %v", a.name, id, len(found), found)
		case f.err == nil && len(found) == 0 && cut(f):
			lost++
		case f.err == nil && len(found) == 0:
			t.Errorf("%s: message %s (thread %s, sequence %d) was acknowledged at partition %d offset %d, and is not in the log", a.name, id, f.thread, f.sequence, f.partition, f.offset)
		case f.err == nil && (found[0].partition != f.partition || found[0].offset != f.offset):
			t.Errorf("%s: message %s was acknowledged at partition %d offset %d, and is at %v", a.name, id, f.partition, f.offset, found[0])
		}
		if f.err == nil {
			acked[f.kind]++
		} else if len(found) > 0 {
			unsure[f.kind]++
		}
	}
	for _, k := range dashstream.MessageTypes() {
		c := stats.Types[k]
		if c.InFlight != 0 {
			t.Errorf("%s: %d of %s are in flight after the end", a.name, c.InFlight, k)
		}
		if c.Acked != acked[k] {
			t.Errorf("%s: it counts %d of %s as acknowledged, its Kafka client said so of %d", a.name, c.Acked, k, acked[k])
		}
		if unsure[k] > c.Failed[dashstream.FailUnknown] {
			t.Errorf("%s: the log holds %d of %s that were not acknowledged; it counts %d as unknown, all else as not in the log: %+v", a.name, unsure[k], k, c.Failed[dashstream.FailUnknown], c)
		}
	}
	a.inOrder(l, stats.Total())
	t.Logf("%s: %+v, in the log without an acknowledgement %v, cut off %d", a.name, stats.Total(), unsure, lost)
}

// inOrder holds the sequences of the producer's threads to the order of the log.
// What is missing was lost, and counted.
func (a *agent) inOrder(l *log, total dashstream.Counts) {
	last := map[string]entry{}
	missing, present := uint64(0), uint64(0)
	for p := range int32(partitions) {
		for _, e := range l.partitions[p] {
			if a.witness.sent[e.id] == nil {
				continue // another producer's
			}
			present++
			before, ok := last[e.thread]
			if ok && before.partition != p {
				a.w.t.Errorf("%s: thread %s is in partitions %d and %d", a.name, e.thread, before.partition, p)
			}
			if e.sequence <= before.sequence {
				a.w.t.Errorf("%s: thread %s: sequence %d at partition %d offset %d comes after %d at %d", a.name, e.thread, e.sequence, p, e.offset, before.sequence, before.offset)
			} else {
				missing += e.sequence - before.sequence - 1
			}
			last[e.thread] = e
		}
	}
	if a.w.cutFrom != nil {
		return // what was cut off is missing, and no producer can know
	}
	if lost := total.Emitted - present; missing > lost {
		a.w.t.Errorf("%s: %d sequences are missing in the log; of %d messages, %d are in it", a.name, missing, total.Emitted, present)
	}
	if lost := total.DroppedTotal() + total.FailedTotal(); missing > lost {
		a.w.t.Errorf("%s: %d sequences are missing in the log, and it counts %d lost", a.name, missing, lost)
	}
}

// unharmed fails the test if a client was told to start over, or a producer lost
// something: what happened was to cost nothing but time.
func (w *world) unharmed() {
	w.t.Helper()
	for _, a := range w.agents {
		if s := a.producer.Stats().Total(); s.DroppedTotal()+s.FailedTotal() > 0 {
			w.t.Errorf("%s lost messages: %+v", a.name, s)
		}
	}
	w.unreset()
}

// acked is everything that the producers say they delivered.
func (w *world) acked() (n uint64) {
	for _, a := range w.agents {
		n += a.producer.Stats().Total().Acked
	}
	return n
}

// awaitProgress waits until some more records were acknowledged.
func (w *world) awaitProgress(more uint64) {
	w.t.Helper()
	goal := w.acked() + more
	w.eventually("producers deliver", func() error {
		if n := w.acked(); n < goal {
			return fmt.Errorf("%d records were acknowledged, %d are awaited", n, goal)
		}
		return nil
	})
}
