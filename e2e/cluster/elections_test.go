package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/dashflow/dashstream/internal/testkafka"
)

// leadersAreElected moves replicas and leaders by the admin API: reassignments
// in which brokers gain and lose partitions, and elections of preferred leaders.
func leadersAreElected(t *testing.T, c *testkafka.Cluster) {
	w := newWorld(t, c, durable)
	w.newAgents(3)
	w.newClients()
	for round := range 4 {
		w.awaitProgress(30)
		// Every other time each partition leaves one of the brokers, and comes back
		// to it the next time, when it has to be copied.
		w.reassign(3 - round%2)
		w.elect(kadm.ElectPreferredReplica)
	}
	w.reassign(3)
	w.elect(kadm.ElectPreferredReplica)
	w.finish()
	w.unharmed()
}

// reassign gives each partition so many replicas, in an order that chance
// decides, and waits until they are in sync.
func (w *world) reassign(replicas int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	adm := w.c.Admin(w.t)
	defer adm.Close()
	var req kadm.AlterPartitionAssignmentsReq
	for p := range int32(partitions) {
		var brokers []int32
		for _, node := range w.chance.Perm(3)[:replicas] {
			brokers = append(brokers, testkafka.BrokerID(node))
		}
		req.Assign(w.topic, p, brokers)
	}
	resp, err := adm.AlterPartitionAssignments(ctx, req)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		w.t.Fatalf("assign replicas: %v", err)
	}
	w.eventually("the replicas are where they are wanted", func() error {
		moving, err := adm.ListPartitionReassignments(ctx, kadm.TopicsSet{w.topic: nil})
		if err == nil && len(moving[w.topic]) > 0 {
			err = fmt.Errorf("%v", moving)
		}
		return err
	})
	w.c.AwaitInSync(w.t, w.topic)
}

// elect elects the leader of every partition anew.
func (w *world) elect(how kadm.ElectLeadersHow) {
	w.t.Helper()
	adm := w.c.Admin(w.t)
	defer adm.Close()
	w.eventually("leaders are elected", func() error {
		ctx, cancel := context.WithTimeout(w.t.Context(), patience)
		defer cancel()
		set := kadm.TopicsSet{}
		for p := range int32(partitions) {
			set.Add(w.topic, p)
		}
		if _, err := adm.ElectLeaders(ctx, how, set); err != nil {
			return err
		}
		for _, p := range w.c.Details(w.t, w.topic).Partitions.Sorted() {
			if p.Leader < 0 || how == kadm.ElectPreferredReplica && p.Leader != p.Replicas[0] {
				return errors.Join(p.Err, fmt.Errorf("partition %d of brokers %v has the leader %d", p.Partition, p.Replicas, p.Leader))
			}
		}
		return nil
	})
}
