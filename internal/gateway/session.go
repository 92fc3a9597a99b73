package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
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
	// lastHeard is when the client last sent anything, in Unix nanoseconds.
	lastHeard atomic.Int64
	// tellProgress asks the worker to tell a filtered client how far it got.
	tellProgress atomic.Bool

	mu sync.Mutex
	// control waits to be written before anything else.
	control []byte
	// wanted is a subscription that the worker has not begun.
	wanted *subscription
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
	// untold: the cursor moved past records that did not match.
	untold bool
	// replay counts what the subscription gets until it has caught up, and
	// then is nil.
	replay      *replayMetrics
	replayBegan time.Time
	// rest is what a write without blocking left over.
	rest net.Buffers
	// ending: the session is over once rest was written.
	ending bool

	done chan struct{}
}

// errKicked interrupts a wait so that the worker sees what else there is to do.
var errKicked = errors.New("session has something else to do")

// outbox gathers frames for one write. It belongs to a worker, not to the
// session, so that a parked session holds no buffer.
type outbox struct {
	bufs net.Buffers
	size int
}

func (o *outbox) add(b []byte) {
	if len(b) > 0 {
		o.bufs = append(o.bufs, b)
		o.size += len(b)
	}
}

func (o *outbox) reset() {
	clear(o.bufs)
	o.bufs, o.size = o.bufs[:0], 0
}

type pullResult int

const (
	pulledAll     pullResult = iota // nothing more in memory
	pulledSome                      // the outbox is full
	pullNeedsTime                   // a subscription or a read from Kafka
	pullEnded                       // the session ends after this write
)

// claim makes the caller the session's worker. It fails while another is.
func (s *session) claim() bool { return s.state.CompareAndSwap(stateParked, stateBusy) }

// kick makes somebody look at the session: its worker, or a new one.
func (s *session) kick() {
	if s.claim() {
		go s.work()
		return
	}
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
		res := s.pull(&out)
		if out.size > 0 && !s.write(out.bufs) {
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
// ends, its slot and its counts are given back.
func (s *session) contain() {
	if r := recover(); r != nil {
		s.hub.metrics.sessionPanics.Inc()
		s.hub.log.Error("session ended by a panic", "panic", r, "peer", s.peer)
		s.finish()
	}
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
		step, ok, parked := s.reader.TryNext()
		if !ok {
			if !parked {
				return pullNeedsTime
			}
			s.progress(out)
			return pulledAll
		}
		s.step(out, step)
		s.progress(out)
	}
	return pulledSome
}

// progress tells a client with a filter how far the stream has gone, when asked
// and when that is news.
func (s *session) progress(out *outbox) {
	if !s.tellProgress.Swap(false) || !s.untold {
		return
	}
	s.untold = false
	s.tell(out, &streampb.ServerFrame{Frame: &streampb.ServerFrame_Progress{Progress: &streampb.Progress{Cursor: cursorPB(s.reader.Cursor())}}})
}

// step puts the frame of one step into the outbox.
func (s *session) step(out *outbox, step feed.Step) {
	switch {
	case step.Segment != nil:
		b, n := s.segment(step.Segment)
		if b == nil {
			s.untold = true
			return
		}
		out.add(b)
		s.endEvent(out)
		m := s.hub.metrics
		m.framesSent[s.enc].Inc()
		m.messagesSent.Add(float64(n))
		if s.replay != nil {
			s.replay.messages.Add(float64(n))
		}
	case step.Gap != nil:
		g := step.Gap
		s.hub.metrics.gap(g)
		s.tell(out, &streampb.ServerFrame{Frame: &streampb.ServerFrame_Gap{Gap: &streampb.Gap{
			Partition: proto.Int32(g.Partition), From: proto.Int64(g.From), To: proto.Int64(g.To), Reason: gapReason(g.Reason),
			Cursor: &streampb.Cursor{StreamId: s.reader.StreamID(), Partitions: []*streampb.PartitionOffset{{Partition: proto.Int32(g.Partition), NextOffset: proto.Int64(g.To)}}},
		}}})
	case step.Growth != nil:
		s.tell(out, &streampb.ServerFrame{Frame: &streampb.ServerFrame_Partitions{Partitions: &streampb.Partitions{Partitions: s.hub.ranges()}}})
	case step.Reset != nil:
		s.tell(out, s.reset(step.Reset))
	case step.CaughtUp:
		s.untold = false
		if s.replay != nil {
			s.replay.latency.Observe(float64(time.Since(s.replayBegan).Microseconds()) / 1000)
			s.replay = nil
		}
		s.tell(out, &streampb.ServerFrame{Frame: &streampb.ServerFrame_CaughtUp{CaughtUp: &streampb.CaughtUp{Cursor: cursorPB(s.reader.Cursor())}}})
	}
}

func (s *session) reset(why *feed.Reset) *streampb.ServerFrame {
	return &streampb.ServerFrame{Frame: &streampb.ServerFrame_Reset_{Reset_: &streampb.Reset{
		Reason: resetReason(why.Reason), PreviousStreamId: why.Previous, Cursor: cursorPB(s.reader.Cursor()),
	}}}
}

// segment returns the encoded segment, shared with every session that has the
// same filter and encoding.
func (s *session) segment(seg *feed.Segment) ([]byte, int) {
	if s.filter != nil && !seg.MayMatch(s.filter) {
		return nil, 0
	}
	return seg.Frame(feed.FrameKey{Filter: s.filter, Encoding: uint8(s.enc)}, s.hub.encoder.segment(s.enc, s.reader.StreamID()))
}

// tell adds a frame of this session's own.
func (s *session) tell(out *outbox, f *streampb.ServerFrame) {
	out.add(s.enc.frame(f))
	s.endEvent(out)
}

// endEvent adds the id line of a server-sent event, which ends it.
func (s *session) endEvent(out *outbox) {
	if s.enc == encodingSSE {
		out.add(sseID(s.reader.Cursor()))
	}
}

// takeTime does what pull could not do without waiting: begin a subscription,
// or read from Kafka. It returns false when the session is over.
func (s *session) takeTime() bool {
	ctx, cancel := context.WithCancelCause(s.hub.ctx)
	defer cancel(nil)
	s.mu.Lock()
	wanted := s.wanted
	s.wanted = nil
	other := wanted == nil && (len(s.control) > 0 || s.closing != nil)
	s.interrupt, s.beginning = cancel, wanted != nil
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.interrupt, s.beginning = nil, false
		s.mu.Unlock()
	}()
	if wanted != nil {
		return s.begin(ctx, wanted)
	}
	if other {
		return true
	}
	var out outbox
	step, err := s.reader.Next(ctx)
	switch {
	case err == nil:
		s.step(&out, step)
		s.progress(&out)
		return out.size == 0 || s.write(out.bufs)
	case errors.Is(context.Cause(ctx), errKicked):
		return true
	case s.hub.ctx.Err() != nil:
		s.close(closeRestart)
	default:
		s.hub.log.Error("session cannot go on", "peer", s.peer, "error", err)
		s.close(closeInternal)
	}
	return true
}

