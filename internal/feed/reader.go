package feed

import (
	"context"
	"errors"
	"fmt"
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
	// behind lists partitions whose position lies before the hot tail at seq.
	behind []lagging
	turn   int
	// target holds the ends that CaughtUp waits for, unknown where the broker
	// has not said; nil once it was said.
	target []int64
	// askAt is when unknown ends are asked for again.
	askAt time.Time
	// pending is told before anything else.
	pending []Step
}

// lagging is a partition that is read from Kafka, and when to try again after a
// failure.
type lagging struct {
	partition int32
	retryAt   time.Time
	fails     int
	// slow counts the waits that were given up; the read, underWay, goes on
	// meanwhile, and what came of it is looked at the next time: were it asked
	// for anew, a failure that takes long to find out would never be learnt.
	slow     int
	underWay *flight
}

// How long a reader waits for one partition's old records before it turns to
// the others: a broker that hangs must not hold up what the others have. The
// read itself goes on, and is looked for again.
const (
	readPatience = time.Second
	slowPatience = 20 * time.Millisecond
)

// seek enters the hot tail at the place that fits the positions best.
func (r *Reader) seek() {
	r.seq = r.g.ring.seek(r.cur)
	r.findBehind()
}

// findBehind lists the partitions that must be read from Kafka before the hot
// tail at seq continues them.
func (r *Reader) findBehind() {
	old := r.behind
	r.behind = nil
	for p, o := range r.cur {
		at, ok := r.g.ring.position(r.seq, int32(p))
		if !ok || o >= at {
			continue
		}
		l := lagging{partition: int32(p)}
		if i := slices.IndexFunc(old, func(b lagging) bool { return b.partition == int32(p) }); i >= 0 {
			l = old[i]
		}
		r.behind = append(r.behind, l)
	}
}

// StreamID returns the stream that the positions belong to.
func (r *Reader) StreamID() string { return r.g.streamID }

// Cursor returns the next offset of every partition.
func (r *Reader) Cursor() Cursor {
	c := Cursor{StreamID: r.g.streamID, Offsets: make(map[int32]int64, len(r.cur))}
	for p, o := range r.cur {
		c.Offsets[int32(p)] = o
	}
	return c
}

// Positions returns the next offsets, indexed by partition. The slice belongs
// to the reader and is valid until its next call.
func (r *Reader) Positions() []int64 { return r.cur }

