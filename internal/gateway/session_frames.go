package gateway

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
)

// progress tells a client with a filter how far the stream has gone, when asked
// and when that is news.
func (s *session) progress(out *outbox) {
	// The cursor is past what is pending.
	if s.pending != nil || !s.tellProgress.Swap(false) || !s.untold {
		return
	}
	s.untold = false
	s.tell(out, &streampb.ServerFrame{Frame: &streampb.ServerFrame_Progress{Progress: &streampb.Progress{Cursor: cursorPB(s.reader.Cursor())}}})
}

// step puts the frame of one step into the outbox. After an error the session
// must end: its reader is past what it did not get.
func (s *session) step(out *outbox, step feed.Step) error {
	switch {
	case step.Segment != nil && isLarge(s.enc, step.Segment):
		if !step.Segment.Selects(s.filter) {
			s.untold = true
			return nil
		}
		s.pending = &pendingLarge{step.Segment, time.Now()}
	case step.Segment != nil:
		b, n, err := s.segment(step.Segment)
		if err != nil {
			return err
		}
		if b == nil {
			s.untold = true
			return nil
		}
		out.add(b)
		s.endEvent(out)
		s.sent(n)
	case step.Gap != nil:
		g := step.Gap
		s.hub.metrics.gap(g)
		s.tell(out, &streampb.ServerFrame{Frame: &streampb.ServerFrame_Gap{Gap: &streampb.Gap{
			Partition: proto.Int32(g.Partition), From: proto.Int64(g.From), To: proto.Int64(g.To), Reason: gapReason(g.Reason),
			Cursor: &streampb.Cursor{StreamId: s.reader.StreamID(), Partitions: []*streampb.PartitionOffset{positionPB(g.Partition, g.To, s.reader.Epoch(g.Partition))}},
		}}})
	case step.Growth != nil:
		s.tell(out, &streampb.ServerFrame{Frame: &streampb.ServerFrame_Partitions{Partitions: &streampb.Partitions{Partitions: s.hub.ranges()}}})
		// Where they begin for this client, which holds no position of them yet: it
		// may come back before it gets a record.
		s.tell(out, &streampb.ServerFrame{Frame: &streampb.ServerFrame_Progress{Progress: &streampb.Progress{Cursor: cursorPB(s.reader.Cursor())}}})
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
	return nil
}

// sent counts a frame of n records.
func (s *session) sent(n int) {
	m := s.hub.metrics
	m.framesSent[s.enc].Inc()
	m.messagesSent.Add(float64(n))
	if s.replay != nil {
		s.replay.messages.Add(float64(n))
	}
}

func (s *session) reset(why *feed.Reset) *streampb.ServerFrame {
	return &streampb.ServerFrame{Frame: &streampb.ServerFrame_Reset_{Reset_: &streampb.Reset{
		Reason: resetReason(why.Reason), PreviousStreamId: why.Previous, Cursor: cursorPB(s.reader.Cursor()),
	}}}
}

// segment returns the encoded segment, shared with every session that has the
// same filter and encoding, or a filter that selects all of it too.
func (s *session) segment(seg *feed.Segment) ([]byte, int, error) {
	if s.filter != nil && !seg.MayMatch(s.filter) {
		return nil, 0, nil
	}
	return seg.Frame(feed.FrameKey{Filter: s.filter, Encoding: uint8(s.enc)}, s.hub.encode(s.enc, s.reader.StreamID()))
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
