package dashstream

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// class is how important a message is when there is no room for all.
type class uint8

const (
	classDroppable class = iota // progress, thoughts and tokens
	classNormal
	classState    // what the state of a run is made from
	classTerminal // the end of a run
	classCount
)

// item is one message on its way. Producer.mu guards what the queue and the accounts need; the rest belongs to whoever
// holds the item: the emitter, then the sender.
type item struct {
	next, prev           *item // in the queue
	classNext, classPrev *item // in the queue, of the same class

	thread *thread
	kind   pb.MessageType // for the accounts: one logical message
	class  class
	queued bool
	// carriesState: if this is lost, the next state must be a snapshot.
	carriesState bool
	// clean: nothing is left to redact.
	clean bool
	cost  int // bytes of memory
	round uint64

	msg     *pb.DashStreamMessage
	header  *pb.Header
	attrs   []attr // of an event, until it is encoded
	headers []kgo.RecordHeader

	// Since the client has it.
	handed time.Time
	writes uint64
	size   int

	// The parts of an event, so that it is one allocation.
	own struct {
		msg    pb.DashStreamMessage
		event  pb.DashStreamMessage_Event
		body   pb.Event
		header pb.Header
		id     [16]byte
	}
}

// queue is the messages that wait for the sender, in order of their sequences. Producer.mu guards it.
type queue struct {
	first, last *item
	classes     [classCount]struct {
		first, last *item
		bytes       int
	}
	n, bytes int
}

func (q *queue) push(it *item) {
	it.queued = true
	it.prev, it.next = q.last, nil
	if q.last != nil {
		q.last.next = it
	} else {
		q.first = it
	}
	q.last = it
	c := &q.classes[it.class]
	it.classPrev, it.classNext = c.last, nil
	if c.last != nil {
		c.last.classNext = it
	} else {
		c.first = it
	}
	c.last = it
	c.bytes += it.cost
	q.bytes += it.cost
	q.n++
}

func (q *queue) remove(it *item) {
	it.queued = false
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		q.first = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		q.last = it.prev
	}
	c := &q.classes[it.class]
	if it.classPrev != nil {
		it.classPrev.classNext = it.classNext
	} else {
		c.first = it.classNext
	}
	if it.classNext != nil {
		it.classNext.classPrev = it.classPrev
	} else {
		c.last = it.classPrev
	}
	it.next, it.prev, it.classNext, it.classPrev = nil, nil, nil, nil
	c.bytes -= it.cost
	q.bytes -= it.cost
	q.n--
}

// makeRoom removes the oldest of the least important messages until cost fits, and hands each to evicted. It removes
// nothing, and returns false, unless that makes enough room by messages less important than class.
func (q *queue) makeRoom(cost int, below class, limit int, evicted func(*item)) bool {
	free := limit - q.bytes
	for c := range below {
		free += q.classes[c].bytes
	}
	if free < cost {
		return false
	}
	for c := class(0); q.bytes+cost > limit; {
		victim := q.classes[c].first
		if victim == nil {
			c++
			continue
		}
		q.remove(victim)
		evicted(victim)
	}
	return true
}
