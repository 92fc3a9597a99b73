package exporter

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitSoon commits what was handled, without waiting for the answer. One commit is under way at a time.
func (s *session) commitSoon(ctx context.Context) {
	if !s.committing.TryLock() {
		return
	}
	offsets, notes := s.uncommitted(nil)
	if len(offsets) == 0 {
		s.committing.Unlock()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.e.cfg.RequestTimeout)
	s.client.CommitOffsets(withNotes(ctx, notes), s.commitment(offsets), func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		defer s.committing.Unlock()
		defer cancel()
		s.committed(offsets, resp, err)
	})
}

// commitNow commits what was handled of some partitions and waits for the answer.
func (s *session) commitNow(ctx context.Context, ids []int32) {
	offsets, notes := s.uncommitted(ids)
	if len(offsets) == 0 {
		return
	}
	s.client.CommitOffsetsSync(withNotes(ctx, notes), s.commitment(offsets), func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		s.committed(offsets, resp, err)
	})
}

// uncommitted returns what was handled and not committed, of some partitions or of all, and what is to be noted with it.
func (s *session) uncommitted(ids []int32) (map[int32]kgo.EpochOffset, map[int32]string) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if ids == nil {
		ids = s.e.assigned()
	}
	offsets, notes := map[int32]kgo.EpochOffset{}, map[int32]string{}
	for _, id := range ids {
		if p := s.e.parts[id]; p != nil && !p.rebuilding() && p.next >= 0 && p.committable() != p.committed {
			at := kgo.EpochOffset{Epoch: p.epoch, Offset: p.committable()}
			if at.Offset != p.next {
				at.Epoch = -1 // it is of what was handled last
			}
			offsets[id] = at
			n := commitNote{TopicID: s.topicID[:], First: s.first, Head: p.head}
			if !p.clock.IsZero() {
				n.ClockUS = p.clock.UnixMicro()
			}
			notes[id] = n.String()
		}
	}
	return offsets, notes
}

func (s *session) commitment(offsets map[int32]kgo.EpochOffset) map[string]map[int32]kgo.EpochOffset {
	return map[string]map[int32]kgo.EpochOffset{s.e.cfg.Topic: offsets}
}

// withNotes has the commits made with ctx say what is to be noted.
func withNotes(ctx context.Context, notes map[int32]string) context.Context {
	return kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				if text, ok := notes[p.Partition]; ok {
					p.Metadata = &text
				}
			}
		}
		return nil
	})
}

// committed notes what Kafka acknowledged.
func (s *session) committed(offsets map[int32]kgo.EpochOffset, resp *kmsg.OffsetCommitResponse, err error) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if err == nil && resp != nil {
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				at, ok := offsets[p.Partition]
				if refused := kerr.ErrorForCode(p.ErrorCode); refused != nil {
					err = refused
				} else if part := s.e.parts[p.Partition]; ok && part != nil {
					part.committed = at.Offset
				}
			}
		}
	}
	if err != nil {
		s.e.accounts.storeErrors.Inc()
		s.e.log.Warn("offsets could not be committed", "group", s.e.cfg.Group, "error", s.e.deps.Explain(err))
		return
	}
	s.e.accounts.commits.Inc()
}
