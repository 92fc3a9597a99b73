package feed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// generation is one incarnation of the topic: as long as it lives, an offset
// means the same record. When the topic is created anew, or the log is cut
// below what was read, the generation ends and another begins.
type generation struct {
	topic    string
	topicID  [16]byte
	streamID string
	// reason says why readers of the previous generation must start over; 0
	// for the first.
	reason ResetReason

	decompressor kgo.Decompressor
	// batchMemory bounds a batch once its records are made.
	batchMemory int64
	ring        *ring
	history     *history

	mu    sync.Mutex
	parts []*partition
	// added holds the first offset of every partition that came later.
	added map[int32]int64

	// ended is closed when another generation follows.
	ended chan struct{}
	next  *generation
}

// partition is what the live reader knows of one partition.
type partition struct {
	id int32
	// next is the offset that the live reader wants.
	next          int64
	logStart      int64
	highWatermark int64
	leader        int32
	leaderEpoch   int32
	// err is the last failure and since when; nil when the last request was
	// answered.
	err      error
	errSince time.Time
	retryAt  time.Time
	fails    int
}

// topicState is one look at the cluster's metadata.
type topicState struct {
	clusterID  string
	id         [16]byte
	partitions []kmsg.MetadataResponseTopicPartition // partition i at i
}

