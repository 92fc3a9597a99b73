package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// Live reading: one goroutine for each broker that leads a partition, long
// polling all partitions it leads; one supervisor that keeps the metadata
// fresh. Whatever fails is retried for ever, with backoff, by partition.

const (
	liveMaxWait        = 500 * time.Millisecond
	liveMaxBytes       = 16 << 20
	livePartitionBytes = 1 << 20
	// liveRoom is when decoding an answer stops. Well-compressed text should not get
	// there, since what is left over was sent in vain.
	liveRoom   = 64 << 20
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
	// unknownInterval is how often the positions of partitions that have none are
	// asked for.
	unknownInterval = 500 * time.Millisecond
	// confirmTries is how often a condition that costs records must be seen
	// before it is believed: an unreadable batch, a log that ends before our
	// position.
	confirmTries = 3
)

// backoff grows from minBackoff to maxBackoff, with half of it random, so that
// many readers do not come back together.
func backoff(fails int) time.Duration {
	d := maxBackoff
	if fails < 7 {
		d = min(maxBackoff, minBackoff<<max(0, fails-1))
	}
	return d/2 + rand.N(d/2+1)
}

// supervisor runs the live reading of one generation.
type supervisor struct {
	f *Feed
	g *generation

	kick  chan struct{}
	ended chan ResetReason

	mu      sync.Mutex
	running map[int32]*brokerLoop
	wg      sync.WaitGroup
}

// live reads the generation until ctx ends, or returns why another generation
// has to follow.
func (f *Feed) live(ctx context.Context, g *generation) ResetReason {
	ctx, cancel := context.WithCancel(ctx)
	s := &supervisor{f: f, g: g, kick: make(chan struct{}, 1), ended: make(chan ResetReason, 1), running: map[int32]*brokerLoop{}}
	f.super.Store(s)
	defer f.super.Store(nil)
	defer s.wg.Wait()
	defer cancel()

	ticker := time.NewTicker(f.cfg.RefreshInterval)
	defer ticker.Stop()
	var lastLook time.Time
	for {
		s.startReaders(ctx)
		f.beat()
		var again <-chan time.Time
		if g.hasUnknown() {
			again = time.After(unknownInterval)
		}
		select {
		case <-ctx.Done():
			return 0
		case <-again:
		case reason := <-s.ended:
			return reason
		case <-ticker.C:
		case <-s.kick:
			// A broker that fails is asked about by every partition it leads;
			// one look answers them all.
			if wait := minBackoff*4 - time.Since(lastLook); wait > 0 {
				select {
				case <-ctx.Done():
					return 0
				case <-time.After(wait):
				}
			}
		}
		lastLook = time.Now()
		reason, err := f.refresh(ctx, g)
		if ctx.Err() != nil {
			return 0
		}
		f.noteMetadata(err)
		if reason != 0 {
			return reason
		}
	}
}

// look asks the supervisor for fresh metadata soon.
func (s *supervisor) look() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *supervisor) endGeneration(reason ResetReason) {
	select {
	case s.ended <- reason:
	default:
	}
}

func (s *supervisor) startReaders(ctx context.Context) {
	for _, broker := range s.g.leaders() {
		s.mu.Lock()
		loop := s.running[broker]
		if loop == nil {
			loop = &brokerLoop{}
			loop.turn(s.f.cfg.RequestTimeout)
			s.running[broker] = loop
			s.wg.Go(func() { s.readBroker(ctx, broker, loop) })
		}
		s.mu.Unlock()
	}
}

// stopReader takes the reader of a broker off the list if it leads nothing.
// Checked together with the list, so that no partition falls between a reader
// that ends and one that is not started.
func (s *supervisor) stopReader(broker int32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	for _, p := range s.g.parts {
		if p.leader == broker && p.next >= 0 {
			return false
		}
	}
	delete(s.running, broker)
	return true
}

// readBroker polls one broker for the partitions that it leads.
func (s *supervisor) readBroker(ctx context.Context, broker int32, loop *brokerLoop) {
	for turn := 0; ctx.Err() == nil; turn++ {
		loop.turn(s.f.cfg.RequestTimeout)
		if unproven := s.g.unproven(broker, time.Now()); len(unproven) > 0 {
			s.prove(ctx, broker, unproven, loop)
		}
		positions, wait := s.g.due(broker, time.Now(), turn)
		if len(positions) == 0 {
			if wait == 0 {
				loop.answered() // it has nothing to say
				if s.stopReader(broker) {
					return
				}
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			continue
		}
		loop.asked()
		rctx, cancel := context.WithTimeout(ctx, liveMaxWait+s.f.cfg.RequestTimeout)
		answers, err := s.g.fetch(rctx, s.f.tail, fetchRequest{
			broker: broker, positions: positions, minBytes: 1, maxBytes: liveMaxBytes, partitionBytes: livePartitionBytes, maxWait: liveMaxWait, room: liveRoom,
		})
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.requestFailed(positions, kafkaclient.WithFailure(err, s.f.connections.FailureOf(broker)))
			continue
		}
		loop.answered()
		if n := s.take(ctx, answers); 0 < n && n < segmentBytes {
			if d := s.f.cfg.Linger(s.readers()); d > 0 {
				select {
				case <-ctx.Done():
				case <-time.After(d):
				}
			}
		}
	}
}

// requestFailed notes the failure of a whole request.
func (s *supervisor) requestFailed(positions []fetchPosition, err error) {
	s.f.observer.RequestError(err)
	for _, pos := range positions {
		s.g.fail(pos.partition, pos.offset, err)
	}
	s.look()
}

