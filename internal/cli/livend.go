package cli

import (
	"context"
	"time"

	"github.com/dashflow/dashstream/internal/feed"
)

// A tail from now begins at the ends of the log by offset, for timestamps are the
// producers' and no clock can be trusted to say what is new. What was written
// between the command's start and the moment in which it learnt the ends lies
// before them: those records are found by their timestamps, as far as that goes.

const (
	// lookBack bounds how many records of a partition are looked through for
	// those; a single record from the future would otherwise have all be read
	// that followed it.
	lookBack = 10_000
	// clockSlack is how far ahead a producer's clock may be.
	clockSlack = time.Second
)

// liveEnd knows what of the log is new to a tail from now.
type liveEnd struct {
	// ends are the offsets from which on everything is new; partitions how many
	// there were.
	ends       map[int32]int64
	partitions int
	// from and to are the timestamps, in milliseconds, of what is new before.
	from, to int64
}

// isNew reports whether a record was written after the command began.
func (l *liveEnd) isNew(rec *feed.Record) bool {
	end, known := l.ends[rec.Partition]
	switch {
	case known && rec.Offset >= end, !known && int(rec.Partition) >= l.partitions:
		return true
	case !known: // no broker told where it ends
		return rec.Timestamp >= l.from
	}
	return rec.Timestamp >= l.from && rec.Timestamp <= l.to
}

// startNow finds the live end of the log for a command that began at a time.
func startNow(ctx context.Context, f *feed.Feed, began time.Time) (feed.Start, *liveEnd, error) {
	atEnd, err := f.NewReader(ctx, feed.Start{})
	if err != nil {
		return feed.Start{}, nil, err
	}
	ends := atEnd.Cursor()
	l := &liveEnd{ends: ends.Offsets, partitions: len(atEnd.Positions()), from: began.UnixMilli(), to: time.Now().Add(clockSlack).UnixMilli()}
	sinceBegan, err := f.NewReader(ctx, feed.Start{SinceMS: &l.from})
	if err != nil {
		return feed.Start{}, nil, err
	}
	since := sinceBegan.Cursor()
	start := feed.Cursor{StreamID: ends.StreamID, Offsets: make(map[int32]int64, len(ends.Offsets))}
	for p, end := range ends.Offsets {
		start.Offsets[p] = end
		if o, ok := since.Offsets[p]; ok && since.StreamID == ends.StreamID && o < end && end-o <= lookBack {
			start.Offsets[p] = o
		}
	}
	return feed.Start{Cursor: &start}, l, nil
}