// lookUp asks the cluster for the topic. An error wraps
// kerr.UnknownTopicOrPartition when there is none.
func (f *Feed) lookUp(ctx context.Context) (topicState, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.RequestTimeout)
	defer cancel()
	// A request of our own, since the clients answer from what they learnt a
	// moment ago; and one by each client, since each learns the brokers only
	// from its own.
	var resp *kmsg.MetadataResponse
	for _, cl := range []*kgo.Client{f.tail, f.past, f.questions} {
		req := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(f.cfg.Topic)
		req.Topics = append(req.Topics, t)
		var err error
		if resp, err = req.RequestWith(ctx, cl); err != nil {
			return topicState{}, fmt.Errorf("read metadata of topic %q: %w", f.cfg.Topic, err)
		}
	}
	if len(resp.Topics) != 1 {
		return topicState{}, fmt.Errorf("topic %q: %w", f.cfg.Topic, kerr.UnknownTopicOrPartition)
	}
	t := resp.Topics[0]
	if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
		return topicState{}, fmt.Errorf("topic %q: %w", f.cfg.Topic, err)
	}
	st := topicState{id: t.TopicID, partitions: t.Partitions}
	if resp.ClusterID != nil {
		st.clusterID = *resp.ClusterID
	}
	slices.SortFunc(st.partitions, func(a, b kmsg.MetadataResponseTopicPartition) int { return int(a.Partition - b.Partition) })
	for i, p := range st.partitions {
		if int(p.Partition) != i {
			return topicState{}, fmt.Errorf("topic %q: the cluster lists partition %d in place %d of %d", f.cfg.Topic, p.Partition, i, len(st.partitions))
		}
	}
	if len(st.partitions) == 0 {
		return topicState{}, fmt.Errorf("topic %q: the cluster lists no partition", f.cfg.Topic)
	}
	return st, nil
}

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
	ctx, cancel := context.WithTimeout(ctx, min(listTimeout, f.cfg.RequestTimeout))
	defer cancel()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = f.cfg.Topic
	for p := range int32(n) {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, ms
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	out := make(map[int32]int64, n)
	var errs []error
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
				out[p.Partition] = p.Offset
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

// open begins a generation. Every partition must answer: a feed that leaves
// one out would look whole and not be.
func (f *Feed) open(ctx context.Context, prev *generation, reason ResetReason) (*generation, error) {
	st, err := f.lookUp(ctx)
	if err != nil {
		return nil, err
	}
	starts, err := f.offsets(ctx, len(st.partitions), atStart)
	if err != nil {
		return nil, err
	}
	ends, err := f.offsets(ctx, len(st.partitions), atEnd)
	if err != nil {
		return nil, err
	}
	g := &generation{
		topic: f.cfg.Topic, topicID: st.id, streamID: StreamID(st.clusterID, f.cfg.Topic, st.id), reason: reason,
		decompressor: f.decompressor, batchMemory: memoryFactor * f.cfg.BatchBytes, ended: make(chan struct{}), added: map[int32]int64{},
	}
	positions := make([]int64, len(st.partitions))
	for i, p := range st.partitions {
		start, end := starts[p.Partition], ends[p.Partition]
		positions[i] = end
		if prev != nil && prev.streamID != g.streamID {
			// A new incarnation is read from its beginning.
			positions[i] = start
		}
		g.parts = append(g.parts, &partition{
			id: p.Partition, next: positions[i], logStart: start, highWatermark: end,
			leader: p.Leader, leaderEpoch: p.LeaderEpoch,
		})
	}
	g.ring = newRing(f.cfg.TailBytes, positions)
	g.history = newHistory(f, g)
	return g, nil
}

// end makes readers of the generation go on in another.
func (g *generation) end(next *generation) {
	g.next = next
	close(g.ended)
}

// refresh compares the generation with the cluster: leaders, new partitions. It
// returns a reason other than 0 when the generation has to end.
func (f *Feed) refresh(ctx context.Context, g *generation) (ResetReason, error) {
	st, err := f.lookUp(ctx)
	if err != nil {
		return 0, err
	}
	if id := StreamID(st.clusterID, f.cfg.Topic, st.id); id != g.streamID {
		return ResetTopicRecreated, nil
	}
	g.mu.Lock()
	known := len(g.parts)
	if len(st.partitions) < known {
		g.mu.Unlock()
		// Without topic ids this is how a re-creation shows.
		return ResetTopicRecreated, nil
	}
	for i, p := range g.parts {
		d := st.partitions[i]
		if d.Leader >= 0 && (p.leader != d.Leader || p.leaderEpoch != d.LeaderEpoch) {
			p.leader, p.leaderEpoch = d.Leader, d.LeaderEpoch
			p.retryAt = time.Time{}
		}
	}
	g.mu.Unlock()
	if len(st.partitions) > known {
		starts, err := f.offsets(ctx, len(st.partitions), atStart)
		if err != nil && len(starts) == 0 {
			return 0, err
		}
		g.grow(st.partitions[known:], starts)
	}
	return 0, nil
}

// grow adds partitions, in order, as far as their first offset is known; the
// rest comes with a later look. They are read from the start: their records are
// all newer than the feed.
func (g *generation) grow(added []kmsg.MetadataResponseTopicPartition, starts map[int32]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	growth := &Growth{Start: make(map[int32]int64)}
	for _, d := range added {
		start, ok := starts[d.Partition]
		if !ok || int(d.Partition) != len(g.parts) {
			break
		}
		growth.Start[d.Partition] = start
		g.added[d.Partition] = start
		g.parts = append(g.parts, &partition{
			id: d.Partition, next: start, logStart: start, highWatermark: start, leader: d.Leader, leaderEpoch: d.LeaderEpoch,
		})
	}
	if len(growth.Start) > 0 {
		g.ring.append(&Segment{Growth: growth})
	}
}

// Partition is the state of one partition as the feed sees it.
type Partition struct {
	ID int32
	// Oldest and Latest are the log start offset and the high watermark of the
	// last answer.
	Oldest, Latest int64
	// Next is the offset that the live reader wants.
	Next int64
	// Err is why the live reader cannot read, since ErrSince; nil when it can.
	Err      error
	ErrSince time.Time
}

func (g *generation) partitions() []Partition {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Partition, len(g.parts))
	for i, p := range g.parts {
		out[i] = Partition{ID: p.id, Oldest: p.logStart, Latest: p.highWatermark, Next: p.next, Err: p.err, ErrSince: p.errSince}
	}
	return out
}

// count returns the number of partitions.
func (g *generation) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.parts)
}

func (g *generation) leaders() []int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	set := map[int32]struct{}{}
	for _, p := range g.parts {
		if p.leader >= 0 {
			set[p.leader] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
