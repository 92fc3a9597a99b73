package feed

import (
	"context"
	"maps"
	"slices"
	"time"
)

// What a reader could not find out about its cursor when it began: where a partition
// ends, and whether the log still holds what was read of it. It begins without, asks
// again, and has not caught up until it knows.

func (r *Reader) isUnproven(p int32) bool {
	if len(r.unproven) == 0 {
		return false
	}
	_, ok := r.unproven[p]
	return ok
}

// proveResumed finds out whether the log holds what lies before the positions of a
// cursor, and returns false where it does not. What nobody tells now is asked again
// later; those partitions are not read until then.
func (r *Reader) proveResumed(ctx context.Context) (ok bool, err error) {
	positions := map[int32]listed{}
	r.unproven = map[int32]struct{}{}
	for p, o := range r.cur {
		at := listed{offset: o, epoch: r.epochs[p]}
		switch {
		case o < 0:
		case r.target[p] == unknown && r.g.verdict(int32(p), at) == undecided:
			// Its broker was asked a moment ago, and did not answer.
			r.unproven[int32(p)] = struct{}{}
		default:
			positions[int32(p)] = at
		}
	}
	open, lacks := r.f.judge(ctx, r.g, positions)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	for _, p := range open {
		r.unproven[p] = struct{}{}
		r.target[p] = unknown
	}
	return !lacks, nil
}

// noteAhead notes the partitions whose position the live reader has yet to come to.
func (r *Reader) noteAhead() {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	for p, o := range r.cur {
		if o > r.g.parts[p].next && r.epochs[p] >= 0 {
			if r.ahead == nil {
				r.ahead = map[int32]struct{}{}
			}
			r.ahead[int32(p)] = struct{}{}
		}
	}
}

// judgeAhead judges a position of such a partition again, before what was read up to
// an offset is taken past it: there may be another leader since the reader began.
func (r *Reader) judgeAhead(p int32, upTo int64) {
	if _, ok := r.ahead[p]; !ok || upTo <= r.cur[p] {
		return
	}
	delete(r.ahead, p)
	if r.g.verdict(p, listed{offset: r.cur[p], epoch: r.epochs[p]}) == held || r.isUnproven(p) {
		return
	}
	if r.unproven == nil {
		r.unproven = map[int32]struct{}{}
	}
	r.unproven[p] = struct{}{}
}

func (r *Reader) unresolved() bool {
	return len(r.unproven) > 0 || slices.Contains(r.target, unknown)
}

// question is what a reader wants to know, and answer what the brokers told.
type question struct {
	unproven map[int32]listed
	// unchecked are positions that may lie past the end.
	unchecked map[int32]int64
	ends      bool
}

type answer struct {
	// proven lists partitions that may be read. void: the log lacks what lies before a
	// position, or ends there.
	proven []int32
	void   bool
	ends   map[int32]listed
}

// resolve has what is not known asked, and takes what was answered; it reports whether
// that was something. It does not wait: what a broker that hangs does not tell must not
// hold up what comes from the others.
func (r *Reader) resolve() bool {
	if r.asking == nil {
		if r.unresolved() && !r.askAt.After(time.Now()) {
			r.ask()
		}
		return false
	}
	select {
	case a := <-r.asking:
		r.asking, r.askAt = nil, time.Now().Add(time.Second)
		return r.hear(a)
	default:
		return false
	}
}

func (r *Reader) ask() {
	q := question{unproven: map[int32]listed{}, unchecked: map[int32]int64{}, ends: slices.Contains(r.target, unknown)}
	for p := range r.unproven {
		q.unproven[p] = listed{offset: r.cur[p], epoch: r.epochs[p]}
	}
	for p := range r.unchecked {
		q.unchecked[p] = r.cur[p]
	}
	told := make(chan answer, 1)
	r.asking = told
	f, g, wake := r.f, r.g, r.wake
	f.reads.Go(func() {
		told <- f.answer(g, q)
		select {
		case wake <- struct{}{}:
		default: // woken already
		}
	})
}

func (f *Feed) answer(g *generation, q question) (a answer) {
	var open []int32
	if len(q.unproven) > 0 {
		open, a.void = f.judge(f.background, g, q.unproven)
	}
	for p := range q.unproven {
		if !slices.Contains(open, p) {
			a.proven = append(a.proven, p)
		}
	}
	if !q.ends || a.void {
		return a
	}
	ends, _ := f.ends(f.background, g)
	a.ends = maps.Clone(ends) // which others have too
	for p, o := range q.unchecked {
		if end, ok := ends[p]; !ok || o <= end.offset {
			continue
		}
		short, err := f.endsBelow(f.background, g, p, o)
		if err != nil {
			delete(a.ends, p)
		}
		a.void = a.void || short
	}
	return a
}

// hear takes an answer, and reports whether there was something in it.
func (r *Reader) hear(a answer) (learnt bool) {
	if a.void {
		r.startOver(r.g.partitions(), Reset{Reason: ResetTruncated, Previous: r.g.streamID})
		return true
	}
	for _, p := range a.proven {
		delete(r.unproven, p)
		learnt = true
	}
	if learnt {
		r.findBehind()
	}
	for p, o := range r.target {
		end, ok := a.ends[int32(p)]
		if o != unknown || !ok || r.isUnproven(int32(p)) {
			continue
		}
		r.target[p] = end.offset
		delete(r.unchecked, int32(p))
		learnt = true
	}
	return learnt
}
