package exporter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/deadletter"
	"github.com/dashflow/dashstream/internal/wire"
)

// turn handles what came since the last, or waits a moment for it. While it goes on, no partition is given or taken.
func (s *session) turn(ctx context.Context) error {
	pctx, cancel := context.WithTimeout(ctx, pollWait)
	fetches := s.client.PollRecords(pctx, pollRecords)
	cancel()
	defer s.client.AllowRebalance()
	s.e.beat()
	var failed error
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		// The records first: an error that comes with them is about what follows them.
		if len(f.Records) > 0 && f.Topic == s.e.cfg.Topic {
			s.e.handle(f.FetchPartition)
		}
		if f.Err != nil && failed == nil && ctx.Err() == nil {
			failed = s.failed(ctx, f.Topic, f.Partition, f.Err)
		}
	})
	s.settle()
	s.resend()
	s.retry()
	if time.Now().After(s.nextCommit) {
		s.nextCommit = time.Now().Add(s.e.cfg.CommitInterval)
		s.commitSoon(ctx)
	}
	return failed
}

// handle takes the records of one partition, in order.
func (e *Exporter) handle(f kgo.FetchPartition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.parts[f.Partition]
	if p == nil || p.next < 0 || p.halt != nil {
		return // it was taken away, or stands still
	}
	p.works()
	now := time.Now()
	if f.HighWatermark >= 0 {
		p.end, p.endAt = max(p.end, f.HighWatermark), now
	}
	for _, r := range f.Records {
		if r.Offset < p.next {
			continue // the batch that holds the position begins before it
		}
		if r.Offset > p.handled() {
			reason := lostAbsent
			if f.LogStartOffset > p.next {
				reason = lostRetention
			}
			e.accounts.lost.WithLabelValues(reason).Add(float64(r.Offset - p.handled()))
			e.log.Warn("there are no records where some should be", "partition", p.id, "from", p.handled(), "to", r.Offset, "reason", reason)
		}
		if !r.Attrs.IsControl() {
			if p.rebuilding() && r.Offset >= p.countFrom {
				p.next = r.Offset
				p.rebuilt()
			}
			p.tick(earlier(r.Timestamp, now))
			if p.rebuilding() {
				e.remember(p, r)
			} else if !e.record(p, r, now) {
				return
			}
		}
		rebuilding := p.rebuilding()
		p.next, p.epoch = r.Offset+1, r.LeaderEpoch
		if rebuilding && !p.rebuilding() {
			p.rebuilt()
		}
	}
	p.end = max(p.end, p.next)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// record takes one record to its one outcome; false where that has to wait.
func (e *Exporter) record(p *partition, r *kgo.Record, now time.Time) bool {
	a := e.accounts
	if r.Offset < e.past[p.id] {
		// What is remembered of it was forgotten when the partition was taken away.
		a.received.add(1)
		a.ignored[ignoredRedelivered].add(1)
		p.tables.Rebuild(true)
		e.remember(p, r)
		p.tables.Rebuild(false)
		return true
	}
	m, concerns, err := e.take(p, r)
	if err != nil {
		return e.policy(p, badRecord{
			reason: wire.ReasonOf(err), err: err, next: r.Offset + 1, epoch: r.LeaderEpoch,
			from: deadletter.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value},
		})
	}
	a.received.add(1)
	a.handledAt(r.Timestamp, now)
	if !concerns {
		a.wrongScope.add(1)
		return true
	}
	a.handled.add(1)
	if batch := m.GetEventBatch(); batch != nil {
		a.messages[pb.MessageType_MESSAGE_TYPE_EVENT].Add(float64(len(batch.GetEvents())))
		for _, event := range batch.GetEvents() {
			a.event(event.GetHeader().GetTimestampUs(), now)
		}
		return true
	}
	a.messages[wire.KindOf(m)].Inc()
	a.event(wire.HeaderOf(m).GetTimestampUs(), now)
	return true
}

// take decodes a record and gives it to those whom it concerns; false where there are none. It makes an error of a panic: what
// a record does must not end the process, which would meet it again after the next start.
func (e *Exporter) take(p *partition, r *kgo.Record) (m *pb.DashStreamMessage, concerns bool, err error) {
	defer func() {
		if recover() != nil {
			err = &wire.Error{Reason: wire.ReasonInternal, Detail: "the message cannot be handled by a fault of the exporter"}
		}
	}()
	if m, err = wire.Decode(r.Value, e.cfg.Limits); err != nil {
		return nil, false, err
	}
	return m, p.tables.Message(m), nil
}

