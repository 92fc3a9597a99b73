package dashstream

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// Ready reports whether Kafka can be reached and has the topic, and whether a broker that leads a part of it can be reached,
// within ctx. The error says what is likely wrong and which setting to change.
func (p *Producer) Ready(ctx context.Context) error {
	partitions, err := p.describe(ctx)
	if err != nil {
		return err
	}
	leaders := make([]int32, len(partitions))
	for i, at := range partitions {
		leaders[i] = at.Leader
	}
	if err := kafkaclient.ReachLeader(ctx, p.client, leaders); err != nil {
		return p.explain(fmt.Errorf("topic %s: %w", p.cfg.kafka.Topic, kafkaclient.WithFailure(err, p.hooks.Failure())))
	}
	return nil
}

// obstacle looks for what keeps Kafka from taking messages. A broker that refuses them for a reason that may pass says so
// to the client alone, which goes on trying without a word; so it is found out here.
func (p *Producer) obstacle(ctx context.Context) error {
	partitions, err := p.describe(ctx)
	if err != nil {
		return err
	}
	topic := p.cfg.kafka.Topic
	leaderless, least := 0, partitions[0]
	for _, at := range partitions {
		if at.Leader < 0 {
			leaderless++
		}
		if len(at.ISR) < len(least.ISR) {
			least = at
		}
	}
	if leaderless > 0 {
		return p.explain(fmt.Errorf("topic %s: %d of %d partitions have no leader: %w", topic, leaderless, len(partitions), kerr.LeaderNotAvailable))
	}
	if len(least.ISR) == len(least.Replicas) {
		return nil
	}
	if want := p.minInSync(ctx, topic); len(least.ISR) < want {
		return p.explain(fmt.Errorf("topic %s, partition %d: %d of %d replicas are in sync, min.insync.replicas is %d: %w",
			topic, least.Partition, len(least.ISR), len(least.Replicas), want, kerr.NotEnoughReplicas))
	}
	return nil
}

// describe returns the partitions of the topic, one or more.
func (p *Producer) describe(ctx context.Context) ([]kmsg.MetadataResponseTopicPartition, error) {
	topic := p.cfg.kafka.Topic
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, p.client)
	var partitions []kmsg.MetadataResponseTopicPartition
	if err == nil {
		for _, t := range resp.Topics {
			if err = kerr.ErrorForCode(t.ErrorCode); err != nil {
				break
			}
			partitions = append(partitions, t.Partitions...)
		}
	}
	switch {
	case err != nil:
		return nil, p.explain(fmt.Errorf("topic %s: %w", topic, kafkaclient.WithFailure(err, p.hooks.Failure())))
	case len(partitions) == 0:
		return nil, fmt.Errorf("topic %s has no partitions", topic)
	default:
		return partitions, nil
	}
}

// minInSync returns how many replicas have to be in sync for the topic to take messages; 0 where the broker does not tell.
func (p *Producer) minInSync(ctx context.Context, topic string) int {
	const name = "min.insync.replicas"
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{name}
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(ctx, p.client)
	if err != nil {
		return 0 // without the right to ask, for one
	}
	for _, r := range resp.Resources {
		for _, c := range r.Configs {
			if c.Name == name && c.Value != nil {
				n, _ := strconv.Atoi(*c.Value) // 0 where it is no number
				return n
			}
		}
	}
	return 0
}
