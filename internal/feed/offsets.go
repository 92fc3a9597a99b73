package feed

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// errAnotherTopic reports that the topic was created anew, so that what the
// brokers say of it is not about the generation that was asked for.
var errAnotherTopic = errors.New("the topic was created anew")

// offsets lists one offset for each partition of a generation: at the start or
// end of the log, or of the first record with a Kafka timestamp at or after ms,
// which is -1 where there is none. With an error the map holds what was
// answered all the same.
func (f *Feed) offsets(ctx context.Context, g *generation, ms int64) (map[int32]listed, error) {
	out, err := f.list(ctx, g.topicID, g.count(), ms)
	maps.DeleteFunc(out, func(_ int32, l listed) bool { return l.lagging })
	return out, err
}

// listed is an offset and the epoch of the leader that wrote up to there, or of a later
// one whose log holds that; -1 where the broker does not say.
type listed struct {
	offset int64
	epoch  int32
	// lagging: the leader is new, and does not tell where its log ends before its
	// high watermark has passed what the leader before may have told. That takes
	// as long as too few replicas are in sync. What it knows can be read.
	lagging bool
}

// list asks for the first n partitions of the topic with an id. Kafka knows this
// question by the topic's name alone, so the answer may be another topic's: that
// is looked up after it.
func (f *Feed) list(ctx context.Context, id [16]byte, n int, ms int64) (map[int32]listed, error) {
	out, err := f.listByName(ctx, n, ms)
	if len(out) == 0 || id == [16]byte{} {
		return out, err
	}
	now, idErr := f.identityOnce.do(ctx)
	switch {
	case idErr != nil:
		return nil, fmt.Errorf("list offsets of topic %q: %w", f.cfg.Topic, idErr)
	case now != id:
		if s := f.super.Load(); s != nil && s.g.topicID == id {
			s.endGeneration(ResetTopicRecreated)
		}
		return nil, fmt.Errorf("list offsets of topic %q: %w", f.cfg.Topic, errAnotherTopic)
	}
	return out, err
}

// identity asks for the topic's id as it is now.
func (f *Feed) identity(ctx context.Context) ([16]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, min(listTimeout, f.cfg.RequestTimeout))
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(f.cfg.Topic)
	req.Topics = append(req.Topics, t)
	for try := 1; ; try++ {
		resp, err := req.RequestWith(ctx, f.questions)
		switch {
		case err != nil:
			return [16]byte{}, err
		case len(resp.Topics) != 1:
			err = kerr.UnknownTopicOrPartition
		default:
			err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
		}
		if err == nil || try == confirmTries {
			var id [16]byte
			if err == nil {
				id = resp.Topics[0].TopicID
			}
			return id, err
		}
		select {
		case <-ctx.Done():
			return [16]byte{}, err
		case <-time.After(minBackoff):
		}
	}
}

func (f *Feed) listByName(ctx context.Context, n int, ms int64) (map[int32]listed, error) {
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
					if errors.Is(err, kerr.OffsetNotAvailable) {
						out[p.Partition] = listed{offset: -1, epoch: -1, lagging: true}
					}
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

// askLagging replaces the ends that new leaders do not tell by how far they let
// their logs be read, or takes them out. It is no end that "caught up" could be
// said of, since more may have been read before; but reading can begin there.
func (f *Feed) askLagging(ctx context.Context, g *generation, starts, ends map[int32]listed) {
	ctx, cancel := context.WithTimeout(ctx, min(listTimeout, f.cfg.RequestTimeout))
	defer cancel()
	asked, epochs := map[int32][]fetchPosition{}, map[int32]int32{}
	g.mu.Lock()
	for p, end := range ends {
		if !end.lagging {
			continue
		}
		delete(ends, p)
		start, ok := starts[p]
		if ok && int(p) < len(g.parts) && g.parts[p].leader >= 0 {
			at := g.parts[p]
			epochs[p] = at.leaderEpoch
			asked[at.leader] = append(asked[at.leader], fetchPosition{partition: p, offset: start.offset, leaderEpoch: at.leaderEpoch})
		}
	}
	g.mu.Unlock()
	for broker, positions := range asked {
		answers, err := g.fetch(ctx, f.past, fetchRequest{broker: broker, positions: positions, maxBytes: 1, partitionBytes: 1})
		if err != nil {
			f.observer.RequestError(err)
			continue
		}
		for _, a := range answers {
			if a.highWatermark >= a.from {
				// Only the leader of the epoch that was asked for answers.
				ends[a.partition] = listed{offset: a.highWatermark, epoch: epochs[a.partition]}
			}
		}
	}
}
