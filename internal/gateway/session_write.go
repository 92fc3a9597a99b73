package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

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

// close ends the session with a code, after what waits was written.
func (s *session) close(code CloseCode) {
	s.mu.Lock()
	if s.closing == nil {
		s.closing = &code
	}
	s.mu.Unlock()
	s.kick()
}

// write sends buffers, waiting for the client as long as it keeps taking
// sliceBytes within the send timeout. It returns false after it ended the
// session.
func (s *session) write(bufs net.Buffers) bool {
	s.inFrame = true
	for _, b := range bufs {
		for len(b) > 0 {
			if s.tooSlow() {
				return false
			}
			n := min(len(b), sliceBytes)
			if err := s.conn.SetWriteDeadline(time.Now().Add(s.hub.cfg.SendTimeout)); err != nil {
				s.fail(err)
				return false
			}
			if _, err := s.conn.Write(b[:n]); err != nil {
				s.fail(err)
				return false
			}
			s.wrote(n)
			b = b[n:]
		}
	}
	// A deadline that has passed would fail the next write without blocking.
	if err := s.conn.SetWriteDeadline(time.Time{}); err != nil {
		s.fail(err)
		return false
	}
	s.inFrame = false
	return true
}

func (s *session) wrote(n int) {
	s.written.Add(int64(n))
	s.hub.metrics.bytesSent.Add(float64(n))
}

// writeNow sends as much as the socket takes at once, and reports whether that
// was all. What was not sent stays in the outbox.
func (s *session) writeNow(out *outbox) bool {
	s.inFrame = true
	for i := range out.bufs {
		n, err := s.try.TryWrite(out.bufs[i])
		s.wrote(n)
		if n < len(out.bufs[i]) || err != nil {
			// An error comes up again in the write that follows, which handles
			// it.
			out.bufs[i] = out.bufs[i][n:]
			out.bufs = out.bufs[i:]
			return false
		}
	}
	s.inFrame = false
	return true
}

// fail ends a session whose socket failed. There is nobody to tell.
func (s *session) fail(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.hub.metrics.slow.Inc()
		s.hub.metrics.sendTimeouts.Inc()
		s.hub.log.Info("client's system took too little within the send timeout", "peer", s.peer, "timeout", s.hub.cfg.SendTimeout)
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
	s.reader, s.pending = nil, nil
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
