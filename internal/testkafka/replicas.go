package testkafka

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Of a cluster with several nodes, which is Apache Kafka: who leads what, and whether everybody has everything. Nodes
// count from 0 here, as in Stop and Kill; brokers are named by numbers from 1 in Kafka.

// BrokerID is the number that Kafka knows a node by.
func BrokerID(node int) int32 { return int32(node) + 1 }

// NodeOf is the inverse of BrokerID.
func NodeOf(broker int32) int { return int(broker) - 1 }

// Details describes a topic's partitions, as some node that answers knows them.
func (c *Cluster) Details(t testing.TB, topic string) kadm.TopicDetail {
	t.Helper()
	adm := c.Admin(t)
	defer adm.Close()
	var found kadm.TopicDetail
	Eventually(t, "the cluster describes topic "+topic, func(ctx context.Context) error {
		m, err := adm.Metadata(ctx, topic)
		if err == nil {
			found = m.Topics[topic]
			err = found.Err
		}
		return err
	})
	return found
}

// Leader returns the node that leads a partition, waiting for one.
func (c *Cluster) Leader(t testing.TB, topic string, partition int32) int {
	t.Helper()
	leader := -1
	Eventually(t, fmt.Sprintf("partition %d of %s has a leader", partition, topic), func(context.Context) error {
		p := c.Details(t, topic).Partitions[partition]
		if p.Leader < 0 {
			return errors.New("it has none")
		}
		leader = NodeOf(p.Leader)
		return nil
	})
	return leader
}

// Controller returns the node whose controller leads the others, waiting for one.
func (c *Cluster) Controller(t testing.TB) int {
	t.Helper()
	cl := c.Client(t)
	defer cl.Close()
	leader := -1
	Eventually(t, "the controllers have a leader", func(ctx context.Context) error {
		req := kmsg.NewPtrDescribeQuorumRequest()
		rt := kmsg.NewDescribeQuorumRequestTopic()
		rt.Topic = "__cluster_metadata"
		rt.Partitions = append(rt.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		for _, rt := range resp.Topics {
			for _, p := range rt.Partitions {
				if p.LeaderID > 0 {
					leader = NodeOf(p.LeaderID)
				}
			}
		}
		if leader < 0 {
			return errors.New("they have none")
		}
		return nil
	})
	return leader
}

// AwaitReplicas waits until every partition of the topic has a leader and as many replicas in sync as check wants, which
// is given the partition and how many it has.
func (c *Cluster) AwaitReplicas(t testing.TB, topic, what string, check func(p kadm.PartitionDetail) bool) {
	t.Helper()
	Eventually(t, "topic "+topic+": "+what, func(context.Context) error {
		for _, p := range c.Details(t, topic).Partitions.Sorted() {
			if !check(p) {
				return fmt.Errorf("partition %d: leader %d, replicas %v, in sync %v", p.Partition, p.Leader, p.Replicas, p.ISR)
			}
		}
		return nil
	})
}

// AwaitInSync waits until every partition of the topic has a leader, and all its replicas are in sync.
func (c *Cluster) AwaitInSync(t testing.TB, topic string) {
	t.Helper()
	c.AwaitReplicas(t, topic, "all replicas are in sync", func(p kadm.PartitionDetail) bool {
		return p.Leader >= 0 && len(p.ISR) == len(p.Replicas)
	})
}

// KillTogether ends several nodes with SIGKILL, as a power cut does.
func (c *Cluster) KillTogether(t testing.TB, nodes ...int) {
	t.Helper()
	c.Require(t, c.CanKill(), "kill several brokers")
	c.apache.kill(t, nodes...)
}

// Freeze makes nodes stand still until the function that it returns is called.
func (c *Cluster) Freeze(t testing.TB, nodes ...int) (thaw func()) {
	t.Helper()
	c.Require(t, c.CanKill(), "freeze a broker")
	if err := c.apache.cluster.Freeze(nodes...); err != nil {
		t.Fatalf("freeze Apache Kafka nodes %v: %v", nodes, err)
	}
	return func() {
		t.Helper()
		if err := c.apache.cluster.Thaw(nodes...); err != nil {
			t.Fatalf("thaw Apache Kafka nodes %v: %v", nodes, err)
		}
	}
}

// StartTogether starts several nodes that were stopped or killed, as after a power cut: none of them serves before most of
// the controllers are there. It waits until all running nodes serve.
func (c *Cluster) StartTogether(t testing.TB, nodes ...int) {
	t.Helper()
	c.Require(t, c.CanKill(), "start several brokers")
	c.apache.start(t, nodes...)
}
