package exporter

import (
	"time"

	"github.com/dashflow/dashstream/internal/aggregate"
)

// partition is what the exporter knows of a partition that the group gave to it.
type partition struct {
	id int32
	// next is the offset of the next record to handle, -1 until it is known; epoch that of the leader which wrote the one
	// before, -1 where not known.
	next  int64
	epoch int32
	// committed is what Kafka acknowledged, -1 for nothing.
	committed int64
	// end is the high watermark as of endAt, -1 until it is known.
	end   int64
	endAt time.Time
	// clock is the time of the log: it follows the records, and the wall where all of them were handled.
	clock  time.Time
	tables *aggregate.Partition

	err      error // why it is not read; nil where it is
	errSince time.Time
	fails    int
	retryAt  time.Time
}

// lag is how many records are left to handle, where that is known.
func (p *partition) lag() (int64, bool) {
	if p.next < 0 || p.end < 0 {
		return 0, false
	}
	return max(0, p.end-p.next), true
}

// tick sets the clock.
func (p *partition) tick(t time.Time) {
	if t.After(p.clock) {
		p.clock = t
		p.tables.Advance(t)
	}
}

// failed notes that it cannot be read now, and returns how often that was in a row.
func (p *partition) failed(err error, now time.Time) int {
	if p.err == nil {
		p.errSince = now
	}
	p.err = err
	p.fails++
	p.retryAt = now.Add(backoff(p.fails))
	return p.fails
}

func (p *partition) works() { p.err, p.fails, p.retryAt = nil, 0, time.Time{} }
