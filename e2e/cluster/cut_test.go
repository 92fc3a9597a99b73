package cluster

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// theLogIsCut elects leaders that lack records which were acknowledged and read:
// the log ends earlier, and goes on with others at the same offsets. Every client
// is told, and starts over.
func theLogIsCut(t *testing.T, c *testkafka.Cluster) {
	// One topic is written by hand, the other by producers that go on all the time.
	w, busy := newCutWorld(t, c), newCutWorld(t, c)
	nodes := w.chance.Perm(3)
	first, lacking, other := nodes[0], nodes[1], nodes[2]
	for _, w := range []*world{w, busy} {
		// The even partitions are cut; of the odd ones another broker has everything.
		w.createAssigned(func(p int32) []int {
			if p%2 == 0 {
				return []int{first, lacking}
			}
			return []int{other, lacking}
		})
		w.open()
	}
	w.newClients()
	away := w.newAway()
	busy.newClients()
	busy.newAgents(2)
	busy.awaitProgress(100)

	writer := c.Client(t, kgo.DefaultProduceTopic(w.topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	w.write(writer, 20)
	busy.cutFrom = busy.ends() // the replica that lacks the rest has everything before
	for p := range busy.cutFrom {
		if p%2 != 0 {
			delete(busy.cutFrom, p)
		}
	}
	c.Stop(t, lacking)
	c.AwaitReplicas(t, w.topic, "one replica is in sync", func(p kadm.PartitionDetail) bool { return p.Leader >= 0 && len(p.ISR) == 1 })
	w.write(writer, 30)
	busy.awaitProgress(100)
	for _, w := range []*world{w, busy} {
		ends := w.ends()
		for _, c := range w.clients {
			w.eventually("every client has what will be cut", func() error { return c.reached(ends) })
		}
	}
	for _, c := range away {
		w.eventually("those who go away have it too", func() error { return c.reached(w.ends()) })
		c.leave()
	}
	t.Logf("kill node %d, which has everything, and start node %d, which lacks the last records", first, lacking)
	c.Kill(t, first)
	c.Start(t, lacking)
	for _, w := range []*world{w, busy} {
		w.elect(kadm.ElectLiveReplica)
		for _, c := range w.clients {
			w.eventually("every client is told to start over", func() error { return c.isReset(1) })
		}
	}
	w.write(writer, 40) // beyond where the clients had been
	for _, c := range away {
		w.rejoin(c) // by its offsets, nothing shows
		w.eventually("who was away is told to start over", func() error { return c.isReset(1) })
	}
	c.Start(t, first)
	c.AwaitInSync(t, w.topic)
	w.write(writer, 10)
	busy.awaitProgress(100)
	busy.finish()

	l := w.readLog()
	for p := range int32(partitions) {
		want := int64(100)
		if p%2 == 0 {
			want = 70
		}
		if l.ends[p] != want {
			t.Errorf("partition %d ends at %d, want %d: the election did not cut it as it should", p, l.ends[p], want)
		}
	}
	w.awaitReady(true)
	w.awaitClients(l)
	for _, c := range w.clients {
		c.verify(l)
	}
	for _, c := range append(w.clients, busy.clients...) {
		c.mu.Lock()
		for _, r := range c.resets {
			if r.GetReason() != streampb.Reset_REASON_TRUNCATED {
				t.Errorf("%s: reset %v, want one for a log that was cut", c.name, r)
			}
		}
		c.mu.Unlock()
	}
}

// newCutWorld is a world without a topic yet.
func newCutWorld(t *testing.T, c *testkafka.Cluster) *world {
	t.Helper()
	w := &world{t: t, c: c, topic: c.TopicName(t), seed: *seedFlag}
	w.seedChance()
	return w
}

// createAssigned makes a topic whose partitions lie on the nodes that assign
// says, and may be led by one that is not in sync.
func (w *world) createAssigned(assign func(p int32) []int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = w.topic, -1, -1
	for p := range int32(partitions) {
		ra := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		ra.Partition = p
		for _, node := range assign(p) {
			ra.Replicas = append(ra.Replicas, testkafka.BrokerID(node))
		}
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, ra)
	}
	for name, value := range map[string]string{"unclean.leader.election.enable": "true", "min.insync.replicas": "1"} {
		rc := kmsg.NewCreateTopicsRequestTopicConfig()
		rc.Name, rc.Value = name, &value
		rt.Configs = append(rt.Configs, rc)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, w.c.Client(w.t))
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		w.t.Fatalf("create topic %s: %v", w.topic, err)
	}
	w.c.AwaitInSync(w.t, w.topic)
}

// write adds n messages to each partition.
func (w *world) write(cl *kgo.Client, n int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var records []*kgo.Record
	for p := range int32(partitions) {
		for range n {
			w.written++
			thread := fmt.Sprintf("partition %d", p)
			b, err := proto.Marshal(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{
				Header:    &pb.Header{MessageId: fmt.Appendf(nil, "%016d", w.written), ThreadId: thread, Sequence: w.written, Type: pb.MessageType_MESSAGE_TYPE_EVENT},
				EventType: pb.EventType_EVENT_TYPE_NODE_PROGRESS,
			}}})
			if err != nil {
				w.t.Fatal(err)
			}
			records = append(records, &kgo.Record{Partition: p, Key: []byte(thread), Value: append([]byte{0}, b...)})
		}
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

// isReset returns an error until the client was told to start over so often.
func (c *client) isReset(times int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.resets) < times {
		return fmt.Errorf("%s, at %v, was told %d times; ended by %q", c.name, c.position, len(c.resets), c.ends)
	}
	return nil
}