// readers returns how many brokers are read.
func (s *supervisor) readers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running)
}

// take applies the answers of one response and returns the size of its records.
func (s *supervisor) take(ctx context.Context, answers []fetched) (decoded int) {
	for _, seg := range s.g.advance(answers) {
		s.f.observer.Segment(seg)
		decoded += seg.Decoded()
	}
	for _, a := range answers {
		if a.err != nil {
			s.handle(ctx, a)
		}
	}
	return decoded
}

// handle decides what a partition's error means.
func (s *supervisor) handle(ctx context.Context, a fetched) {
	s.f.observer.PartitionError(a.partition, a.err)
	fails := s.g.fail(a.partition, a.from, a.err)
	var unreadable *errUnreadable
	switch {
	case errors.Is(a.err, kerr.OffsetOutOfRange):
		s.outOfRange(ctx, a, fails)
	case errors.As(a.err, &unreadable):
		if fails >= confirmTries {
			s.skip(a.partition, a.from, listed{offset: unreadable.End, epoch: -1}, GapUnreadable)
		}
	case errors.Is(a.err, errNoProgress):
	default:
		// Leadership moved, the topic is gone or new, or access was taken
		// away: the metadata tells.
		s.look()
	}
}

// outOfRange finds out whether retention passed the position or the log was cut
// below it.
func (s *supervisor) outOfRange(ctx context.Context, a fetched, fails int) {
	starts, err := s.f.offsets(ctx, s.g, atStart)
	start, ok := starts[a.partition]
	if !ok {
		s.f.observer.RequestError(err)
		return
	}
	if a.from < start.offset {
		s.skip(a.partition, a.from, start, GapRetention)
		return
	}
	ends, err := s.f.offsets(ctx, s.g, atEnd)
	end, ok := ends[a.partition]
	if !ok {
		s.f.observer.RequestError(err)
		return
	}
	// A new leader may know less for a moment, so this is asked again before
	// it is believed. A new incarnation of the topic shows in the metadata.
	if a.from > end.offset && fails >= confirmTries {
		s.f.log.Warn("log ends before our position", "partition", a.partition, "position", a.from, "end", end.offset)
		s.endGeneration(ResetTruncated)
		return
	}
	s.look()
}

func (s *supervisor) skip(p int32, from int64, to listed, reason GapReason) {
	if seg := s.g.skip(p, from, to, reason); seg != nil {
		s.f.log.Warn("records will not come", "partition", p, "from", from, "to", to.offset, "reason", reason.String())
		s.f.observer.Segment(seg)
	}
}

// due lists the partitions that a broker leads and that may be asked for now,
// each turn beginning with another, since a broker fills a response in the
// order of the request. With none due it returns how long to wait, or 0 when
// the broker leads nothing.
func (g *generation) due(broker int32, now time.Time, turn int) ([]fetchPosition, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []fetchPosition
	var wait time.Duration
	for i := range g.parts {
		p := g.parts[(i+turn)%len(g.parts)]
		if p.leader != broker || p.next < 0 {
			continue
		}
		d := p.retryAt.Sub(now)
		if p.unproven {
			d = max(d, minBackoff) // a turn of its own comes before
		}
		if d > 0 {
			if wait == 0 || d < wait {
				wait = d
			}
			continue
		}
		out = append(out, fetchPosition{partition: p.id, offset: p.next, leaderEpoch: p.leaderEpoch})
	}
	return out, wait
}

// advance puts the records of a response into the hot tail.
func (g *generation) advance(answers []fetched) []*Segment {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := segmenter{maxRecord: g.maxRecord}
	for _, a := range answers {
		p := g.parts[a.partition]
		// Another reader may have moved the partition since the request was
		// made, after its leader changed.
		if a.err != nil || p.next != a.from {
			continue
		}
		if a.leaderEpoch != p.leaderEpoch {
			continue // the leader that follows may lack it, and is asked for it
		}
		p.err, p.fails, p.retryAt = nil, 0, time.Time{}
		if a.highWatermark >= 0 {
			p.highWatermark = a.highWatermark
		}
		if a.logStart >= 0 {
			p.logStart = a.logStart
		}
		b.add(a)
		p.next = a.next
		if a.epoch >= 0 {
			p.lastEpoch = a.epoch
		}
		p.highWatermark = max(p.highWatermark, p.next)
	}
	segs := b.segments()
	g.ring.append(segs...)
	return segs
}

// fail notes a partition's failure and returns how many came in a row.
func (g *generation) fail(id int32, at int64, err error) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.parts[id]
	if p.next != at {
		return 0
	}
	now := time.Now()
	if p.err == nil {
		p.errSince = now
	}
	p.err = fmt.Errorf("partition %d at offset %d: %w", id, at, err)
	p.fails++
	p.retryAt = now.Add(backoff(p.fails))
	return p.fails
}

// skip moves the live position past offsets that will not come, and says so in
// the hot tail. It returns nil when the position moved meanwhile.
func (g *generation) skip(id int32, from int64, to listed, reason GapReason) *Segment {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.parts[id]
	if p.next != from || to.offset <= from {
		return nil
	}
	seg := &Segment{
		Moves: []Move{{Partition: id, From: from, Next: to.offset, Epoch: to.epoch}},
		Gap:   &Gap{Partition: id, From: from, To: to.offset, Reason: reason},
	}
	p.next, p.err, p.fails, p.retryAt, p.lastEpoch = to.offset, nil, 0, time.Time{}, to.epoch
	if reason == GapRetention {
		p.logStart = to.offset
	}
	p.highWatermark = max(p.highWatermark, to.offset)
	g.ring.append(seg)
	return seg
}
