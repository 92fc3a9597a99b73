package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A leader that was elected although it lacked records (an unclean election) goes
// on with others at the same offsets. So after an election its log is asked where
// the epoch of what was read last ends: below our position, what was read is gone
// (KIP-320). Reading goes on only then, since by offsets alone nothing shows once
// the log has grown past the position again.

// unproven lists the partitions whose leader is new and may be asked now.
func (g *generation) unproven(broker int32, now time.Time) []fetchPosition {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []fetchPosition
	for _, p := range g.parts {
		if p.unproven && p.leader == broker && p.next >= 0 && !p.retryAt.After(now) {
			out = append(out, fetchPosition{partition: p.id, offset: p.next, leaderEpoch: p.leaderEpoch, lastEpoch: p.lastEpoch})
		}
	}
	return out
}

// prove asks a new leader whether its log holds what was read. It ends the
// generation where it does not.
func (s *supervisor) prove(ctx context.Context, broker int32, positions []fetchPosition, loop *brokerLoop) {
	loop.asked()
	rctx, cancel := context.WithTimeout(ctx, s.f.cfg.RequestTimeout)
	defer cancel()
	ends, err := s.f.epochEnds(rctx, s.g, s.f.tail, broker, positions)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.requestFailed(positions, err)
		return
	}
	loop.answered()
	for _, pos := range positions {
		end, ok := ends[pos.partition]
		switch {
		case !ok:
			s.g.fail(pos.partition, pos.offset, fmt.Errorf("ask broker %d where epoch %d ends: it left the partition out", broker, pos.lastEpoch))
		case end.err != nil:
			s.f.observer.PartitionError(pos.partition, end.err)
			s.g.fail(pos.partition, pos.offset, fmt.Errorf("ask broker %d where epoch %d ends: %w", broker, pos.lastEpoch, end.err))
			s.look()
		case s.g.cut(pos, end.offset):
			s.f.log.Warn("the new leader's log lacks what was read", "partition", pos.partition, "position", pos.offset, "epoch", pos.lastEpoch, "ends", end.offset)
			s.endGeneration(ResetTruncated)
		default:
			s.g.proven(pos)
		}
	}
}

// epochEnd is where a leader's epoch ends in the log, -1 where the broker does not
// know.
type epochEnd struct {
	offset int64
	err    error
}

// epochEnds asks a broker where the last epochs of positions end in its log.
func (f *Feed) epochEnds(ctx context.Context, g *generation, cl *kgo.Client, broker int32, positions []fetchPosition) (map[int32]epochEnd, error) {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic = g.topic
	for _, pos := range positions {
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = pos.partition, pos.leaderEpoch, pos.lastEpoch
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	kresp, err := cl.Broker(int(broker)).RetriableRequest(ctx, req)
	out := make(map[int32]epochEnd, len(positions))
	switch {
	case err != nil && !kgo.IsRetryableBrokerErr(err) && ctx.Err() == nil:
		// A broker that does not know the question: offsets are all there is.
		f.log.Warn("a leader cannot be asked whether it holds what was read", "broker", broker, "error", err)
		for _, pos := range positions {
			out[pos.partition] = epochEnd{offset: -1}
		}
		return out, nil
	case err != nil:
		return nil, fmt.Errorf("ask broker %d where epochs end: %w", broker, err)
	}
	for _, t := range kresp.(*kmsg.OffsetForLeaderEpochResponse).Topics {
		if t.Topic != g.topic {
			continue
		}
		for _, p := range t.Partitions {
			end := epochEnd{offset: p.EndOffset, err: kerr.ErrorForCode(p.ErrorCode)}
			if errors.Is(end.err, kerr.TopicAuthorizationFailed) || errors.Is(end.err, kerr.ClusterAuthorizationFailed) {
				end = epochEnd{offset: -1} // brokers before Kafka 2.3 answer only other brokers
			}
			out[p.Partition] = end
		}
	}
	f.askStarts(ctx, g, cl, broker, positions, out)
	return out, nil
}

// askStarts has a broker tell where the logs begin in which epochs are said to end at
// 0, for [partition.lacks]: what the generation knows of it is from before the
// election, and retention may have emptied the log since. Where it does not tell,
// nothing can be said of the epoch.
func (f *Feed) askStarts(ctx context.Context, g *generation, cl *kgo.Client, broker int32, positions []fetchPosition, ends map[int32]epochEnd) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = g.topic
	g.mu.Lock()
	for _, pos := range positions {
		if end, ok := ends[pos.partition]; !ok || end.err != nil || end.offset != 0 || pos.offset == 0 || g.parts[pos.partition].logStart > 0 {
			continue
		}
		ends[pos.partition] = epochEnd{err: fmt.Errorf("broker %d does not say where the log begins", broker)}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.Timestamp = pos.partition, pos.leaderEpoch, atStart
		t.Partitions = append(t.Partitions, p)
	}
	g.mu.Unlock()
	if len(t.Partitions) == 0 {
		return
	}
	req.Topics = append(req.Topics, t)
	kresp, err := cl.Broker(int(broker)).RetriableRequest(ctx, req)
	if err != nil {
		f.observer.RequestError(err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range kresp.(*kmsg.ListOffsetsResponse).Topics {
		for _, a := range t.Partitions {
			if t.Topic != g.topic || int(a.Partition) >= len(g.parts) || a.Partition < 0 {
				continue
			}
			if err := kerr.ErrorForCode(a.ErrorCode); err != nil {
				ends[a.Partition] = epochEnd{err: fmt.Errorf("where the log begins: %w", err)}
			}
			if a.ErrorCode != 0 || a.Offset < 0 {
				continue
			}
			p := g.parts[a.Partition]
			p.logStart = max(p.logStart, a.Offset)
			p.highWatermark = max(p.highWatermark, p.logStart)
			ends[a.Partition] = epochEnd{offset: 0}
		}
	}
}

// cut reports whether an epoch that ends there says that the position is gone.
func (g *generation) cut(pos fetchPosition, end int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.parts[pos.partition]
	return p.next == pos.offset && p.lacks(pos.offset, end)
}

// lacks reports whether a log lacks what lies before an offset, if the epoch in which
// it was written ends there. Unknown is no evidence, nor is an end of 0 in a log that
// begins later: some brokers say that of a log that retention has emptied (see
// [Feed.askStarts]).
func (p *partition) lacks(offset, end int64) bool {
	return end >= 0 && end < offset && (end > 0 || p.logStart <= 0)
}

// proven lets reading go on, unless the leader changed again, or the position did.
func (g *generation) proven(pos fetchPosition) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.parts[pos.partition]; p.leaderEpoch == pos.leaderEpoch && p.next == pos.offset {
		p.unproven = false
	}
}
