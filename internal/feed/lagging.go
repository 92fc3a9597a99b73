package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

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

// findBehind lists the partitions that must be read from Kafka before the hot
// tail at seq continues them.
func (r *Reader) findBehind() {
	old := r.behind
	r.behind = nil
	for p, o := range r.cur {
		at, ok := r.g.ring.position(r.seq, int32(p))
		if !ok || o < 0 || o >= at {
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
	r.g.history.leave(read)
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
