package gateway

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/dashflow/dashstream/internal/feed"
)

// pendingLarge is a segment with a large frame that the session has to write before
// anything else of its stream. Its reader is past it.
type pendingLarge struct {
	segment *feed.Segment
	since   time.Time
}

// errNoRoom ends the wait for a large frame.
var errNoRoom = errors.New("no room for a large frame in time")

// writeLarge writes the pending segment. It returns false when the session is
// over. The frame is held only here.
func (s *session) writeLarge(ctx context.Context) bool {
	seg, large := s.pending.segment, s.hub.large
	ctx, cancel := context.WithDeadlineCause(ctx, s.pending.since.Add(largeFrameWait), errNoRoom)
	defer cancel()
	most := largeSize(s.enc, seg)
	if s.enc != encodingProto {
		most = min(most*6, jsonLimit(s.hub.cfg.Limits)) // texts of control characters
	}
	l, err := large.acquire(ctx, largeKey{seg, s.enc}, int64(most))
	if err != nil {
		return s.noLarge(err)
	}
	defer large.release(l)
	encode := s.hub.encode(s.enc, s.reader.StreamID())
	b, err := large.make(ctx, l, func() []byte {
		b, _ := encode(seg, nil)
		return b
	})
	if _, fault := errors.AsType[*feed.EncodeError](err); err != nil && !fault {
		return s.noLarge(err)
	}
	s.pending = nil
	if err != nil {
		s.unencodable(err)
		s.close(closeInternal)
		return true
	}
	var out outbox
	out.add(b)
	s.endEvent(&out)
	s.sent(1)
	began := time.Now()
	s.overdue = func() bool { return time.Since(began) > largeFrameTerm && large.wanted() }
	defer func() { s.overdue = nil }()
	return s.write(out.bufs)
}

// noLarge ends the wait for a large frame: for now, or with the session.
func (s *session) noLarge(err error) bool {
	switch {
	case errors.Is(err, errKicked):
	case s.hub.ctx.Err() != nil:
		s.close(closeRestart)
	default:
		s.hub.metrics.largeTimeouts.Inc()
		s.hub.log.Info("session ended because other clients are slow to take large records", "peer", s.peer, "error", err)
		s.close(closeUnavailable)
	}
	return true
}

// tooSlow fails a write of a large frame for which others wait.
func (s *session) tooSlow() bool {
	if s.overdue == nil || !s.overdue() {
		return false
	}
	s.fail(os.ErrDeadlineExceeded)
	return true
}
