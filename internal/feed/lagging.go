package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// lagging is a partition that is read from Kafka.
type lagging struct {
	partition int32
	// retryAt is when to try again after a failure, one of fails in a row.
	retryAt time.Time
	fails   int
	// underWay is the read of the next records, since when it was waited for. It is
	// kept until it is done: were it asked for anew, a failure that takes long to
	// find out would never be learnt.
	underWay *flight
	since    time.Time
	// slow: the read before took longer than readPatience.
	slow bool
}

// How long a reader waits for the old records of partitions before it turns to the
// hot tail for the others: a broker that hangs must not hold up what the others
// have.
const (
	readPatience = time.Second
	slowPatience = 20 * time.Millisecond
)

const (
	// readsAhead is how many partitions a reader waits for at once. What is read for
	// it has to stay in the cache until it comes to it.
	readsAhead = 4
	// inARow is how many segments of one partition a reader takes before it turns to
	// another.
	inARow = 16
)

func (l *lagging) pending() bool { return l.underWay != nil && !l.underWay.isDone() }

// heldFor returns how long to wait for nothing but this partition and its like.
func (l *lagging) heldFor(now time.Time) time.Duration {
	patience := readPatience
	if l.slow {
		patience = slowPatience
	}
	if !l.pending() {
		return 0
	}
	return max(0, l.since.Add(patience).Sub(now))
}

// findBehind lists the partitions that must be read from Kafka before the hot
// tail at seq continues them.
func (r *Reader) findBehind() {
	old := r.behind
	r.behind = nil
	for p, o := range r.cur {
		at, ok := r.g.ring.position(r.seq, int32(p))
		if !ok || o < 0 || o >= at || r.isUnproven(int32(p)) {
			continue
		}
		l := lagging{partition: int32(p)}
		if i := slices.IndexFunc(old, func(b lagging) bool { return b.partition == int32(p) }); i >= 0 {
			l = old[i]
		}
		r.behind = append(r.behind, l)
	}
}

// Lagging reports whether the reader still reads older records from Kafka.
func (r *Reader) Lagging() bool { return len(r.behind) > 0 }

// dueBehind returns the place in behind of the partition to look at next, or -1: one
// whose read is done, or is to begin. Partitions take turns.
func (r *Reader) dueBehind(now time.Time) int {
	waited := 0
	for i := range r.behind {
		if r.behind[i].heldFor(now) > 0 {
			waited++
		}
	}
	for i := range r.behind {
		j := (i + r.turn) % len(r.behind)
		l := &r.behind[j]
		if !l.retryAt.After(now) && !l.pending() && (l.underWay != nil || waited < readsAhead) {
			return j
		}
	}
	return -1
}

// heldFor returns how long the reader waits for old records before it takes newer
// ones of other partitions.
func (r *Reader) heldFor(now time.Time) (d time.Duration) {
	for i := range r.behind {
		d = max(d, r.behind[i].heldFor(now))
	}
	return d
}

// mustRead reports whether old records come before the hot tail.
func (r *Reader) mustRead(now time.Time) bool { return r.dueBehind(now) >= 0 || r.heldFor(now) > 0 }

// retryIn returns how long until something that failed is tried again, or a read has
// been waited for long enough; 0 when there is nothing.
func (r *Reader) retryIn(now time.Time) time.Duration {
	d := time.Duration(0)
	sooner := func(at time.Time) {
		if left := max(at.Sub(now), time.Millisecond); d == 0 || left < d {
			d = left
		}
	}
	for i := range r.behind {
		switch l := &r.behind[i]; {
		case l.retryAt.After(now):
			sooner(l.retryAt)
		case l.heldFor(now) > 0:
			sooner(now.Add(l.heldFor(now)))
		}
	}
	if r.unresolved() && r.askAt.After(now) {
		sooner(r.askAt)
	}
	return d
}

