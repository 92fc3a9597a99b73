package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dashflow/dashstream/internal/feed"
)

const (
	// turnBytes is how much a session gathers for one write.
	turnBytes = 256 << 10
	// sliceBytes is what a client must take within the send timeout, again and
	// again: the slowest rate that is served is sliceBytes a send timeout.
	sliceBytes = 64 << 10
	// maxControlBytes bounds what waits for a client besides the stream: pongs,
	// pings, error frames.
	maxControlBytes = 64 << 10
)

// A session is either parked, and then nobody touches what its worker owns, or
// busy: one goroutine works for it.
const (
	stateParked int32 = iota
	stateBusy
	stateClosed
)

// session is one client.
type session struct {
	hub  *hub
	conn net.Conn
	try  tryWriter // nil where the socket cannot be written without blocking
	enc  encoding
	peer netip.Addr

	state atomic.Int32
	// lastHeard is when the client last sent anything, in nanoseconds after hub.began.
	lastHeard atomic.Int64
	// written counts the bytes handed to the system, confirmed those of them that
	// the client is known to have read.
	written, confirmed atomic.Int64
	// tellProgress asks the worker to tell a filtered client how far it got.
	tellProgress atomic.Bool

	mu sync.Mutex
	// control waits to be written before anything else.
	control []byte
	// wanted is a subscription that the worker has not begun.
	wanted *subscription
	// starting is the one that it is beginning, fallback one that takes the place of
	// wanted or starting where that is refused.
	starting, fallback *subscription
	// wants counts the subscriptions.
	wants int
	// closing, once set, ends the session after control was written.
	closing *CloseCode
	// interrupt ends the worker's wait for Kafka.
	interrupt context.CancelCauseFunc
	// beginning: the wait is for a subscription to begin.
	beginning bool
	// filtered: the subscription has a filter.
	filtered bool
	acked    *feed.Cursor

	// group is guarded by the hub's lock.
	group *group

	// Owned by the worker.
	reader *feed.Reader
	filter *feed.Filter
	// turn, when set, is when the subscription that is wanted may begin.
	turn time.Time
	// pending, when set, has to be written next.
	pending *pendingLarge
	// overdue, when set, tells that what is being written has taken too long.
	overdue func() bool
	// untold: the cursor moved past records that did not match.
	untold bool
	// replay counts what the subscription gets until it has caught up, and
	// then is nil.
	replay      *replayMetrics
	replayBegan time.Time
	// rest is what a write without blocking left over.
	rest net.Buffers
	// inFrame: what was written last may end inside a frame.
	inFrame bool
	// ending: the session is over once rest was written.
	ending bool

	done chan struct{}
}

type pullResult int

const (
	pulledAll     pullResult = iota // nothing more in memory
	pulledSome                      // the outbox is full
	pullNeedsTime                   // a subscription or a read from Kafka
	pullEnded                       // the session ends after this write
)

// heard notes that the client sent something.
func (s *session) heard() { s.lastHeard.Store(int64(time.Since(s.hub.began))) }

// claim makes the caller the session's worker. It fails while another is.
func (s *session) claim() bool { return s.state.CompareAndSwap(stateParked, stateBusy) }

// kick makes somebody look at the session: its worker, or a new one.
func (s *session) kick() {
	if s.claim() {
		go s.work()
		return
	}
	s.nudge()
}

// nudge ends the worker's wait for Kafka, if it is in one.
func (s *session) nudge() {
	s.mu.Lock()
	// What only has to be written can wait until a subscription has begun;
	// otherwise a client that pings would never get one.
	if s.interrupt != nil && (!s.beginning || s.wanted != nil || s.closing != nil) {
		s.interrupt(errKicked)
	}
	s.mu.Unlock()
}

// workFast does what can be done without waiting, on a worker that serves many
// sessions. The caller has claimed the session.
func (s *session) workFast(out *outbox) {
	defer s.contain()
	for range 16 {
		out.reset()
		res := s.pull(out)
		if out.size > 0 {
			if s.try == nil || !s.writeNow(out) {
				s.rest = append(net.Buffers(nil), out.bufs...)
				s.ending = res == pullEnded
				break
			}
		}
		switch res {
		case pullEnded:
			s.finish()
			return
		case pulledAll:
			if s.park() {
				return
			}
		case pullNeedsTime:
			go s.work()
			return
		}
	}
	go s.work()
}

// work serves the session until it is parked or over. The caller has claimed
// it.
func (s *session) work() {
	defer s.contain()
	var out outbox
	if len(s.rest) > 0 {
		rest := s.rest
		s.rest = nil
		if !s.write(rest) {
			return
		}
		if s.ending {
			s.finish()
			return
		}
	}
	for {
		out.reset()
		var res pullResult
		if !s.inTurn(&out, func() { res = s.pull(&out) }) {
			return
		}
		switch res {
		case pullEnded:
			s.finish()
			return
		case pulledAll:
			if s.park() {
				return
			}
		case pullNeedsTime:
			if !s.takeTime() {
				return
			}
		}
	}
}

// contain keeps a fault in one session from ending the others: the session
// ends, with a code where that still can be told, and its slot and its counts are
// given back.
func (s *session) contain() {
	if r := recover(); r != nil {
		s.broken(fmt.Errorf("panic: %v", r), debug.Stack())
		if !s.inFrame {
			_ = s.conn.SetWriteDeadline(time.Now().Add(lingerTime))
			_, _ = s.conn.Write(s.enc.closing(closeInternal)) // best effort on a session that ends
		}
		s.finish()
	}
}

// unencodable notes that a segment could not be encoded, which ends the session.
func (s *session) unencodable(err error) {
	var stack []byte
	if e, ok := errors.AsType[*feed.EncodeError](err); ok {
		stack = e.Stack
	}
	s.broken(err, stack)
}

// broken notes a fault of the gateway that ends a session.
func (s *session) broken(err error, stack []byte) {
	s.hub.metrics.sessionPanics.Inc()
	s.hub.log.Error("session ended by a fault of the gateway", "peer", s.peer, "error", err, "stack", string(stack))
}

// park gives the session back. It returns false, and the caller goes on, when
// there is more to do after all.
func (s *session) park() bool {
	var waiting feed.Waiting
	reading := s.reader != nil
	if reading {
		waiting = s.reader.Waiting()
	}
	s.state.Store(stateParked)
	// What came between the last look and the line above found the session
	// busy and woke nobody.
	if s.hasControl() || reading && waiting.Ready() || s.tellProgress.Load() {
		return !s.claim()
	}
	return true
}

func (s *session) hasControl() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.control) > 0 || s.wanted != nil || s.closing != nil
}

// pull gathers what there is to write without waiting.
func (s *session) pull(out *outbox) pullResult {
	s.mu.Lock()
	out.add(s.control)
	s.control = nil
	closing, wanted := s.closing, s.wanted
	s.mu.Unlock()
	if closing != nil {
		out.add(s.enc.closing(*closing))
		return pullEnded
	}
	if wanted != nil {
		return pullNeedsTime
	}
	if s.reader == nil {
		s.tellProgress.Store(false)
		return pulledAll
	}
	for out.size < turnBytes {
		if s.pending != nil {
			return pullNeedsTime
		}
		step, ok, parked := s.reader.TryNext()
		if !ok {
			if !parked {
				return pullNeedsTime
			}
			s.progress(out)
			return pulledAll
		}
		if err := s.step(out, step); err != nil {
			s.unencodable(err)
			out.add(s.enc.closing(closeInternal))
			return pullEnded
		}
		s.progress(out)
	}
	return pulledSome
}
