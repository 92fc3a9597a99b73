package feed

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/kafkaclient"
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
	maxRecord   int // Config.RecordBytes
	ring        *ring
	history     *history
	proofs      *proofs

	mu    sync.Mutex
	parts []*partition
	// added holds where every partition begins that became known later.
	added map[int32]beginning
	// began is when the generation was opened, in milliseconds since the Unix
	// epoch.
	began int64

	// ended is closed when another generation follows.
	ended chan struct{}
	next  *generation
}

// partition is what the live reader knows of one partition.
type partition struct {
	id int32
	// next is the offset that the live reader wants. It is -1, like logStart and
	// highWatermark, until a broker has told them.
	next          int64
	logStart      int64
	highWatermark int64
	// fromStart: once known, it is read from its oldest record.
	fromStart   bool
	leader      int32
	leaderEpoch int32
	// lastEpoch is the epoch of the leader that wrote what lies before next; -1
	// where not known.
	lastEpoch int32
	// unproven: there is a new leader, and whether its log holds what was read has
	// to be asked before more is read.
	unproven bool
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

// lookTimeout bounds a look at the metadata: a broker that hangs is not waited for
// as long as a request may take, since another is asked the next time.
const lookTimeout = 5 * time.Second

// lookUp asks the cluster for the topic. An error wraps
// kerr.UnknownTopicOrPartition when there is none.
func (f *Feed) lookUp(ctx context.Context) (topicState, error) {
	ctx, cancel := context.WithTimeout(ctx, min(lookTimeout, f.cfg.RequestTimeout))
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
			return topicState{}, fmt.Errorf("read metadata of topic %q: %w", f.cfg.Topic, kafkaclient.WithFailure(err, f.connections.Failure()))
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
	leaderless := map[int32]bool{}
	for _, p := range st.partitions {
		if p.Leader < 0 {
			leaderless[p.Partition] = true
		}
	}
	f.leaderless.Store(&leaderless)
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

// open begins a generation. A partition that does not answer is in it, without a
// position, and keeps no other from being read.
func (f *Feed) open(ctx context.Context, prev *generation, reason ResetReason) (*generation, error) {
	began := time.Now()
	st, err := f.lookUp(ctx)
	if err != nil {
		return nil, err
	}
	starts, startsErr := f.list(ctx, st.id, len(st.partitions), atStart)
	ends, endsErr := f.list(ctx, st.id, len(st.partitions), atEnd)
	g := &generation{
		topic: f.cfg.Topic, topicID: st.id, streamID: StreamID(st.clusterID, f.cfg.Topic, st.id), reason: reason,
		decompressor: f.decompressor, batchMemory: memoryFactor * f.cfg.BatchBytes, maxRecord: f.cfg.RecordBytes, ended: make(chan struct{}), added: map[int32]beginning{}, began: began.UnixMilli(),
		proofs: newProofs(),
	}
	// A new incarnation is read from its beginning.
	fromStart := prev != nil && prev.streamID != g.streamID
	for _, d := range st.partitions {
		g.parts = append(g.parts, unknownPartition(d, fromStart))
	}
	f.askLagging(ctx, g, starts, ends)
	if len(starts) == 0 || len(ends) == 0 {
		return nil, cmp.Or(startsErr, endsErr)
	}
	positions := make([]int64, len(g.parts))
	for i, p := range g.parts {
		start, ok := starts[p.id]
		end, ok2 := ends[p.id]
		if ok && ok2 {
			p.logStart, p.highWatermark, p.err = start.offset, end.offset, nil
			p.next, p.lastEpoch = end.offset, end.epoch
			if fromStart {
				p.next, p.lastEpoch = start.offset, start.epoch
			}
		}
		positions[i] = p.next
	}
	g.ring = newRing(f.cfg.TailBytes, positions)
	g.history = newHistory(f, g)
	return g, nil
}

// unknownPartition is a partition of which no broker has told a position.
func unknownPartition(d kmsg.MetadataResponseTopicPartition, fromStart bool) *partition {
	return &partition{
		id: d.Partition, next: -1, logStart: -1, highWatermark: -1, fromStart: fromStart,
		leader: d.Leader, leaderEpoch: d.LeaderEpoch, lastEpoch: -1,
		err: fmt.Errorf("partition %d: no broker tells where it begins and ends", d.Partition), errSince: time.Now(),
	}
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
		p.lead(st.partitions[i])
	}
	g.grow(st.partitions[known:])
	g.mu.Unlock()
	if err := f.learn(ctx, g); err != nil && ctx.Err() == nil {
		// Their own matter: the partitions say that they have no position.
		f.observer.RequestError(err)
	}
	return 0, nil
}

// lead takes over who leads the partition. The caller holds the generation's lock.
func (p *partition) lead(d kmsg.MetadataResponseTopicPartition) {
	if d.Leader < 0 || p.leader == d.Leader && p.leaderEpoch == d.LeaderEpoch {
		return
	}
	// A broker that has not heard of the election yet names the leader before it;
	// unless nobody knows ours.
	if d.LeaderEpoch >= 0 && d.LeaderEpoch < p.leaderEpoch && p.fails < confirmTries {
		return
	}
	if p.leaderEpoch != d.LeaderEpoch {
		p.unproven = p.lastEpoch >= 0 && d.LeaderEpoch >= 0
	}
	p.leader, p.leaderEpoch, p.retryAt = d.Leader, d.LeaderEpoch, time.Time{}
}

// lateness is how much later than its timestamp a record may come into the log:
// producers keep what they cannot send, as a rule for 2 minutes. Readers of what is
// new rather get more of a partition that was away than miss that.
const lateness = 5 * time.Minute

// learn asks for the positions of partitions that have none.
func (f *Feed) learn(ctx context.Context, g *generation) error {
	if !g.hasUnknown() {
		return nil
	}
	// The ends first: what comes between the questions lies after them. Readers
	// that wait for the partition are owed what has come since the feed began.
	ends, err := f.list(ctx, g.topicID, g.count(), atEnd)
	if len(ends) == 0 {
		return err
	}
	// A time is not found where the broker cannot read a batch on its way; a
	// partition that is read from its start needs none. A lagging leader finds
	// none in what can be read.
	since, sinceErr := f.list(ctx, g.topicID, g.count(), g.began-lateness.Milliseconds())
	starts, err := f.list(ctx, g.topicID, g.count(), atStart)
	if len(starts) == 0 {
		return err
	}
	f.askLagging(ctx, g, starts, ends)
	g.settle(starts, since, ends)
	return sinceErr
}

// settle gives positions to the partitions that have none and got answers, and
// announces them.
func (g *generation) settle(starts, since, ends map[int32]listed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	growth := &Growth{Start: make(map[int32]int64)}
	for _, p := range g.parts {
		start, ok1 := starts[p.id]
		end, ok2 := ends[p.id]
		young, ok3 := since[p.id]
		if p.next >= 0 || !ok1 || !ok2 || !ok3 && !p.fromStart {
			continue
		}
		p.next, p.lastEpoch = end.offset, end.epoch
		if ok3 && young.offset >= 0 && young.offset < end.offset {
			p.next, p.lastEpoch = young.offset, young.epoch
		}
		if p.fromStart || p.next < start.offset {
			p.next, p.lastEpoch = start.offset, start.epoch
		}
		p.logStart, p.highWatermark = start.offset, max(end.offset, start.offset)
		p.err, p.fails, p.retryAt = nil, 0, time.Time{}
		growth.Start[p.id] = p.next
		g.added[p.id] = beginning{live: listed{offset: p.next, epoch: p.lastEpoch}, oldest: start}
	}
	if len(growth.Start) > 0 {
		g.ring.append(&Segment{Growth: growth})
	}
}

// grow adds partitions, and gives them a place in the hot tail, before anybody can
// learn their position. The caller holds the lock.
func (g *generation) grow(added []kmsg.MetadataResponseTopicPartition) {
	if len(added) == 0 {
		return
	}
	growth := &Growth{Start: make(map[int32]int64)}
	for _, d := range added {
		// Its records are all newer than the feed.
		g.parts = append(g.parts, unknownPartition(d, true))
		growth.Start[d.Partition] = -1
	}
	g.ring.append(&Segment{Growth: growth})
}

func (g *generation) hasUnknown() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.parts, func(p *partition) bool { return p.next < 0 })
}

// beginning is where a partition begins that became known later: for readers from
// the end, and for those from the oldest record.
type beginning struct{ live, oldest listed }

// Partition is the state of one partition as the feed sees it.
type Partition struct {
	ID int32
	// Oldest and Latest are the log start offset and the high watermark of the
	// last answer, Next the offset that the live reader wants. They are -1 as long
	// as no broker has told them.
	Oldest, Latest int64
	Next           int64
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
		if p.leader >= 0 && p.next >= 0 {
			set[p.leader] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
