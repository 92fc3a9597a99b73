package exporter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/dashflow/dashstream/dashstreampb"
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
	fetches.EachError(func(topic string, id int32, err error) {
		if failed == nil && ctx.Err() == nil {
			failed = s.failed(ctx, topic, id, err)
		}
	})
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		if len(f.Records) > 0 && f.Topic == s.e.cfg.Topic {
			s.e.handle(f.FetchPartition)
		}
	})
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
	if p == nil || p.next < 0 {
		return // the client gives none of a partition that was taken away
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
		if r.Offset > p.next {
			reason := lostAbsent
			if f.LogStartOffset > p.next {
				reason = lostRetention
			}
			e.accounts.lost.WithLabelValues(reason).Add(float64(r.Offset - p.next))
			e.log.Warn("there are no records where some should be", "partition", p.id, "from", p.next, "to", r.Offset, "reason", reason)
		}
		if !r.Attrs.IsControl() {
			p.tick(earlier(r.Timestamp, now))
			e.record(p, r, now)
		}
		p.next, p.epoch = r.Offset+1, r.LeaderEpoch
	}
	p.end = max(p.end, p.next)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// record takes one record to its one outcome.
func (e *Exporter) record(p *partition, r *kgo.Record, now time.Time) {
	a := e.accounts
	a.received.add(1)
	if r.Offset < e.past[p.id] {
		// What is remembered of it was forgotten when the partition was taken away.
		a.ignored[ignoredRedelivered].add(1)
		p.tables.Rebuild(true)
		defer p.tables.Rebuild(false)
		if m, err := e.reader.Read(r.Value, e.cfg.Limits); err == nil {
			e.apply(p, &m)
		}
		return
	}
	m, err := e.reader.Read(r.Value, e.cfg.Limits)
	if err != nil {
		a.bad(wire.ReasonOf(err))
		return
	}
	a.handledAt(r.Timestamp, now)
	if !e.apply(p, &m) {
		a.wrongScope.add(1)
		return
	}
	a.handled.add(1)
	if m.Full != nil {
		a.messages[m.Kind].Inc()
		a.event(m.Header.TimestampUS, now)
		return
	}
	a.messages[pb.MessageType_MESSAGE_TYPE_EVENT].Add(float64(len(m.Events)))
	for i := range m.Events {
		a.event(m.Events[i].TimestampUS, now)
	}
}

// apply gives a message to those whom it concerns; false where there are none.
func (e *Exporter) apply(p *partition, m *wire.Message) bool {
	if m.Full != nil {
		return p.tables.Message(&m.Header, m.Full)
	}
	for i := range m.Events {
		p.tables.Event(&m.Events[i])
	}
	return true
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
	p.failed(err, time.Now())
	s.client.PauseFetchPartitions(map[string][]int32{topic: {id}}) // until retry
	return nil
}

// retry goes on with partitions that failed a while ago.
func (s *session) retry() {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	now := time.Now()
	for id, p := range s.e.parts {
		if !p.retryAt.IsZero() && now.After(p.retryAt) {
			p.retryAt = time.Time{}
			s.client.ResumeFetchPartitions(map[string][]int32{s.e.cfg.Topic: {id}})
		}
	}
}

// rewind goes back to where the log was cut: what is there now was not handled.
func (s *session) rewind(id int32, loss *kgo.ErrDataLoss) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	p := s.e.parts[id]
	if p == nil || p.next < 0 || loss.ResetTo >= p.next {
		return
	}
	p.next = s.cut(p, p.next, loss.ResetTo)
	delete(s.e.past, id)
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
		s.e.accounts.lost.WithLabelValues(lostRetention).Add(float64(start - p.next))
		p.next, p.epoch = start, -1
	case p.next > end:
		if p.fails < confirmTries {
			return fmt.Errorf("the log ends at %d, before what was handled: %w", end, kerr.OffsetOutOfRange) // a new leader may know less for a moment
		}
		p.next = s.cut(p, p.next, end)
		delete(s.e.past, id)
	}
	p.works()
	s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{s.e.cfg.Topic: {id: {Epoch: p.epoch, Offset: p.next}}})
	return nil
}

// confirmTries is how often what costs records must be seen before it is believed.
const confirmTries = 3
