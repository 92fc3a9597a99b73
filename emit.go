package dashstream

import (
	"math/rand/v2"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/wire"
)

// now returns the time, and its timestamp for a header: 0, which means missing, for a clock before 1970.
func (p *Producer) now() (time.Time, int64) {
	t := p.cfg.clock()
	us := wire.Timestamp(t)
	if us >= 0 {
		return t, us
	}
	if !p.clockWarned.Swap(true) {
		p.logger.Warn("the clock shows a time before 1970; messages are sent without a timestamp", "time", t)
	}
	p.degrade(DegradedClock)
	return t, 0
}

func (p *Producer) degrade(d Degradation) {
	p.mu.Lock()
	p.degraded[d]++
	p.mu.Unlock()
}

// fillID makes a UUID of version 7: unique, and in order of time where the clock is.
func fillID(id *[16]byte, us int64) {
	ms := uint64(us) / 1000
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	id[6], id[7] = 0x70|byte(hi>>8)&0x0f, byte(hi)
	for i := range 8 {
		id[8+i] = byte(lo >> (8 * (7 - i)))
	}
	id[8] = id[8]&0x3f | 0x80
}

func newID(us int64) []byte {
	var id [16]byte
	fillID(&id, us)
	return id[:]
}

// itemOverhead is about what an item takes beside the content of its message, in bytes.
const itemOverhead = 768

// newItem starts a message of a thread; its sequence comes with admit.
func (p *Producer) newItem(th *thread, kind pb.MessageType, c class) (*item, time.Time) {
	t, us := p.now()
	it := &item{thread: th, kind: kind, class: c, cost: itemOverhead, header: nil}
	fillID(&it.own.id, us)
	h := &it.own.header
	h.MessageId = it.own.id[:]
	h.TimestampUs = us
	h.TenantId = p.cfg.kafka.TenantID
	h.ThreadId = th.id
	h.Type = kind
	h.SchemaVersion = wire.SchemaVersion
	it.header = h
	return it, t
}

// admit gives the message its sequence and its place in the queue, in one step, so that the order of the queue is that of
// the sequences. p.mu is held.
//
// A message that is refused because it must not be sent takes no sequence. One for which there is no room does: readers
// see the gap.
func (p *Producer) admit(run *Run, it *item) error {
	c := &p.counts[it.kind]
	c.Emitted++
	th := it.thread
	switch {
	case p.closed:
		c.Dropped[DropClosed]++
		return ErrClosed
	case run != nil && run.ended:
		c.Dropped[DropRunEnded]++
		return errRunEnded
	}
	th.sequence++
	it.header.Sequence = th.sequence
	p.hold(th)
	c.InFlight++
	p.inFlight++
	it.round = p.round
	if p.queue.bytes+it.cost > p.cfg.queueBytes && !p.queue.makeRoom(it.cost, it.class, p.cfg.queueBytes, p.evict) {
		p.settle(it, dropped(DropQueueFull))
		return ErrQueueFull
	}
	p.queue.push(it)
	p.wake.Signal()
	return nil
}

func (p *Producer) evict(it *item) { p.settle(it, dropped(DropEvicted)) }

// outcome is what became of a message.
type outcome struct {
	acked  bool
	failed bool
	reason uint8
	err    error // of the client, where it failed
}

func dropped(r DropReason) outcome { return outcome{reason: uint8(r)} }

func failed(r FailReason, err error) outcome {
	return outcome{failed: true, reason: uint8(r), err: err}
}

// settle books the outcome of a message that is in flight. p.mu is held.
func (p *Producer) settle(it *item, o outcome) {
	c, th := &p.counts[it.kind], it.thread
	c.InFlight--
	p.inFlight--
	switch {
	case o.acked:
		c.Acked++
		th.announced = true
	case o.failed:
		c.Failed[o.reason]++
	default:
		c.Dropped[o.reason]++
	}
	if it.carriesState && !o.acked {
		th.lost++
	}
	if it.size > 0 {
		p.handed.remove(it)
		p.sending--
		p.sendingBytes -= it.size
		it.size = 0
		p.wake.Signal()
	}
	p.release(th)
	for i := 0; i < len(p.waiters); {
		w := p.waiters[i]
		if it.round > w.round {
			i++
			continue
		}
		w.remaining--
		switch {
		case o.acked:
			w.acked++
		case o.failed:
			w.failed++
			if o.err != nil {
				w.err = o.err
			}
		default:
			w.dropped++
		}
		if w.remaining > 0 {
			i++
			continue
		}
		close(w.done)
		p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
	}
}

// handedList is the messages that left the queue and have no outcome.
type handedList struct{ first, last *item }

func (l *handedList) push(it *item) {
	it.prev, it.next = l.last, nil
	if l.last != nil {
		l.last.next = it
	} else {
		l.first = it
	}
	l.last = it
}

func (l *handedList) remove(it *item) {
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		l.first = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		l.last = it.prev
	}
	it.next, it.prev = nil, nil
}