// remember takes up what must be remembered of a record that was counted before.
func (e *Exporter) remember(p *partition, r *kgo.Record) {
	_, _, _ = e.take(p, r) // what is wrong with it was counted then
}

// failed decides what an error means. What it returns ends the membership.
func (s *session) failed(ctx context.Context, topic string, id int32, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && id < 0 || errors.Is(err, context.Canceled) {
		return nil // nothing came
	}
	group := new(kgo.ErrGroupSession)
	if topic != s.e.cfg.Topic {
		s.e.note(err)
		if errors.As(err, &group) {
			return nil // the client goes on trying
		}
		return err
	}
	loss := new(kgo.ErrDataLoss)
	switch {
	case fatal(err):
		return fmt.Errorf("partition %d: %w", id, err)
	case errors.As(err, &loss):
		s.rewind(id, loss)
		return nil
	case errors.Is(err, kerr.OffsetOutOfRange):
		err = s.outOfRange(ctx, id)
		if err == nil {
			return nil
		}
	}
	end := s.endOfUnreadable(ctx, id, err)
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.e.accounts.kafkaErrors.Inc()
	p := s.e.parts[id]
	switch {
	case p == nil:
		return nil
	case p.next < 0:
		return fmt.Errorf("partition %d cannot begin: %w", id, err)
	}
	if end > 0 && p.rebuilding() {
		// It was counted before, and there is nothing in it to remember.
		p.works()
		if p.next = end; !p.rebuilding() {
			p.rebuilt()
		}
		s.goOn(p)
		return nil
	}
	if end > 0 {
		p.works()
		if s.e.policy(p, s.unreadableBatch(id, p.next, end, err)) {
			p.next, p.epoch = end, -1
			s.goOn(p)
		}
		return nil
	}
	p.failed(err, time.Now())
	s.client.PauseFetchPartitions(map[string][]int32{topic: {id}}) // until retry
	return nil
}

// endOfUnreadable returns where a batch ends that could not be read several times; 0 where it is another error, or not
// certain yet.
func (s *session) endOfUnreadable(ctx context.Context, id int32, err error) int64 {
	if !mayBeUnreadable(err) {
		return 0
	}
	s.e.mu.Lock()
	p := s.e.parts[id]
	sure := p != nil && p.next >= 0 && p.fails >= confirmTries
	from := int64(0)
	if sure {
		from = p.next
	}
	s.e.mu.Unlock()
	if !sure {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, s.e.cfg.RequestTimeout)
	defer cancel()
	end, err := s.batchEnd(ctx, id, from)
	if err != nil {
		s.e.log.Debug("where an unreadable batch ends cannot be told", "partition", id, "offset", from, "error", err)
		return 0
	}
	return end
}

// retry goes on with partitions that failed a while ago.
func (s *session) retry() {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	now := time.Now()
	for _, p := range s.e.parts {
		if !p.retryAt.IsZero() && now.After(p.retryAt) {
			p.retryAt = time.Time{}
			s.goOn(p) // the client does not come back to some errors by itself
		}
	}
}

// rewind goes back to where the log was cut: what is there now was not handled.
func (s *session) rewind(id int32, loss *kgo.ErrDataLoss) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	p := s.e.parts[id]
	if p == nil || p.next < 0 || loss.ResetTo >= p.handled() {
		return
	}
	at := s.cut(p, p.handled(), loss.ResetTo)
	p.beginAt(at, at, p.resume)
}

// outOfRange finds out whether retention passed the position or the log was cut below it, and goes on there.
func (s *session) outOfRange(ctx context.Context, id int32) error {
	ctx, cancel := context.WithTimeout(ctx, s.e.cfg.RequestTimeout)
	defer cancel()
	start, end, err := s.bounds(ctx, id)
	if err != nil {
		return err
	}
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	p := s.e.parts[id]
	switch {
	case p == nil || p.next < 0:
		return nil
	case p.next < start:
		s.e.log.Warn("retention removed records before they were read", "partition", id, "from", p.next, "to", start)
		s.e.accounts.lost.WithLabelValues(lostRetention).Add(float64(max(0, start-p.handled())))
		p.epoch = -1
		p.beginAt(max(start, p.countFrom), start, p.resume)
	case p.next > end:
		if p.fails < confirmTries {
			return fmt.Errorf("the log ends at %d, before what was handled: %w", end, kerr.OffsetOutOfRange) // a new leader may know less for a moment
		}
		at := s.cut(p, p.handled(), end)
		p.beginAt(at, at, p.resume)
	}
	p.works()
	s.goOn(p)
	return nil
}

// confirmTries is how often what costs records must be seen before it is believed.
const confirmTries = 3
