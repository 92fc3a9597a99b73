package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// replicasAreMissing takes brokers away until nothing can be written: first by
// asking for three replicas in sync while there are two, so that the brokers
// refuse; then by leaving one broker of three, which cannot elect.
func replicasAreMissing(t *testing.T, c *testkafka.Cluster) {
	w := newWorld(t, c, durable)
	w.write(c.Client(t, kgo.DefaultProduceTopic(w.topic), kgo.RecordPartitioner(kgo.ManualPartitioner())), 3) // no partition is empty
	w.newAgents(2)
	w.newClients()
	w.awaitProgress(100)
	first, second := w.chance.IntN(3), 0
	for second = w.chance.IntN(3); second == first; second = w.chance.IntN(3) {
	}
	left := 3 - first - second

	w.minInSync("3")
	t.Logf("kill node %d: three replicas are asked for, two are there", first)
	c.Kill(t, first)
	c.AwaitReplicas(t, w.topic, "two replicas are in sync", func(p kadm.PartitionDetail) bool { return p.Leader >= 0 && len(p.ISR) == 2 })
	// A new leader does not tell where its log ends before enough replicas are in
	// sync; the others do.
	before := w.ends()
	w.refused("three replicas are asked for", "NOT_ENOUGH_REPLICAS")
	quitters := []*agent{w.expired("three replicas are asked for")}
	if after := w.ends(); !maps.Equal(before, after) {
		t.Errorf("the log went on from %v to %v, although every record was refused", before, after)
	}
	w.awaitReady(true)
	// A gateway that starts now reads all that there is, like those that go on; of
	// a new leader, what it lets be read, which may be less than was read before.
	w.gateways = append(w.gateways, w.gateway())
	readable := w.readable(before)
	late := w.late("late: refused", gateways)
	w.eventually("a client that comes now has what can be read", func() error { return late.reached(readable) })
	if late.isCaughtUp() == nil && len(before) < partitions {
		t.Errorf("%s was told that it has everything, and only of %v is the end known", late.name, before)
	}

	w.minInSync("2")
	w.awaitProgress(50)
	t.Logf("kill node %d: node %d is left", second, left)
	led := w.led(left)
	c.Kill(t, second)
	w.refused("one of three brokers is left", "")
	quitters = append(quitters, w.expired("one of three brokers is left"))
	w.awaitReady(false, c.Brokers()[second])
	for i := range w.gateways {
		if n := w.metric(i, "websocket_infrastructure_errors_total"); n == 0 {
			t.Errorf("gateway %d counts no failure", i)
		}
	}
	// Of the partitions that the broker leads, all that was committed can be read.
	ends := w.ends()
	t.Logf("node %d leads %v, of which the ends are %v", left, led, ends)
	late = w.late("late: one left", 0)
	w.eventually("a client that comes now has what can be read", func() error { return late.reached(ends) })
	if late.isCaughtUp() == nil {
		t.Errorf("%s was told that it has everything, and node %d leads %v alone", late.name, left, led)
	}
	c.StartTogether(t, first, second)
	c.AwaitInSync(t, w.topic)
	w.awaitReady(true)
	w.awaitProgress(50)
	// Who gave up goes on, and what it sends now comes after what may be there.
	for _, a := range quitters {
		w.emit(a, 100)
		if err := a.producer.Flush(t.Context()); err != nil {
			t.Errorf("%s, when the brokers are back: Flush: %v", a.name, err)
		}
	}
	for _, c := range w.clients {
		w.eventually("every client is told when it has everything", c.isCaughtUp)
	}
	w.finish()
	w.unreset()
	for _, a := range w.agents[:2] {
		if s := a.producer.Stats().Total(); s.DroppedTotal()+s.FailedTotal() > 0 {
			t.Errorf("%s lost messages within its delivery timeout: %+v", a.name, s)
		}
	}
}

// minInSync sets how many replicas have to be in sync, and waits until that is
// in force everywhere.
func (w *world) minInSync(n string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	adm := w.c.Admin(w.t)
	resp, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "min.insync.replicas", Value: &n}}, w.topic)
	if err == nil {
		for _, r := range resp {
			err = errors.Join(err, r.Err)
		}
	}
	if err != nil {
		w.t.Fatalf("ask for %s replicas in sync: %v", n, err)
	}
}

