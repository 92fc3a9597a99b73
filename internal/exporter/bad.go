package exporter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/deadletter"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/wire"
)

// badRecord is one that cannot be handled: a record, or a whole batch that cannot be read.
type badRecord struct {
	reason wire.Reason
	err    error
	from   deadletter.Source
	next   int64 // the offset after it
	epoch  int32
}

// halt is why a partition stands still at a record.
type halt struct {
	badRecord
	since time.Time
	// paused waits for a person; otherwise it waits for its letter.
	paused bool
	// lossy passes the record also where its letter cannot be written: it waits for room alone.
	lossy bool
	// passed: the letter is settled, and the reading goroutine goes on.
	passed bool
	// retryAt is when the letter is sent again, zero while one is under way; fails how often that was in vain.
	retryAt time.Time
	fails   int
}

// letter is a dead letter that is under way while the partition goes on.
type letter struct {
	offset  int64
	settled bool
}

// settlement is what became of a letter.
type settlement struct {
	partition int32
	of        *letter // nil for one that a partition waits for
	lossy     bool    // the record is passed whatever became of it
	offset    int64
	reason    wire.Reason
	err       error
}

// policy takes a bad record to where the policy says: past it, or to a halt before it. mu is held. It reports whether the
// partition goes on.
func (e *Exporter) policy(p *partition, b badRecord) bool {
	if e.cfg.Policy == kafkaclient.DecodePause {
		p.halt = &halt{badRecord: b, since: time.Now(), paused: true}
		e.log.Error("partition paused at a record that cannot be handled; SIGHUP or POST /admin/resume passes it", "partition", p.id, "offset", b.from.Offset, "reason", string(b.reason), "error", b.err)
		e.stopped(p)
		return false
	}
	if e.cfg.DeadLetters.Mode == deadletter.FailClosed {
		p.halt = &halt{badRecord: b, since: time.Now()}
		e.stopped(p)
		e.sendHalted(p)
		return false
	}
	if e.letters.Full() {
		// Evidence is not lost for want of a moment: letters are settled within their timeout.
		p.halt = &halt{badRecord: b, since: time.Now(), lossy: true, retryAt: time.Now().Add(roomInterval)}
		e.stopped(p)
		return false
	}
	l := &letter{offset: b.from.Offset}
	p.letters = append(p.letters, l)
	e.send(p.id, b, settlement{of: l, lossy: true})
	e.passed(p, b)
	return true
}

// roomInterval is how often a partition that waits for room for a letter looks for it.
const roomInterval = 20 * time.Millisecond

// passed counts a bad record. The caller moves the position.
func (e *Exporter) passed(p *partition, b badRecord) {
	e.accounts.received.add(1)
	e.accounts.bad(b.reason)
	level := e.log.Warn
	if b.from.Offset < p.head {
		e.accounts.historic.Inc()
		level = e.log.Debug
	}
	if e.badLog.Allow() {
		level("a record cannot be handled", "partition", p.id, "offset", b.from.Offset, "reason", string(b.reason), "error", b.err)
	}
}

// send has a letter written; what becomes of it is taken up by settle.
func (e *Exporter) send(id int32, b badRecord, d settlement) {
	d.partition, d.offset, d.reason = id, b.from.Offset, b.reason
	e.letters.Send(string(b.reason), b.err.Error(), b.from, func(err error) {
		d.err = err
		e.settledMu.Lock()
		defer e.settledMu.Unlock()
		e.settled = append(e.settled, d)
	})
}

// sendHalted sends the letter that a partition waits for, where there is room.
func (e *Exporter) sendHalted(p *partition) {
	if e.letters.Full() {
		p.halt.retryAt = time.Now().Add(roomInterval)
		return
	}
	p.halt.retryAt = time.Time{}
	e.send(p.id, p.halt.badRecord, settlement{lossy: p.halt.lossy})
}

// settle takes up what became of letters. It may be called while partitions are taken away.
func (s *session) settle() {
	e := s.e
	e.settledMu.Lock()
	done := e.settled
	e.settled = nil
	e.settledMu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range done {
		e.countLetter(d)
		p := e.parts[d.partition]
		if d.of != nil {
			d.of.settled = true
			continue
		}
		if p == nil || p.halt == nil || p.halt.paused || p.halt.from.Offset != d.offset {
			continue // the partition was taken away meanwhile
		}
		if d.err != nil && !d.lossy {
			p.halt.fails++
			p.halt.retryAt = time.Now().Add(backoff(p.halt.fails))
			continue
		}
		if !p.halt.passed {
			e.passed(p, p.halt.badRecord)
			p.next, p.epoch, p.halt.passed = p.halt.next, p.halt.epoch, true
		}
	}
	for _, p := range e.parts {
		p.letters = slices.DeleteFunc(p.letters, func(l *letter) bool { return l.settled })
	}
}

