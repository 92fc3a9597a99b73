package feed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Start says where a reader begins. The zero value begins at the end.
type Start struct {
	// Earliest begins at the oldest records that the log holds.
	Earliest bool
	// SinceMS begins, where not nil, at the first records with this Kafka
	// timestamp or a later one, in milliseconds since the Unix epoch.
	SinceMS *int64
	// Cursor begins, where not nil, at an earlier reader's end. A partition
	// that it leaves out begins at its oldest record.
	Cursor *Cursor
}

// ErrNotReady is returned while the feed has not yet seen the topic.
var ErrNotReady = errors.New("the topic has not been read yet")

// CursorError says which part of a cursor is not possible.
type CursorError struct {
	Field  string
	Detail string
}

func (e *CursorError) Error() string { return e.Field + ": " + e.Detail }

// NewReader returns a reader that begins at start. A cursor of another stream,
// or past the end of the log, is answered by a reader whose first step is a
// [Reset].
func (f *Feed) NewReader(ctx context.Context, start Start) (*Reader, error) {
	for {
		g, err := f.generationFor(ctx, start.Cursor)
		if err != nil {
			return nil, err
		}
		r, err := f.newReader(ctx, g, start)
		if !errors.Is(err, errAnotherTopic) {
			return r, err
		}
		select {
		case <-g.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// newReader returns a reader of a generation, or an error that wraps
// errAnotherTopic when that is over.
func (f *Feed) newReader(ctx context.Context, g *generation, start Start) (*Reader, error) {
	r := &Reader{f: f, g: g, wake: make(chan struct{}, 1), fromOldest: start.Cursor != nil || start.Earliest || start.SinceMS != nil}
	if err := f.learnPartitions(ctx, g, start.Cursor); err != nil {
		return nil, err
	}
	// An end that the broker does not tell now is asked for later; the reader
	// begins without it.
	ends, err := f.ends(ctx, g)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, errAnotherTopic):
		return nil, err
	}
	known := g.partitions()
	n := len(known)
	position := func(list map[int32]listed, p int32, otherwise int64) listed {
		if at, ok := list[p]; ok && at.offset >= 0 {
			return at
		}
		return listed{offset: otherwise, epoch: -1}
	}
	r.target = make([]int64, n)
	latest := make([]listed, n)
	for p := range r.target {
		r.addPartition()
		r.target[p] = position(ends, int32(p), unknown).offset
		// What the live reader saw last is at most too early.
		latest[p] = position(ends, int32(p), known[p].Latest)
	}
	switch {
	case start.Cursor != nil:
		if err := r.resume(ctx, *start.Cursor, known, latest); err != nil {
			return nil, err
		}
	case start.Earliest:
		starts, err := retried(ctx, func() (map[int32]listed, error) { return f.offsets(ctx, g, atStart) })
		if err != nil && len(starts) == 0 {
			return nil, err
		}
		for p := range r.cur {
			r.moveTo(int32(p), position(starts, int32(p), known[p].Oldest))
		}
	case start.SinceMS != nil:
		since, err := retried(ctx, func() (map[int32]listed, error) { return f.offsets(ctx, g, *start.SinceMS) })
		if err != nil && len(since) == 0 {
			return nil, err
		}
		for p := range r.cur {
			// The ends were listed before: what came between the two questions
			// lies after them. A partition that does not answer begins at its
			// oldest record: more than was asked for, but nothing is missing.
			at, ok := since[int32(p)]
			end := latest[p]
			switch {
			case !ok || end.offset < 0:
				at = listed{offset: known[p].Oldest, epoch: -1}
			case at.offset < 0: // no record is that young
				at = end
			}
			if end.offset >= 0 && end.offset < at.offset {
				at = end
			}
			r.moveTo(int32(p), at)
		}
	default:
		for p, at := range latest {
			r.moveTo(int32(p), at)
		}
	}
	r.noteAhead()
	r.seek()
	return r, nil
}

// generationFor returns the generation that a cursor is answered from. A cursor
// of another stream may be of a topic that was created anew, which another
// gateway saw first: that client must not be sent back to the stream that is no
// more. So the cluster is asked before the cursor is called void.
func (f *Feed) generationFor(ctx context.Context, c *Cursor) (*generation, error) {
	g := f.gen.Load()
	if g == nil {
		return nil, errors.Join(ErrNotReady, f.lastError())
	}
	if c == nil || c.StreamID == g.streamID {
		return g, nil
	}
	// Shared, since a client may come with any cursor as often as it likes.
	reason, err := f.lookOnce.do(ctx)
	if err != nil {
		return nil, fmt.Errorf("whether stream %s has followed %s: %w", c.StreamID, g.streamID, err)
	}
	if reason != 0 {
		f.endGeneration(g, reason)
		select {
		case <-g.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return f.gen.Load(), nil
}

// endGeneration has the live reading go on with another generation.
func (f *Feed) endGeneration(g *generation, reason ResetReason) {
	if s := f.super.Load(); s != nil && s.g == g {
		s.endGeneration(reason)
	}
}

// learnPartitions looks for partitions that a cursor names and the feed does
// not know: another gateway may have seen the topic grow first.
func (f *Feed) learnPartitions(ctx context.Context, g *generation, c *Cursor) error {
	if c == nil || c.StreamID != g.streamID {
		return nil
	}
	for p := range c.Offsets {
		if _, known := g.ring.position(0, p); known || p < 0 {
			continue
		}
		// Shared, since a client may name any partition as often as it likes.
		reason, err := f.lookOnce.do(ctx)
		if reason != 0 {
			f.endGeneration(g, reason)
		}
		if reason != 0 || f.gen.Load() != g {
			return errAnotherTopic
		}
		return err
	}
	return nil
}

// resume takes the positions of a cursor, or starts over where they mean
// nothing.
func (r *Reader) resume(ctx context.Context, c Cursor, known []Partition, latest []listed) error {
	if c.StreamID != r.g.streamID {
		r.startOver(known, Reset{Reason: ResetOtherStream, Previous: c.StreamID})
		return nil
	}
	for _, p := range slices.Sorted(maps.Keys(c.Offsets)) {
		o := c.Offsets[p]
		switch {
		case p < 0 || int(p) >= len(known):
			return &CursorError{Field: fmt.Sprintf("partition %d", p), Detail: fmt.Sprintf("the topic has partitions 0 to %d", len(known)-1)}
		case o < 0:
			return &CursorError{Field: fmt.Sprintf("partition %d", p), Detail: fmt.Sprintf("offset %d: want 0 or more", o)}
		}
	}
	for p := range r.cur {
		o, ok := c.Offsets[int32(p)]
		if !ok {
			r.cur[p] = known[p].Oldest
			continue
		}
		if o > max(latest[p].offset, known[p].Latest) {
			short, err := r.f.endsBelow(ctx, r.g, int32(p), o)
			if errors.Is(err, errAnotherTopic) {
				return err
			}
			if err != nil {
				// Nobody tells where it ends; what is wrong with one partition
				// must not keep the client from the others.
				r.target[p] = unknown
				if r.unchecked == nil {
					r.unchecked = map[int32]struct{}{}
				}
				r.unchecked[int32(p)] = struct{}{}
			}
			if short {
				r.startOver(known, Reset{Reason: ResetTruncated, Previous: c.StreamID})
				return nil
			}
		}
		r.moveTo(int32(p), listed{offset: o, epoch: c.Epoch(int32(p))})
	}
	ok, err := r.proveResumed(ctx)
	if err == nil && !ok {
		r.startOver(known, Reset{Reason: ResetTruncated, Previous: c.StreamID})
	}
	return err
}

// TakeReset returns why a new reader does not begin where its start says, so
// that it can be told before anything else; nil where it does. Otherwise the
// reader's first step says it.
func (r *Reader) TakeReset() *Reset {
	if len(r.pending) == 0 || r.pending[0].Reset == nil {
		return nil
	}
	why := r.pending[0].Reset
	r.pending = r.pending[1:]
	return why
}

// startOver puts the reader at the oldest records and says why.
func (r *Reader) startOver(known []Partition, why Reset) {
	r.restart(known)
	r.pending = append([]Step{{Reset: &why}}, r.pending...)
}

// unknown stands for an end that the broker has not told.
const unknown = math.MinInt64
