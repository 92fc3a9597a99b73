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
	// countFrom is the offset from which on records are counted. Those before it were counted before this process came, and
	// are read again for what must be remembered of them.
	countFrom int64
	// committed is what Kafka acknowledged, -1 for nothing.
	committed int64
	// backlog is how many records lay before the end when it began, -1 where that was not known.
	backlog int64
	// end is the high watermark as of endAt, -1 until it is known.
	end   int64
	endAt time.Time
	// clock is the time of the log: it follows the records, and the wall where all of them were handled.
	clock  time.Time
	resume time.Time // what it was when the partition was last handled
	tables *aggregate.Partition

	// head is where the log ended when the group first came to the partition: what lies before it is old.
	head int64
	// halt is why it stands still at a record, nil where it does not; letters are under way for records that were passed.
	halt    *halt
	letters []*letter

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
	return max(0, p.end-p.handled()), true
}

// handled is the offset after what was counted, -1 where that is not known yet.
func (p *partition) handled() int64 {
	if p.next < 0 {
		return -1
	}
	return max(p.next, p.countFrom)
}

// committable is the offset after what is settled: a letter that is under way may be needed once more.
func (p *partition) committable() int64 {
	for _, l := range p.letters {
		if !l.settled {
			return l.offset
		}
	}
	return p.next
}

// rebuilding reports whether what is read now was counted before.
func (p *partition) rebuilding() bool { return p.next < p.countFrom }

// beginAt sets the position. rebuildFrom, where it lies before, is where reading again begins; clock is what the
// partition's was when it was last handled.
func (p *partition) beginAt(at, rebuildFrom int64, clock time.Time) {
	p.next, p.countFrom, p.resume = at, at, clock
	if rebuildFrom < at {
		p.next = rebuildFrom
		p.tables.Rebuild(true)
		return
	}
	p.rebuilt()
}

// rebuilt has records be counted from now on.
func (p *partition) rebuilt() {
	p.tick(p.resume)
	p.tables.Rebuild(false)
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