// Lagging reports whether the reader still reads older records from Kafka.
func (r *Reader) Lagging() bool { return len(r.behind) > 0 }

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
	if r.dueBehind(time.Now()) >= 0 {
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
			if len(r.pending) > 0 || r.dueBehind(time.Now()) >= 0 {
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
	for {
		step, ok, parked := r.TryNext()
		if ok {
			return step, nil
		}
		if !parked && r.dueBehind(time.Now()) >= 0 {
			step, ok, err := r.read(ctx)
			if err != nil {
				return Step{}, err
			}
			if ok {
				return step, nil
			}
			continue
		}
		end, changed := r.g.ring.end()
		if end != r.seq {
			continue
		}
		if r.resolve(ctx) {
			continue
		}
		var retry <-chan time.Time
		if d := r.retryIn(time.Now()); d > 0 {
			t := time.NewTimer(d)
			retry = t.C
			defer t.Stop()
		}
		select {
		case <-ctx.Done():
			return Step{}, context.Cause(ctx)
		case <-changed:
		case <-r.g.ended:
		case <-retry:
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
		fits = fits && r.cur[m.Partition] == m.From
	}
	if !fits {
		for _, m := range seg.Moves {
			if r.cur[m.Partition] < m.From {
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
		r.cur[m.Partition] = m.Next
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
	out := &Segment{}
	from := make(map[int32]int64, len(seg.Moves))
	for _, m := range seg.Moves {
		cur := r.cur[m.Partition]
		if cur < m.From || cur >= m.Next {
			continue
		}
		from[m.Partition] = cur
		out.Moves = append(out.Moves, Move{Partition: m.Partition, From: cur, Next: m.Next})
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

func (r *Reader) grow(g *Growth) (Step, bool) {
	added := false
	for p := int32(len(r.cur)); ; p++ {
		start, ok := g.Start[p]
		if !ok {
			break
		}
		r.cur = append(r.cur, start)
		added = true
	}
	return Step{Growth: g}, added
}

// jump goes on at the oldest segment held, after the one at seq was dropped.
func (r *Reader) jump() {
	lo, start := r.g.ring.startPositions()
	r.seq = lo
	if len(start) > len(r.cur) {
		r.learn(r.g.partitions()[:len(start)])
	}
	r.findBehind()
}

// isNews reports whether a segment moves a partition that the reader does not
// know: the segment that announced it was dropped before the reader came to it.
func (r *Reader) isNews(seg *Segment) bool {
	return slices.ContainsFunc(seg.Moves, func(m Move) bool { return int(m.Partition) >= len(r.cur) })
}

// learn adds the partitions that the reader does not know and has them
// announced.
func (r *Reader) learn(known []Partition) {
	growth := &Growth{Start: map[int32]int64{}}
	for p := len(r.cur); p < len(known); p++ {
		growth.Start[int32(p)] = r.g.firstOffset(int32(p), known[p].Oldest)
		r.cur = append(r.cur, growth.Start[int32(p)])
	}
	if len(growth.Start) > 0 {
		r.pending = append(r.pending, Step{Growth: growth})
	}
}

// dueBehind returns the place in behind of the partition to read next, or -1.
// Partitions take turns.
func (r *Reader) dueBehind(now time.Time) int {
	for i := range r.behind {
		j := (i + r.turn) % len(r.behind)
		if !r.behind[j].retryAt.After(now) {
			return j
		}
	}
	return -1
}

// retryIn returns how long until something that failed is tried again; 0 when
// there is nothing.
func (r *Reader) retryIn(now time.Time) time.Duration {
	d := time.Duration(0)
	sooner := func(at time.Time) {
		if left := max(at.Sub(now), time.Millisecond); d == 0 || left < d {
			d = left
		}
	}
	for _, l := range r.behind {
		sooner(l.retryAt)
	}
	if r.unresolved() {
		sooner(r.askAt)
	}
	return d
}

func (r *Reader) unresolved() bool { return slices.Contains(r.target, unknown) }

// resolve asks again for the ends that the broker did not tell, and reports
// whether it learnt one.
func (r *Reader) resolve(ctx context.Context) bool {
	if now := time.Now(); !r.unresolved() || r.askAt.After(now) {
		return false
	}
	ends, _ := r.f.ends(ctx)
	learnt := false
	for p, o := range r.target {
		if end, ok := ends[int32(p)]; o == unknown && ok {
			r.target[p] = end
			learnt = true
		}
	}
	r.askAt = time.Now().Add(time.Second)
	return learnt
}

// read takes one segment of a lagging partition from Kafka. A partition that
// fails is tried again later and does not hold up the others.
func (r *Reader) read(ctx context.Context) (Step, bool, error) {
	i := r.dueBehind(time.Now())
	if i < 0 {
		return Step{}, false, nil
	}
	r.turn++
	p := r.behind[i].partition
	at, _ := r.g.ring.position(r.seq, p)
	if r.cur[p] >= at {
		r.behind = slices.Delete(r.behind, i, i+1)
		return Step{}, false, nil
	}
	patience := readPatience
	if r.behind[i].slow > 0 {
		patience = slowPatience
	}
	wctx, cancel := context.WithTimeout(ctx, patience)
	read := r.behind[i].underWay
	if read == nil {
		read = r.g.history.ask(p, r.cur[p])
	}
	seg, err := read.wait(wctx)
	late := wctx.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded)
	cancel()
	if late {
		r.behind[i].slow++
		r.behind[i].underWay = read
		r.behind[i].retryAt = time.Now().Add(backoff(r.behind[i].slow))
		return Step{}, false, nil
	}
	r.behind[i].slow, r.behind[i].underWay = 0, nil
	var retained *errRetained
	var unreadable *errUnreadable
	switch {
	case err == nil:
		r.behind[i].fails = 0
		return r.takeHistory(i, seg, at)
	case ctx.Err() != nil:
		return Step{}, false, context.Cause(ctx)
	case errors.As(err, &retained):
		return r.gap(i, retained.start, GapRetention), true, nil
	case errors.Is(err, errTruncated) && r.behind[i].fails+1 >= confirmTries:
		// The live reader finds the same and ends the generation.
		r.f.observer.PartitionError(p, err)
	case errors.As(err, &unreadable) && r.behind[i].fails+1 >= confirmTries:
		return r.gap(i, unreadable.End, GapUnreadable), true, nil
	}
	r.f.observer.PartitionError(p, err)
	r.behind[i].fails++
	r.behind[i].retryAt = time.Now().Add(backoff(r.behind[i].fails))
	return Step{}, false, nil
}

// takeHistory applies a segment read from Kafka, as far as the hot tail at seq.
func (r *Reader) takeHistory(i int, seg *Segment, upTo int64) (Step, bool, error) {
	p := r.behind[i].partition
	m := seg.Moves[0]
	if m.Next > upTo {
		seg = seg.before(upTo)
	}
	if r.cur[p] != m.From {
		seg = r.rest(seg)
	}
	if seg == nil {
		return Step{}, false, fmt.Errorf("partition %d: the read at offset %d brought offsets %d to %d", p, r.cur[p], m.From, m.Next)
	}
	r.cur[p] = seg.Moves[0].Next
	if r.cur[p] >= upTo {
		r.behind = slices.Delete(r.behind, i, i+1)
	}
	return Step{Segment: seg}, true, nil
}

// gap moves a lagging partition past offsets that will not come.
func (r *Reader) gap(i int, to int64, reason GapReason) Step {
	p := r.behind[i].partition
	g := &Gap{Partition: p, From: r.cur[p], To: to, Reason: reason}
	r.cur[p] = to
	r.behind[i].fails = 0
	r.findBehind()
	return Step{Gap: g}
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
	r.cur, r.target = make([]int64, len(known)), make([]int64, len(known))
	for p := range known {
		r.cur[p], r.target[p] = known[p].Oldest, known[p].Latest
	}
	r.behind, r.pending = nil, nil
	r.seek()
	if reason == 0 {
		reason = ResetTopicRecreated
	}
	return Step{Reset: &Reset{Reason: reason, Previous: previous}}
}

// firstOffset returns where a partition that was added began.
func (g *generation) firstOffset(p int32, otherwise int64) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o, ok := g.added[p]; ok {
		return o
	}
	return otherwise
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
