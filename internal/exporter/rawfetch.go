package exporter

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
)

var errNoBatch = errors.New("the broker sent no whole batch")

var errReadable = errors.New("the batch can be read")

// batchEnd asks the leader for the batch at an offset and returns the offset after it, if it cannot be read. The client shows
// of such a batch nothing, not even where it ends.
func (s *session) batchEnd(ctx context.Context, id int32, from int64) (int64, error) {
	topics, err := kadm.NewClient(s.questions).ListTopics(ctx, s.e.cfg.Topic)
	if err != nil {
		return 0, err
	}
	leader := topics[s.e.cfg.Topic].Partitions[id].Leader
	if leader < 0 {
		return 0, fmt.Errorf("partition %d: %w", id, kerr.LeaderNotAvailable)
	}
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.SessionEpoch, req.MinBytes, req.MaxBytes = -1, -1, 1, partitionBytes
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = s.e.cfg.Topic, s.topicID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = id, from, partitionBytes
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	kresp, err := s.questions.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return 0, err
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.Partition != id {
				continue
			}
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return 0, err
			}
			end, ok := feed.BatchEnd(p.RecordBatches, from)
			if !ok {
				return 0, errNoBatch
			}
			// The client's own decompressor: only that one has the bound.
			bounded := s.client.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
			read, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: from, Topic: s.e.cfg.Topic, Partition: id}, &p, bounded, nil)
			if len(read.Records) > 0 || read.Err == nil {
				return 0, errReadable
			}
			return end, nil
		}
	}
	return 0, errNoBatch
}
