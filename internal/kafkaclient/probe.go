package kafkaclient

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Probe asks the cluster for the topic and returns nil when a broker answers that it exists and that every partition has
// a leader. It tries each broker once and does not wait for a broker to come back, so an error tells the state now. The
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
	for _, p := range found.Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil && p.Leader < 0 {
			return fmt.Errorf("topic %q, partition %d has no leader: %w", topic, p.Partition, err)
		}
	}
	return nil
}