// await waits until a read is done, something is due, or changed or ctx ends; it
// returns ctx's cause. Nothing was due now: what has become due since, or done, is
// seen all the same.
func (r *Reader) await(ctx context.Context, now time.Time, changed <-chan struct{}) error {
	var reads []*flight
	for i := range r.behind {
		if read := r.behind[i].underWay; read != nil {
			reads = append(reads, read)
		}
	}
	if !r.g.history.watch(reads, r.wake) {
		return nil
	}
	defer r.g.history.unwatch(reads, r.wake)
	var due <-chan time.Time
	if d := r.retryIn(now); d > 0 {
		due = time.After(d)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-r.g.ended:
	case <-r.wake:
	case <-due:
	}
	return nil
}

// letGo forgets what reads brought beyond what is being told: the cache has it, as
// far as there is room. Who knows when this client will want it.
func (r *Reader) letGo() {
	for i := range r.behind {
		if l := &r.behind[i]; l.underWay != nil && l.underWay.isDone() && l.underWay.err == nil {
			l.underWay = nil
		}
	}
}

// read takes one segment of a lagging partition, or has it read from Kafka. A
// partition that fails is tried again later and does not hold up the others.
func (r *Reader) read(i int) (Step, bool, error) {
	l := &r.behind[i]
	p := l.partition
	at, _ := r.g.ring.position(r.seq, p)
	if r.cur[p] >= at {
		r.behind = slices.Delete(r.behind, i, i+1)
		return Step{}, false, nil
	}
	seg, ok, err := l.underWay.result()
	if !ok && !l.pending() {
		l.underWay, l.since = r.g.history.ask(r, p, r.cur[p]), time.Now()
		seg, ok, err = l.underWay.result()
	}
	if !ok {
		r.turn, r.row = r.turn+1, 0
		return Step{}, false, nil
	}
	l.slow, l.underWay = l.underWay.at.Sub(l.since) > readPatience, nil
	if r.row++; r.row >= inARow {
		r.turn, r.row = r.turn+1, 0
	}
	var retained *errRetained
	var unreadable *errUnreadable
	switch {
	case err == nil:
		l.fails = 0
		return r.takeHistory(i, seg, at)
	case errors.As(err, &retained):
		return r.gap(i, retained.start, GapRetention), true, nil
	case errors.Is(err, errTruncated) && l.fails+1 >= confirmTries:
		// The live reader finds the same and ends the generation.
		r.f.observer.PartitionError(p, err)
	case errors.As(err, &unreadable) && l.fails+1 >= confirmTries:
		return r.gap(i, listed{offset: unreadable.End, epoch: -1}, GapUnreadable), true, nil
	}
	r.f.observer.PartitionError(p, err)
	l.fails++
	l.retryAt = time.Now().Add(backoff(l.fails))
	return Step{}, false, nil
}

// takeHistory applies a segment read from Kafka, as far as the hot tail at seq.
func (r *Reader) takeHistory(i int, seg *Segment, upTo int64) (Step, bool, error) {
	p := r.behind[i].partition
	m := seg.Moves[0]
	if r.judgeAhead(p, m.Next); r.isUnproven(p) {
		r.behind = slices.Delete(r.behind, i, i+1)
		return Step{}, false, nil
	}
	if m.Next > upTo {
		seg = seg.before(upTo)
	}
	if r.cur[p] != m.From {
		seg = r.rest(seg)
	}
	if seg == nil {
		return Step{}, false, fmt.Errorf("partition %d: the read at offset %d brought offsets %d to %d", p, r.cur[p], m.From, m.Next)
	}
	r.moveTo(p, listed{offset: seg.Moves[0].Next, epoch: seg.Moves[0].Epoch})
	if r.cur[p] >= upTo {
		r.behind = slices.Delete(r.behind, i, i+1)
	}
	return Step{Segment: seg}, true, nil
}

// gap moves a lagging partition past offsets that will not come.
func (r *Reader) gap(i int, to listed, reason GapReason) Step {
	p := r.behind[i].partition
	g := &Gap{Partition: p, From: r.cur[p], To: to.offset, Reason: reason}
	r.moveTo(p, to)
	r.behind[i].fails = 0
	r.findBehind()
	return Step{Gap: g}
}
