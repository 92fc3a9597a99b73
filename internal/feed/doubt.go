package feed

import (
	"context"
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

// proveAgain asks again about the partitions that are not proven. It reports whether
// one was, and whether the log lacks what lies before one.
func (r *Reader) proveAgain(ctx context.Context) (proven, lacks bool) {
	positions := make(map[int32]listed, len(r.unproven))
	for p := range r.unproven {
		positions[p] = listed{offset: r.cur[p], epoch: r.epochs[p]}
	}
	open, lacks := r.f.judge(ctx, r.g, positions)
	for p := range r.unproven {
		if !slices.Contains(open, p) {
			delete(r.unproven, p)
			proven = true
		}
	}
	return proven, lacks
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

// resolve asks again for what the brokers did not tell when the reader began, and
// reports whether it learnt something.
func (r *Reader) resolve(ctx context.Context) bool {
	if now := time.Now(); !r.unresolved() || r.askAt.After(now) {
		return false
	}
	learnt := false
	if len(r.unproven) > 0 {
		proven, lacks := r.proveAgain(ctx)
		if lacks {
			r.startOver(r.g.partitions(), Reset{Reason: ResetTruncated, Previous: r.g.streamID})
			return true
		}
		if learnt = proven; proven {
			r.findBehind()
		}
	}
	if !slices.Contains(r.target, unknown) {
		r.askAt = time.Now().Add(time.Second)
		return learnt
	}
	ends, _ := r.f.ends(ctx, r.g)
	for p, o := range r.target {
		end, ok := ends[int32(p)]
		if o != unknown || !ok || r.isUnproven(int32(p)) {
			continue
		}
		if r.isPastEnd(ctx, int32(p), end.offset) {
			r.startOver(r.g.partitions(), Reset{Reason: ResetTruncated, Previous: r.g.streamID})
			return true
		}
		r.target[p] = end.offset
		learnt = true
	}
	r.askAt = time.Now().Add(time.Second)
	return learnt
}

// isPastEnd checks the position of a partition that came from a cursor and could
// not be checked before.
func (r *Reader) isPastEnd(ctx context.Context, p int32, end int64) bool {
	if _, ok := r.unchecked[p]; !ok {
		return false
	}
	if r.cur[p] > end {
		short, err := r.f.endsBelow(ctx, r.g, p, r.cur[p])
		if err != nil || short {
			return short
		}
	}
	delete(r.unchecked, p)
	return false
}
