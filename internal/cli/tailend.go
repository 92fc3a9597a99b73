package cli

import (
	"context"
	"time"

	"github.com/dashflow/dashstream/internal/feed"
)

// place is that of a record within a segment; the zero place is between two.
type place struct {
	segment *feed.Segment
	record  *feed.Record
}

// lower moves the offsets of the next records, which lie behind the segment, back
// to those that follow the record.
func (p place) lower(next map[int32]int64) {
	if p.segment == nil {
		return
	}
	records := p.segment.Records
	for i := len(records) - 1; i >= 0 && &records[i] != p.record; i-- {
		next[records[i].Partition] = records[i].Offset
	}
}

// ended prints with which cursor another tail goes on exactly where this one ended.
func (t *tailer) ended(ctx context.Context, r *feed.Reader, last place) error {
	if err := t.flush(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), passOldTimeout)
	defer cancel()
	c := t.cursor(ctx, r, last)
	if !t.json {
		t.note("resume with --from=%s", c)
		return nil
	}
	if err := t.printLine(cursorLine{lineCursor, c.String()}); err != nil {
		return err
	}
	return t.flush()
}

// cursor returns where this tail would have gone on.
func (t *tailer) cursor(ctx context.Context, r *feed.Reader, last place) feed.Cursor {
	c := r.Cursor()
	next := c.Offsets
	last.lower(next)
	if t.live != nil {
		t.passOld(ctx, r, last, next)
	}
	// What a reader says beside offsets is about where it is now, which is nowhere before them.
	if now := r.Cursor(); now.StreamID == c.StreamID {
		c = now
	}
	c.Offsets = next
	return c
}

// passOldTimeout is how long the end of a tail may be held up by passOld.
const passOldTimeout = 2 * time.Second

// passOld moves the offsets of the next records past those that a tail from now
// leaves out because they were there before (see [liveEnd]). Another tail, which
// begins with a cursor, would print them. So it reads on, without printing, in
// partitions that did not come to where everything is new, until there is something
// to print. Where that cannot be found out in time, old records are printed rather
// than new ones missed.
func (t *tailer) passOld(ctx context.Context, r *feed.Reader, last place, next map[int32]int64) {
	ends := map[int32]int64{} // of the partitions that are not past it
	for p, end := range t.live.ends {
		if o, ok := next[p]; ok && o < end {
			ends[p] = end
		}
	}
	look := func(seg *feed.Segment) {
		seg.Matching(t.filter, func(rec *feed.Record) {
			if _, ok := ends[rec.Partition]; ok && rec.Offset >= next[rec.Partition] && t.live.isNew(rec) {
				next[rec.Partition] = min(rec.Offset, ends[rec.Partition])
				delete(ends, rec.Partition)
			}
		})
		for p, end := range ends {
			if r.Positions()[p] >= end {
				next[p] = end
				delete(ends, p)
			}
		}
	}
	if last.segment != nil {
		look(last.segment)
	}
	for len(ends) > 0 && ctx.Err() == nil {
		step, err := r.Next(ctx)
		switch {
		case err != nil, step.Reset != nil:
			return
		case step.Segment != nil:
			look(step.Segment)
		case step.Gap != nil: // the next tail is to tell it
			if _, ok := ends[step.Gap.Partition]; ok {
				next[step.Gap.Partition] = step.Gap.From
				delete(ends, step.Gap.Partition)
			}
		}
	}
}