// begin starts a subscription in place of the one before.
func (s *session) begin(ctx context.Context, want *subscription) bool {
	ctx, cancel := context.WithTimeout(ctx, s.hub.cfg.SubscribeTimeout)
	defer cancel()
	reader, err := s.hub.feed.NewReader(ctx, want.start)
	var bad *feed.CursorError
	switch {
	case errors.As(err, &bad):
		s.refuse(badField("subscribe.start.cursor", "%v", bad))
		if s.enc == encodingSSE {
			s.close(closeBadFrame) // it has no way to ask for something else
		}
		return true
	case errors.Is(context.Cause(ctx), errKicked):
		// The session ends, or a newer subscription takes the place of this
		// one. The Kafka client's error does not say so, but the context does.
		return true
	case err != nil && s.left():
		return true
	case err != nil:
		s.hub.log.Warn("subscription cannot begin", "peer", s.peer, "error", err)
		s.close(closeUnavailable)
		return true
	}
	s.reader, s.replay, s.replayBegan = reader, s.hub.metrics.replays[want.startName], time.Now()
	s.replay.requests.Inc()
	s.untold = false
	s.hub.join(s, want)
	var out outbox
	// What is void is said first: a client that is cut off in between must not
	// take over the new cursor with the old state.
	if why := reader.TakeReset(); why != nil {
		s.tell(&out, s.reset(why))
	}
	s.tell(&out, &streampb.ServerFrame{Frame: &streampb.ServerFrame_Subscribed{Subscribed: &streampb.Subscribed{Cursor: cursorPB(reader.Cursor())}}})
	return s.write(out.bufs)
}

// refuse answers a bad frame of the client.
func (s *session) refuse(e *fieldError) {
	s.hub.metrics.controlFailures.Inc()
	b := s.enc.frame(&streampb.ServerFrame{Frame: &streampb.ServerFrame_Error{Error: &streampb.Error{
		Code: "invalid_field", Field: clip(e.field, 200), Message: clip(e.message, 500),
	}}})
	if s.enc == encodingSSE {
		b = append(b, '\n')
	}
	s.send(b)
}

// send queues bytes ahead of the stream. A client for which too much waits is
// cut off.
func (s *session) send(b []byte) {
	s.mu.Lock()
	if len(s.control)+len(b) > maxControlBytes {
		if s.closing == nil {
			s.closing = &closeTooMany
		}
	} else {
		s.control = append(s.control, b...)
	}
	s.mu.Unlock()
	s.kick()
}

// push queues bytes of the gateway's own, such as hello, ahead of the stream.
func (s *session) push(b []byte) {
	s.mu.Lock()
	s.control = append(s.control, b...)
	s.mu.Unlock()
	s.kick()
}