// refused has two producers work while nothing can be written: one waits, one is
// closed. What Flush and Close say is exact, and comes when it has to.
func (w *world) refused(what, cause string) {
	w.t.Helper()
	const events, wait = 300, 3 * time.Second
	a := w.newAgent(dashstream.WithQueueBytes(64<<10), dashstream.WithDeliveryTimeout(4*wait))
	for i := range events {
		run := a.producer.StartRun(w.t.Context(), dashstream.RunSpec{ThreadID: fmt.Sprintf("%s %d", a.name, i%4)})
		run.End(nil)
		if i == 0 {
			// Let the first be tried, so that it is told apart from what waits.
			w.while(100 * time.Millisecond)
		}
	}
	emitted := a.producer.Stats().Total().Emitted
	if emitted != 2*events {
		w.t.Errorf("%s: %d messages were emitted, want %d", what, emitted, 2*events)
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"Flush", a.producer.Flush}, {"Close", a.producer.Close}} {
		ctx, cancel := context.WithTimeout(w.t.Context(), wait)
		began := time.Now()
		before := a.producer.Stats().Total()
		err := step.do(ctx)
		took := time.Since(began)
		cancel()
		after := a.producer.Stats().Total()
		var incomplete *dashstream.IncompleteError
		if !errors.As(err, &incomplete) {
			w.t.Errorf("%s, %s: %v, want what is not delivered", what, step.name, err)
			continue
		}
		w.t.Logf("%s: %s after %v: %v", what, step.name, took.Round(time.Millisecond), err)
		if took < wait/2 || took > wait+patience/3 {
			w.t.Errorf("%s: %s took %v of the %v that it had", what, step.name, took, wait)
		}
		waited := incomplete.Acked + incomplete.Dropped + incomplete.Failed + incomplete.InFlight
		if waited != before.InFlight {
			w.t.Errorf("%s: %s accounts for %d messages, %d were in flight: %v", what, step.name, waited, before.InFlight, err)
		}
		if incomplete.Acked != 0 || after.Acked != 0 {
			w.t.Errorf("%s: %s says that something was acknowledged: %v, %+v", what, step.name, err, after)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			w.t.Errorf("%s: %s does not say that the time was over: %v", what, step.name, err)
		}
		if incomplete.Cause == nil || !strings.Contains(incomplete.Cause.Error(), cause) {
			w.t.Errorf("%s: %s names as the cause %v, want %q", what, step.name, incomplete.Cause, cause)
		}
		if step.name == "Close" && (incomplete.InFlight != 0 || after.InFlight != 0) {
			w.t.Errorf("%s: %d messages are in flight after Close", what, after.InFlight)
		}
		if step.name == "Flush" && after.InFlight == 0 {
			w.t.Errorf("%s: nothing is in flight after Flush: %+v", what, after)
		}
	}
	a.balanced()
}

// expired has a producer give up its messages while nothing can be written: each
// has its outcome when its time is over, and Flush needs no time of its own.
func (w *world) expired(what string) *agent {
	w.t.Helper()
	const events, limit = 100, 2 * time.Second
	a := w.newAgent(dashstream.WithDeliveryTimeout(limit))
	w.emit(a, events)
	began := time.Now()
	err := a.producer.Flush(w.t.Context())
	took := time.Since(began)
	var incomplete *dashstream.IncompleteError
	if !errors.As(err, &incomplete) {
		w.t.Fatalf("%s: Flush: %v, want what was given up", what, err)
	}
	w.t.Logf("%s: Flush of what expires after %v: %v", what, took.Round(time.Millisecond), err)
	s := a.producer.Stats().Total()
	if incomplete.Failed != events || incomplete.Err != nil || s.FailedTotal() != events || s.InFlight != 0 {
		w.t.Errorf("%s: Flush: %v, and the account is %+v; want all %d to have failed", what, err, s, events)
	}
	if took < limit/2 || took > limit+patience/3 {
		w.t.Errorf("%s: messages with %v to be delivered were given up after %v", what, limit, took)
	}
	return a
}

// emit sends n events of a few threads.
func (w *world) emit(a *agent, n int) {
	w.t.Helper()
	for i := range n {
		e := &pb.Event{Header: &pb.Header{ThreadId: fmt.Sprintf("%s %d", a.name, i%4)}, EventType: pb.EventType_EVENT_TYPE_NODE_PROGRESS}
		if err := a.producer.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: e}}); err != nil {
			w.t.Fatalf("%s: %v", a.name, err)
		}
	}
}

// ends lists where the partitions end of which a broker tells.
func (w *world) ends() map[int32]int64 {
	w.t.Helper()
	out := map[int32]int64{}
	adm := w.c.Admin(w.t)
	defer adm.Close()
	w.eventually("some broker tells where the log ends", func() error {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		defer cancel()
		ends, err := adm.ListEndOffsets(ctx, w.topic)
		ends.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				out[o.Partition] = o.Offset
			}
		})
		if len(out) == 0 {
			return fmt.Errorf("none does: %w", err)
		}
		return nil
	})
	return out
}

// readable adds to the ends that are told those up to which a plain client can
// read the other partitions.
func (w *world) readable(told map[int32]int64) map[int32]int64 {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	out := maps.Clone(told)
	from := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		if _, ok := told[p]; !ok {
			from[p] = kgo.NewOffset().At(0)
		}
	}
	cl := w.c.Client(w.t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.topic: from}))
	defer cl.Close()
	for len(out) < partitions {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			w.t.Fatalf("a plain client finds only %v of what can be read", out)
		}
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				if r.Offset+1 >= p.HighWatermark {
					out[p.Partition] = r.Offset + 1
				}
			}
		})
	}
	w.t.Logf("the ends %v are told, and %v can be read", told, out)
	return out
}

// led lists the partitions that a node leads.
func (w *world) led(node int) (ps []int32) {
	w.t.Helper()
	for _, p := range w.c.Details(w.t, w.topic).Partitions.Sorted() {
		if p.Leader == testkafka.BrokerID(node) {
			ps = append(ps, p.Partition)
		}
	}
	return ps
}

// late is a client that comes while not all can be read.
func (w *world) late(name string, gateway int) *client {
	w.t.Helper()
	c := &client{name: name, kind: protoKind, gateway: gateway}
	w.connect(c)
	return c
}

// reached returns an error until the client has come so far.
func (c *client) reached(ends map[int32]int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, end := range ends {
		if c.position[p] < end {
			return fmt.Errorf("%s is at %v, awaited %v; ended by %q", c.name, c.position, ends, c.ends)
		}
	}
	return nil
}

func (c *client) isCaughtUp() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caughtUp == 0 {
		return fmt.Errorf("%s, at %v, was not told", c.name, c.position)
	}
	return nil
}
