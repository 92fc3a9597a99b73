package feed

import (
	"context"
	"slices"
	"time"
)

// Step is what a reader yields; exactly one field is set.
type Step struct {
	// Segment holds records, or none of them may match the filter.
	Segment *Segment
	Gap     *Gap
	Growth  *Growth
	Reset   *Reset
	// CaughtUp: the reader has passed the ends of all partitions as they were
	// when it began.
	CaughtUp bool
}

// Reader is a place in the log. It is for one goroutine at a time.
type Reader struct {
	f *Feed
	g *generation
	// seq is the next segment of the hot tail; cur the next offset by
	// partition.
	seq uint64
	cur []int64
	// epochs holds, by partition, the leader epoch that goes with cur, -1 where not
	// known (see [Cursor]).
	epochs []int32
	// fromOldest: a partition whose position is not known, -1 in cur, begins at
	// its oldest record once it is, not at its end.
	fromOldest bool
	// unchecked holds the partitions whose position came from a cursor and may lie
	// past the end, which no broker has told; unproven those of which none has told
	// yet whether its log holds what lies before. These are not read.
	unchecked, unproven map[int32]struct{}
	// ahead holds the partitions whose position lies past what the live reader has
	// read: what it finds out about new leaders does not reach so far.
	ahead map[int32]struct{}
	// behind lists partitions whose position lies before the hot tail at seq.
	behind []lagging
	// turn is where to look next in behind, row how many segments of one partition
	// came in a row.
	turn, row int
	// wake says that a read is done.
	wake chan struct{}
	// target holds the ends that CaughtUp waits for, unknown where the broker
	// has not said; nil once it was said.
	target []int64
	// asking gives what was asked about what is not known, nil where nothing was; askAt
	// is when to ask again.
	asking <-chan answer
	askAt  time.Time
	// pending is told before anything else.
	pending []Step
}

// seek enters the hot tail at the place that fits the positions best.
func (r *Reader) seek() {
	r.seq = r.g.ring.seek(r.cur)
	if _, start := r.g.ring.startPositions(); r.unannounced(start) {
		r.learn(r.g.partitions()[:len(start)])
	}
	r.findBehind()
}

// unannounced reports whether a partition became known in a segment that is gone.
func (r *Reader) unannounced(start []int64) bool {
	if len(start) > len(r.cur) {
		return true
	}
	for p, o := range start {
		if o >= 0 && r.cur[p] < 0 {
			return true
		}
	}
	return false
}

// StreamID returns the stream that the positions belong to.
func (r *Reader) StreamID() string { return r.g.streamID }

// Cursor returns the next offset of every partition. One whose position no broker
// has told yet is left out.
func (r *Reader) Cursor() Cursor {
	c := Cursor{StreamID: r.g.streamID, Offsets: make(map[int32]int64, len(r.cur))}
	for p, o := range r.cur {
		if o >= 0 {
			c.Offsets[int32(p)] = o
			c.SetEpoch(int32(p), r.epochs[p])
		}
	}
	return c
}

// Epoch returns the leader epoch that goes with the next offset of a partition, -1
// where not known (see [Cursor]).
func (r *Reader) Epoch(p int32) int32 { return r.epochs[p] }

// moveTo puts the reader at a place in a partition.
func (r *Reader) moveTo(p int32, at listed) { r.cur[p], r.epochs[p] = at.offset, at.epoch }

// addPartition gives a partition a place, without a position.
func (r *Reader) addPartition() { r.cur, r.epochs = append(r.cur, -1), append(r.epochs, -1) }

// Positions returns the next offsets, indexed by partition, -1 where not known. The slice belongs
// to the reader and is valid until its next call.
func (r *Reader) Positions() []int64 { return r.cur }

