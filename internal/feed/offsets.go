package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// listTimeout bounds a question for offsets. Clients wait for it, and one broker
// that does not answer leaves only its own partitions unknown.
const listTimeout = 3 * time.Second

// Timestamps of a ListOffsets request that ask for the ends of the log, from
// the Kafka protocol.
const (
	atStart = -2
	atEnd   = -1
)

// offsets lists one offset for each of the first n partitions: at the start or
// end of the log, or of the first record with a Kafka timestamp at or after ms,
// which is -1 where there is none. With an error the map holds what was
// answered all the same.
func (f *Feed) offsets(ctx context.Context, n int, ms int64) (map[int32]int64, error) {
	listed, err := f.list(ctx, n, ms)
	out := make(map[int32]int64, len(listed))
	for p, l := range listed {
		out[p] = l.offset
	}
	return out, err
}

// listed is an offset and the epoch of the leader that wrote up to there; -1
// where the broker does not say.
type listed struct {
	offset int64
	epoch  int32
}

func (f *Feed) list(ctx context.Context, n int, ms int64) (map[int32]listed, error) {
	ctx, cancel := context.WithTimeout(ctx, min(listTimeout, f.cfg.RequestTimeout))
	defer cancel()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = f.cfg.Topic
	var errs []error
	leaderless := f.leaderless.Load()
	for p := range int32(n) {
		// The client would ask for a leader until the time is up, and everybody
		// wait for it.
		if leaderless != nil && (*leaderless)[p] {
			errs = append(errs, fmt.Errorf("partition %d: %w", p, kerr.LeaderNotAvailable))
			continue
		}
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, ms
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	out := make(map[int32]listed, n)
	if len(t.Partitions) == 0 {
		return out, fmt.Errorf("list offsets of topic %q: %w", f.cfg.Topic, errors.Join(errs...))
	}
	// The client asks each leader for its own partitions.
	for _, shard := range f.questions.RequestSharded(ctx, req) {
		if shard.Err != nil {
			errs = append(errs, shard.Err)
			continue
		}
		resp, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if !ok {
			continue
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					errs = append(errs, fmt.Errorf("partition %d: %w", p.Partition, err))
					continue
				}
				out[p.Partition] = listed{offset: p.Offset, epoch: p.LeaderEpoch}
			}
		}
	}
	if len(errs) > 0 {
		return out, fmt.Errorf("list offsets of topic %q: %w", f.cfg.Topic, errors.Join(errs...))
	}
	if len(out) < n {
		return out, fmt.Errorf("list offsets of topic %q: the cluster answered for %d of %d partitions", f.cfg.Topic, len(out), n)
	}
	return out, nil
}
