package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
)

// errKicked interrupts a wait so that the worker sees what else there is to do.
var errKicked = errors.New("session has something else to do")

// takeTime does what pull could not do without waiting: begin a subscription,
// or read from Kafka. It returns false when the session is over.
func (s *session) takeTime() bool {
	ctx, cancel := context.WithCancelCause(s.hub.ctx)
	defer cancel(nil)
	s.mu.Lock()
	wanted := s.wanted
	s.wanted, s.starting = nil, wanted
	other := len(s.control) > 0 || s.closing != nil
	s.interrupt = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.interrupt, s.beginning, s.starting = nil, false, nil
		s.mu.Unlock()
	}()
	if wanted != nil {
		if !s.awaitTurn(ctx, wanted, other) {
			return true
		}
		return s.begin(ctx, wanted)
	}
	if other {
		return true
	}
	if s.pending != nil {
		return s.writeLarge(ctx)
	}
	var out outbox
	step, err := s.reader.Next(ctx)
	switch {
	case err == nil:
		return s.inTurn(&out, func() {
			if err := s.step(&out, step); err != nil {
				s.unencodable(err)
				s.close(closeInternal)
				return
			}
			s.progress(&out)
		})
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
		s.fallBack()
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
	s.untold, s.pending = false, nil
	s.begun(want)
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

// ack notes what the client says it has applied. Only the positions that are
// compared with something are kept: those of the stream that is read, and of
// partitions that it has.
func (s *session) ack(c feed.Cursor, stream string, partitions int) {
	if c.StreamID != stream {
		return
	}
	acked := feed.Cursor{StreamID: stream, Offsets: make(map[int32]int64, min(len(c.Offsets), partitions))}
	for p, o := range c.Offsets {
		if int(p) < partitions {
			acked.Offsets[p] = o
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = &acked
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
			// A partition without a position adds nothing that is known.
			lag += max(0, p.Next-o)
		}
	}
	return lag, true
}

// want asks the worker to begin a subscription, in place of one that is wanted or
// beginning. That one is kept where the new one may be refused, for a refusal leaves
// the subscription as it was.
func (s *session) want(sub subscription) {
	s.mu.Lock()
	before := s.wanted
	if before == nil {
		before = s.starting
	}
	switch {
	case !sub.doubtful:
		s.fallback = nil
	case before != nil && !before.doubtful:
		s.fallback = before
	}
	s.wants++
	sub.number = s.wants
	s.wanted = &sub
	s.mu.Unlock()
	s.kick()
}

// fallBack has a subscription begin that a refused one had taken the place of.
func (s *session) fallBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted == nil {
		s.wanted, s.fallback = s.fallback, nil
	}
}

// begun notes that a subscription began: it needs to be begun no more.
func (s *session) begun(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = nil
	if s.fallback != nil && s.fallback.number <= sub.number {
		s.fallback = nil
	}
}
