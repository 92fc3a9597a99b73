package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

const (
	// historyFetchBytes is asked for at once: large enough that the round trip
	// does not count, small enough that many places in the log fit the cache.
	historyFetchBytes = 1 << 20
	historyMaxWait    = 100 * time.Millisecond
)

// history serves records that the hot tail no longer holds, from Kafka, through
// a cache that all readers share: readers that come back together cost one
// read.
type history struct {
	f *Feed
	g *generation

	// bytes is what the cached pages hold, frames included.
	bytes atomic.Int64
	// count is how many requests were made.
	count atomic.Int64

	mu    sync.Mutex
	parts map[int32]*cachedPartition
	// slots bounds the requests in flight to each broker: one that hangs must
	// not keep readers from the others.
	slots map[int32]chan struct{}
	// clock counts uses, so that the least recently used page goes first.
	clock uint64
}

// cachedPartition holds the cached segments of one partition, ascending, not
// overlapping, and the reads that somebody waits for.
type cachedPartition struct {
	pages []*page
	// wanted holds the reads not begun, by offset.
	wanted map[int64]*flight
	// readers is how many goroutines read; turn counts what they picked.
	readers, turn int
}

type page struct {
	seg  *Segment
	used uint64
}

func (p *page) from() int64 { return p.seg.Moves[0].From }
func (p *page) next() int64 { return p.seg.Moves[0].Next }

// flight is one read and, once done is closed, what it brought.
type flight struct {
	// asked orders flights by when they were first wanted.
	asked uint64
	// waiters is how many readers want it still, guarded by the history's lock.
	waiters int
	done    chan struct{}
	segs    []*Segment
	err     error
}

func newHistory(f *Feed, g *generation) *history {
	return &history{f: f, g: g, parts: map[int32]*cachedPartition{}, slots: map[int32]chan struct{}{}}
}

// errRetained says that the log begins later than the offset asked for.
type errRetained struct{ start int64 }

func (e *errRetained) Error() string {
	return fmt.Sprintf("the log begins at offset %d", e.start)
}

// errTruncated says that the log ends before the offset asked for.
var errTruncated = errors.New("the log ends before the position")

// ask returns a read of the segment that covers the offset, under way or done.
func (h *history) ask(p int32, offset int64) *flight {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.parts[p]
	if c == nil {
		c = &cachedPartition{wanted: map[int64]*flight{}}
		h.parts[p] = c
	}
	if pg := c.find(offset); pg != nil {
		h.clock++
		pg.used = h.clock
		return &flight{done: closed, segs: []*Segment{pg.seg}}
	}
	fl := c.wanted[offset]
	if fl == nil {
		h.clock++
		fl = &flight{asked: h.clock, done: make(chan struct{})}
		c.wanted[offset] = fl
		// A read serves whoever waits for it, so it does not end with the
		// reader that happened to come first.
		if c.readers < partitionReaders {
			c.readers++
			h.f.reads.Go(func() { h.serve(p, c) })
		}
	}
	fl.waiters++
	return fl
}

// leave says that a reader that asked for a read does not want it any more. One that
// nobody wants is not begun: readers that come and go would have others wait for
// what they left behind.
func (h *history) leave(fl *flight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fl.waiters--
}

// closed is the done of a flight that never had to fly.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// wait returns the segment. Errors: [errRetained], [errUnreadable],
// errTruncated, ctx's, or a failure worth another try.
func (fl *flight) wait(ctx context.Context) (*Segment, error) {
	select {
	case <-fl.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if fl.err != nil {
		return nil, fl.err
	}
	return fl.segs[0], nil
}

// partitionReaders is how many reads of one partition may be under way.
const partitionReaders = 2

// serve makes the reads that are wanted of a partition until there are none.
//
// The lowest offset goes first, so that readers who resume from many places
// become one sweep over the log: those ahead wait until it reaches them, and
// then go on together. Every fourth time it is the one that has waited longest,
// so that whoever is far ahead is not starved by newcomers at the start.
func (h *history) serve(p int32, c *cachedPartition) {
	for {
		h.mu.Lock()
		offset, fl := c.pick()
		if fl == nil {
			c.readers--
			h.mu.Unlock()
			return
		}
		delete(c.wanted, offset)
		h.mu.Unlock()

		ctx, cancel := context.WithTimeout(h.f.background, historyMaxWait+h.f.cfg.RequestTimeout)
		segs, err := h.read(ctx, p, offset)
		cancel()

		h.mu.Lock()
		fl.segs, fl.err = segs, err
		close(fl.done)
		if err == nil {
			h.store(c, segs)
			c.answer(segs)
		}
		h.mu.Unlock()
	}
}

// pick chooses the next read, and forgets those that nobody wants.
func (c *cachedPartition) pick() (int64, *flight) {
	c.turn++
	var best int64
	var fl *flight
	for o, f := range c.wanted {
		if f.waiters <= 0 {
			delete(c.wanted, o)
			continue
		}
		if fl == nil || c.turn%4 != 0 && o < best || c.turn%4 == 0 && f.asked < fl.asked {
			best, fl = o, f
		}
	}
	return best, fl
}

// answer ends the waits that a read has answered on its way.
func (c *cachedPartition) answer(segs []*Segment) {
	for o, fl := range c.wanted {
		i := sort.Search(len(segs), func(i int) bool { return segs[i].Moves[0].Next > o })
		if i < len(segs) && segs[i].Moves[0].From <= o {
			fl.segs = segs[i:]
			close(fl.done)
			delete(c.wanted, o)
		}
	}
}

// brokerReads is how many reads one broker is asked for at a time.
const brokerReads = 4

func (h *history) slot(broker int32) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slots[broker] == nil {
		h.slots[broker] = make(chan struct{}, brokerReads)
	}
	return h.slots[broker]
}