// TryNext returns the next step if it is in memory. Without one, parked tells
// whether the reader stands at the end of the hot tail; otherwise [Reader.Next]
// has to read from Kafka.
func (r *Reader) TryNext() (step Step, ok, parked bool) {
	if len(r.pending) > 0 {
		step, r.pending = r.pending[0], r.pending[1:]
		return step, true, false
	}
	select {
	case <-r.g.ended:
		return r.nextGeneration(), true, false
	default:
	}
	if r.mustRead(time.Now()) {
		return Step{}, false, false
	}
	for {
		if r.passedTarget() {
			r.target = nil
			return Step{CaughtUp: true}, true, false
		}
		seg, held := r.g.ring.get(r.seq)
		if !held {
			r.jump()
			if len(r.pending) > 0 || r.mustRead(time.Now()) {
				return r.TryNext()
			}
			continue
		}
		if seg == nil {
			// A read that failed is due again soon, and an end has yet to be
			// learnt: neither can be left to whoever wakes a parked reader.
			return Step{}, false, !r.unresolved() && len(r.behind) == 0
		}
		if r.isNews(seg) {
			r.learn(r.g.partitions())
			r.findBehind()
			return r.TryNext()
		}
		r.seq++
		if step, ok := r.take(seg); ok {
			return step, true, false
		}
	}
}

// Next returns the next step, reading from Kafka or waiting for new records as
// needed. It returns ctx's cause when ctx ends.
func (r *Reader) Next(ctx context.Context) (Step, error) {
	defer r.letGo()
	for {
		step, ok, parked := r.TryNext()
		if ok {
			return step, nil
		}
		now := time.Now()
		if i := r.dueBehind(now); !parked && i >= 0 {
			step, ok, err := r.read(i)
			if err != nil {
				return Step{}, err
			}
			if ok {
				return step, nil
			}
			continue
		}
		var changed <-chan struct{}
		if r.heldFor(now) == 0 {
			end, ch := r.g.ring.end()
			if end != r.seq || r.resolve() {
				continue
			}
			changed = ch
		}
		if err := r.await(ctx, now, changed); err != nil {
			return Step{}, err
		}
	}
}

// take applies a segment of the hot tail to the positions. ok is false where
// there is nothing to say.
func (r *Reader) take(seg *Segment) (Step, bool) {
	if seg.Growth != nil {
		return r.grow(seg.Growth)
	}
	fits := true
	for _, m := range seg.Moves {
		r.judgeAhead(m.Partition, m.Next)
		fits = fits && r.cur[m.Partition] == m.From && !r.isUnproven(m.Partition)
	}
	if !fits {
		for _, m := range seg.Moves {
			if r.cur[m.Partition] < m.From && !r.isUnproven(m.Partition) {
				r.findBehind()
				break
			}
		}
		seg = r.rest(seg)
		if seg == nil {
			return Step{}, false
		}
	}
	for _, m := range seg.Moves {
		r.moveTo(m.Partition, listed{offset: m.Next, epoch: m.Epoch})
	}
	if seg.Gap != nil {
		return Step{Gap: seg.Gap}, true
	}
	return Step{Segment: seg}, true
}

// rest returns what of a segment is new to this reader: nothing of a partition
// that it reads from Kafka at present, and of the others what lies at or above
// its position.
func (r *Reader) rest(seg *Segment) *Segment {
	out := &Segment{maxRecord: seg.maxRecord}
	from := make(map[int32]int64, len(seg.Moves))
	for _, m := range seg.Moves {
		cur := r.cur[m.Partition]
		if cur < m.From || cur >= m.Next || r.isUnproven(m.Partition) {
			continue
		}
		from[m.Partition] = cur
		out.Moves = append(out.Moves, Move{Partition: m.Partition, From: cur, Next: m.Next, Epoch: m.Epoch})
	}
	if len(out.Moves) == 0 {
		return nil
	}
	if seg.Gap != nil {
		out.Gap = &Gap{Partition: seg.Gap.Partition, From: from[seg.Gap.Partition], To: seg.Gap.To, Reason: seg.Gap.Reason}
		return out
	}
	for i := range seg.Records {
		if at, ok := from[seg.Records[i].Partition]; ok && seg.Records[i].Offset >= at {
			out.Records = append(out.Records, seg.Records[i])
			out.bytes.Add(seg.Records[i].size())
		}
	}
	return out
}