// ack notes what the client says it has applied.
func (s *session) ack(c feed.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = &c
}

// applyLag returns how many records lie between what the client acknowledged
// and the ends of the partitions it named; ok is false for a client that
// acknowledges nothing, or another stream.
func (s *session) applyLag(info feed.Info) (lag int64, ok bool) {
	s.mu.Lock()
	acked := s.acked
	s.mu.Unlock()
	if acked == nil || acked.StreamID != info.StreamID {
		return 0, false
	}
	for _, p := range info.Partitions {
		if o, named := acked.Offsets[p.ID]; named {
			lag += max(0, p.Next-o)
		}
	}
	return lag, true
}

// close ends the session with a code, after what waits was written.
func (s *session) close(code CloseCode) {
	s.mu.Lock()
	if s.closing == nil {
		s.closing = &code
	}
	s.mu.Unlock()
	s.kick()
}

// want asks the worker to begin a subscription.
func (s *session) want(sub subscription) {
	s.mu.Lock()
	s.wanted = &sub
	s.mu.Unlock()
	s.kick()
}

// write sends buffers, waiting for the client as long as it keeps taking
// sliceBytes within the send timeout. It returns false after it ended the
// session.
func (s *session) write(bufs net.Buffers) bool {
	for _, b := range bufs {
		for len(b) > 0 {
			n := min(len(b), sliceBytes)
			if err := s.conn.SetWriteDeadline(time.Now().Add(s.hub.cfg.SendTimeout)); err != nil {
				s.fail(err)
				return false
			}
			if _, err := s.conn.Write(b[:n]); err != nil {
				s.fail(err)
				return false
			}
			s.hub.metrics.bytesSent.Add(float64(n))
			b = b[n:]
		}
	}
	// A deadline that has passed would fail the next write without blocking.
	if err := s.conn.SetWriteDeadline(time.Time{}); err != nil {
		s.fail(err)
		return false
	}
	return true
}

// writeNow sends as much as the socket takes at once, and reports whether that
// was all. What was not sent stays in the outbox.
func (s *session) writeNow(out *outbox) bool {
	for i := range out.bufs {
		n, err := s.try.tryWrite(out.bufs[i])
		s.hub.metrics.bytesSent.Add(float64(n))
		if n < len(out.bufs[i]) || err != nil {
			// An error comes up again in the write that follows, which handles
			// it.
			out.bufs[i] = out.bufs[i][n:]
			out.bufs = out.bufs[i:]
			return false
		}
	}
	return true
}

// fail ends a session whose socket failed. There is nobody to tell.
func (s *session) fail(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.hub.metrics.slow.Inc()
		s.hub.metrics.sendTimeouts.Inc()
		s.hub.log.Info("client took nothing within the send timeout", "peer", s.peer, "timeout", s.hub.cfg.SendTimeout)
	} else if !s.left() {
		s.hub.metrics.sendFailed.Inc()
	}
	s.finish()
}

// left reports whether the client has gone by itself: then a write that fails is
// no news.
func (s *session) left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing != nil && *s.closing == closeNormal
}

// finish ends the session: once, from its worker. What the client may still be
// sending is left to the session's reader, see [session.linger].
func (s *session) finish() {
	if s.state.Swap(stateClosed) == stateClosed {
		return
	}
	s.hub.leave(s)
	s.reader = nil
	half, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || s.conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		_ = s.conn.Close() // the client learns the same from the end of the stream
	}
	close(s.done)
}

const (
	lingerTime  = time.Second
	lingerBytes = 16 << 20
)

// readForever lets an idle client take its time again, unless the session has
// ended meanwhile: then the deadline of its end stands.
func (s *session) readForever() error {
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if s.state.Load() == stateClosed {
		return s.conn.SetReadDeadline(time.Now().Add(lingerTime))
	}
	return nil
}

// linger takes what the client still sends and then closes the connection: were
// it closed with bytes unread, the system would reset it, and the client might
// lose the close frame that says why.
func (s *session) linger() {
	<-s.done
	_, _ = io.CopyN(io.Discard, s.conn, lingerBytes) // until the client closes, or the deadline
	_ = s.conn.Close()
}

func gapReason(r feed.GapReason) streampb.Gap_Reason {
	switch r {
	case feed.GapRetention:
		return streampb.Gap_REASON_RETENTION
	case feed.GapUnreadable:
		return streampb.Gap_REASON_UNREADABLE
	default:
		return streampb.Gap_REASON_UNSPECIFIED
	}
}

func resetReason(r feed.ResetReason) streampb.Reset_Reason {
	switch r {
	case feed.ResetTopicRecreated:
		return streampb.Reset_REASON_TOPIC_RECREATED
	case feed.ResetOtherStream:
		return streampb.Reset_REASON_OTHER_STREAM
	case feed.ResetTruncated:
		return streampb.Reset_REASON_TRUNCATED
	default:
		return streampb.Reset_REASON_UNSPECIFIED
	}
}