func (h *history) read(ctx context.Context, p int32, offset int64) ([]*Segment, error) {
	h.g.mu.Lock()
	if int(p) >= len(h.g.parts) {
		h.g.mu.Unlock()
		return nil, fmt.Errorf("partition %d: %w", p, kerr.UnknownTopicOrPartition)
	}
	leader, epoch := h.g.parts[p].leader, h.g.parts[p].leaderEpoch
	h.g.mu.Unlock()
	slot := h.slot(leader)
	select {
	case slot <- struct{}{}:
		defer func() { <-slot }()
	case <-ctx.Done():
		return nil, fmt.Errorf("read partition %d at offset %d: too many reads wait for broker %d: %w", p, offset, leader, context.Cause(ctx))
	}
	h.count.Add(1)
	h.f.observer.HistoryRead(p)
	answers, err := h.g.fetch(ctx, h.f.past, fetchRequest{
		broker: leader, positions: []fetchPosition{{partition: p, offset: offset, leaderEpoch: epoch}},
		minBytes: 1, maxBytes: historyFetchBytes, partitionBytes: historyFetchBytes, maxWait: historyMaxWait,
	})
	if err != nil {
		return nil, kafkaclient.WithFailure(err, h.f.connections.FailureOf(leader))
	}
	if len(answers) != 1 {
		return nil, fmt.Errorf("fetch partition %d at offset %d: the broker left it out", p, offset)
	}
	a := answers[0]
	if errors.Is(a.err, kerr.OffsetOutOfRange) {
		return nil, h.outOfRange(ctx, p, offset)
	}
	if a.err != nil {
		return nil, fmt.Errorf("fetch partition %d at offset %d: %w", p, offset, a.err)
	}
	if a.next <= offset {
		return nil, fmt.Errorf("fetch partition %d at offset %d: %w", p, offset, errNoProgress)
	}
	var b segmenter
	b.add(p, offset, a.next, a.records)
	return b.segments(), nil
}

func (h *history) outOfRange(ctx context.Context, p int32, offset int64) error {
	starts, err := h.f.offsets(ctx, h.g, atStart)
	start, ok := starts[p]
	if !ok {
		return err
	}
	if offset < start {
		return &errRetained{start: start}
	}
	return fmt.Errorf("fetch partition %d at offset %d: %w", p, offset, errTruncated)
}

// find returns the page that covers the offset.
func (c *cachedPartition) find(offset int64) *page {
	i := sort.Search(len(c.pages), func(i int) bool { return c.pages[i].next() > offset })
	if i < len(c.pages) && c.pages[i].from() <= offset {
		return c.pages[i]
	}
	return nil
}

// store adds the segments of one read, up to the first that overlaps a page
// which is there already: from there on, the cache goes on with what it has.
func (h *history) store(c *cachedPartition, segs []*Segment) {
	// What a reader wants next is the first to stay: where one read is more
	// than the cache holds, as with compressed batches, the far end goes.
	used := h.clock + uint64(len(segs))
	h.clock = used
	for i, s := range segs {
		age := used - uint64(i)
		from := s.Moves[0].From
		at := sort.Search(len(c.pages), func(i int) bool { return c.pages[i].next() > from })
		if at < len(c.pages) && c.pages[at].from() < s.Moves[0].Next {
			if c.pages[at].from() <= from {
				continue
			}
			// Overlaps the next page in part: kept, but cut to what is new.
			s = s.before(c.pages[at].from())
		}
		h.bytes.Add(s.attach(h))
		c.pages = slices.Insert(c.pages, at, &page{seg: s, used: age})
	}
	h.evict()
}

func (h *history) grown(n int64) { h.bytes.Add(n) }

func (h *history) trim() {
	if h.bytes.Load() <= h.f.cfg.CacheBytes {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.evict()
}

// evict drops the pages that were not used for longest until the cache fits. It
// looks at all pages, and then drops a tenth more than it must, so that the look
// is rare.
func (h *history) evict() {
	if h.bytes.Load() <= h.f.cfg.CacheBytes {
		return
	}
	type old struct {
		used uint64
		size int64
	}
	var all []old
	for _, c := range h.parts {
		for _, pg := range c.pages {
			all = append(all, old{pg.used, pg.seg.bytes.Load()})
		}
	}
	slices.SortFunc(all, func(a, b old) int { return int(int64(a.used) - int64(b.used)) })
	goal := h.f.cfg.CacheBytes - h.f.cfg.CacheBytes/10
	left, limit := h.bytes.Load(), uint64(0)
	for _, o := range all {
		if left <= goal {
			break
		}
		left -= o.size
		limit = o.used
	}
	for _, c := range h.parts {
		c.pages = slices.DeleteFunc(c.pages, func(pg *page) bool {
			if pg.used > limit {
				return false
			}
			h.bytes.Add(-pg.seg.detach())
			return true
		})
	}
}

// before returns the part of a segment of one partition that lies below an
// offset.
func (s *Segment) before(offset int64) *Segment {
	m := s.Moves[0]
	n := sort.Search(len(s.Records), func(i int) bool { return s.Records[i].Offset >= offset })
	out := &Segment{Records: s.Records[:n:n], Moves: []Move{{Partition: m.Partition, From: m.From, Next: offset}}}
	var size int64
	for i := range out.Records {
		size += out.Records[i].size()
	}
	out.bytes.Store(size)
	return out
}