// grow takes up the partitions that became known.
func (r *Reader) grow(g *Growth) (Step, bool) {
	for p := int32(len(r.cur)); g.announces(p); p++ {
		r.addPartition()
	}
	r.awaitNew()
	out := &Growth{Start: map[int32]int64{}}
	for p, o := range g.Start {
		if o >= 0 && r.cur[p] < 0 {
			r.moveTo(p, r.begin(p, listed{offset: o, epoch: -1}))
			out.Start[p] = r.cur[p]
		}
	}
	r.findBehind()
	return Step{Growth: out}, len(out.Start) > 0
}

// awaitNew has CaughtUp wait for partitions that became known before it was said:
// they may have held records when the reader began.
func (r *Reader) awaitNew() {
	for r.target != nil && len(r.target) < len(r.cur) {
		r.target = append(r.target, unknown)
	}
}

// begin returns where the reader begins a partition that became known.
func (r *Reader) begin(p int32, otherwise listed) listed {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	at, ok := r.g.added[p]
	switch {
	case !ok:
		return otherwise
	case r.fromOldest:
		return at.oldest
	default:
		return at.live
	}
}

// jump goes on at the oldest segment held, after the one at seq was dropped.
func (r *Reader) jump() {
	lo, start := r.g.ring.startPositions()
	r.seq = lo
	if r.unannounced(start) {
		r.learn(r.g.partitions()[:len(start)])
	}
	r.findBehind()
}

// isNews reports whether a segment moves a partition that the reader does not
// know: the segment that announced it was dropped before the reader came to it.
func (r *Reader) isNews(seg *Segment) bool {
	return slices.ContainsFunc(seg.Moves, func(m Move) bool { return int(m.Partition) >= len(r.cur) || r.cur[m.Partition] < 0 })
}

// learn adds the partitions that the reader does not know and has them
// announced.
func (r *Reader) learn(known []Partition) {
	growth := &Growth{Start: map[int32]int64{}}
	for p := range known {
		if p >= len(r.cur) {
			r.addPartition()
		}
		if r.cur[p] < 0 && known[p].Next >= 0 {
			r.moveTo(int32(p), r.begin(int32(p), listed{offset: known[p].Oldest, epoch: -1}))
			growth.Start[int32(p)] = r.cur[p]
		}
	}
	r.awaitNew()
	if len(growth.Start) > 0 {
		r.pending = append(r.pending, Step{Growth: growth})
	}
}

// passedTarget reports whether CaughtUp is due.
func (r *Reader) passedTarget() bool {
	if r.target == nil {
		return false
	}
	for p, o := range r.target {
		if o == unknown || r.cur[p] < o {
			return false
		}
	}
	return true
}

// nextGeneration starts over in the generation that follows.
func (r *Reader) nextGeneration() Step {
	previous := r.g.streamID
	reason := ResetReason(0)
	for {
		select {
		case <-r.g.ended:
			r.g = r.g.next
			reason = max(reason, r.g.reason)
			continue
		default:
		}
		break
	}
	known := r.g.partitions()
	r.target = make([]int64, len(known))
	for p := range known {
		r.target[p] = known[p].Latest
		if known[p].Next < 0 {
			r.target[p] = unknown
		}
	}
	r.restart(known)
	if reason == 0 {
		reason = ResetTopicRecreated
	}
	return Step{Reset: &Reset{Reason: reason, Previous: previous}}
}

// restart puts the reader at the oldest records of all partitions.
func (r *Reader) restart(known []Partition) {
	r.cur, r.epochs = nil, nil
	for p := range known {
		r.addPartition()
		r.cur[p] = known[p].Oldest
	}
	r.fromOldest = true
	r.behind, r.pending, r.unchecked, r.unproven, r.ahead, r.asking = nil, nil, nil, nil, nil, nil
	r.seek()
}

// Waiting is where a reader stood when it found nothing more in memory.
type Waiting struct {
	g   *generation
	seq uint64
}

// Waiting returns where the reader stands, to be asked later whether there is
// more, from any goroutine.
func (r *Reader) Waiting() Waiting { return Waiting{g: r.g, seq: r.seq} }

// Ready reports whether a reader that stood there can go on.
func (w Waiting) Ready() bool {
	select {
	case <-w.g.ended:
		return true
	default:
	}
	end, _ := w.g.ring.end()
	return end != w.seq
}
