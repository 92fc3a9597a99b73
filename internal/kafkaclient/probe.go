package kafkaclient

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Probe asks the cluster for the topic and returns nil when a broker answers that it exists and that every partition has
// a leader, of which one can be reached. It tries each broker once and does not wait for a broker to come back, so an error tells the state now. The
// context must have a deadline. Errors are explained as those of op, which the topic is asked for.
func (s Settings) Probe(ctx context.Context, client *kgo.Client, op Operation, topic string) error {
	// Ping goes to the brokers directly; a request would be retried until the deadline and lose its cause.
	if err := client.Ping(ctx); err != nil {
		return s.Explain(OpConnect, fmt.Errorf("connect to kafka at %s: %w", s.Brokers, err))
	}
	request := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = kmsg.StringPtr(topic)
	request.Topics = append(request.Topics, asked)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return s.Explain(op, fmt.Errorf("describe topic %q: %w", topic, err))
	}
	if len(response.Topics) != 1 {
		return fmt.Errorf("describe topic %q: the broker answered for %d topics", topic, len(response.Topics))
	}
	found := response.Topics[0]
	at := s
	at.Topic = topic
	if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
		return at.Explain(op, fmt.Errorf("describe topic %q: %w", topic, err))
	}
	leaders := make([]int32, 0, len(found.Partitions))
	for _, p := range found.Partitions {
		leaders = append(leaders, p.Leader)
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil && p.Leader < 0 {
			return fmt.Errorf("topic %q, partition %d has no leader: %w", topic, p.Partition, err)
		}
	}
	if err := ReachLeader(ctx, client, leaders); err != nil {
		return at.Explain(op, fmt.Errorf("topic %q: %w", topic, err))
	}
	return nil
}

// maxLeadersTried bounds how many brokers are looked for to find one that can be reached.
const maxLeadersTried = 16

// ReachLeader returns nil when one of the brokers, which lead partitions, answers, or when there is none. Metadata come from
// the addresses that a client was given; records go to those that the brokers advertise, which may be others. The error is
// that of one broker. Each is tried once, all at the same time, within ctx.
func ReachLeader(ctx context.Context, client *kgo.Client, leaders []int32) error {
	leaders = slices.DeleteFunc(slices.Clone(leaders), func(id int32) bool { return id < 0 })
	slices.Sort(leaders)
	leaders = slices.Compact(leaders)
	leaders = leaders[:min(len(leaders), maxLeadersTried)]
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan error, len(leaders))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for _, id := range leaders {
		asking.Go(func() {
			_, err := client.Broker(int(id)).Request(ctx, kmsg.NewPtrApiVersionsRequest())
			if err != nil {
				err = fmt.Errorf("broker %d, which leads partitions, cannot be reached: %w", id, err)
			}
			results <- err
		})
	}
	var first error
	for range leaders {
		err := <-results
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}