// resend sends the letters again that are due, and goes on with partitions whose letter is settled.
func (s *session) resend() {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	now := time.Now()
	for _, p := range s.e.parts {
		switch h := p.halt; {
		case h == nil || h.paused:
		case h.passed:
			p.halt = nil
			s.goOn(p)
		case !h.retryAt.IsZero() && now.After(h.retryAt):
			s.e.sendHalted(p)
		}
	}
}

// settleLetters waits for the letters under way, so that what they are about can be committed.
func (s *session) settleLetters(ctx context.Context) {
	if err := s.e.letters.Flush(ctx); err != nil {
		s.e.log.Warn("dead letters are under way still; their records are read again after the next start", "error", err)
	}
	s.settle()
}

// countLetter accounts for a letter. mu is held.
func (e *Exporter) countLetter(d settlement) {
	if d.err == nil {
		e.accounts.letters[d.reason].Inc()
		return
	}
	why := deadletter.FailureOf(d.err)
	e.accounts.letterFailures.WithLabelValues(string(why)).Inc()
	if d.lossy {
		e.accounts.lettersLost.WithLabelValues(string(why)).Inc()
	}
	if e.letterLog.Allow() {
		e.log.Error("a dead letter was not written", "partition", d.partition, "offset", d.offset, "lost", d.lossy, "error", e.deps.Explain(d.err))
	}
}

// stopped has the client fetch no more of a partition. mu is held.
func (e *Exporter) stopped(p *partition) {
	if e.current != nil {
		e.current.client.PauseFetchPartitions(map[string][]int32{e.cfg.Topic: {p.id}})
	}
}

// goOn reads a partition on from its position. mu is held.
func (s *session) goOn(p *partition) {
	s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{s.e.cfg.Topic: {p.id: {Epoch: -1, Offset: p.next}}})
	s.client.ResumeFetchPartitions(map[string][]int32{s.e.cfg.Topic: {p.id}})
}

// Halted is a partition that stands still at a record that cannot be handled.
type Halted struct {
	Partition int32         `json:"partition"`
	Offset    int64         `json:"offset,string"`
	Reason    string        `json:"reason"`
	Paused    bool          `json:"paused"` // waits for a person; otherwise for its dead letter
	For       time.Duration `json:"-"`
}

// Halted lists the partitions that stand still at a record.
func (e *Exporter) Halted() []Halted {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.halted()
}

func (e *Exporter) halted() []Halted {
	var out []Halted
	for _, id := range e.assigned() {
		if h := e.parts[id].halt; h != nil {
			out = append(out, Halted{id, h.from.Offset, string(h.reason), h.paused, time.Since(h.since)})
		}
	}
	return out
}

// Resume has paused partitions pass the records at which they stand, once their dead letters are written; none named means
// all. It returns which records those are. A record that another start could handle is not passed by a restart: that tries
// it again.
func (e *Exporter) Resume(partitions ...int32) []Halted {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Halted
	for _, h := range e.halted() {
		if !h.Paused || len(partitions) > 0 && !slices.Contains(partitions, h.Partition) {
			continue
		}
		p := e.parts[h.Partition]
		p.halt.paused = false
		e.log.Warn("partition resumes after the record that it was paused at", "partition", p.id, "offset", p.halt.from.Offset, "reason", h.Reason)
		e.sendHalted(p)
		out = append(out, h)
	}
	return out
}

// mayBeUnreadable reports an error that can be about the bytes of a batch: of those the client makes errors without a type,
// while what a broker refuses has a code. Whether it is so, [session.batchEnd] finds out.
func mayBeUnreadable(err error) bool {
	code := new(kerr.Error)
	return !errors.As(err, &code) || errors.Is(err, kerr.CorruptMessage)
}

// unreadableBatch describes it.
func (s *session) unreadableBatch(id int32, from, end int64, cause error) badRecord {
	return badRecord{
		reason: reasonUnreadable, err: fmt.Errorf("offsets %d to %d: %w", from, end-1, cause), next: end, epoch: -1,
		from: deadletter.Source{Topic: s.e.cfg.Topic, Partition: id, Offset: from, Timestamp: time.Now(), Unreadable: true},
	}
}
