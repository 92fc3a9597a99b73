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
	// historyBytes is what a read should bring, decompressed: large enough that the
	// round trip does not count, small enough that many places in the log fit the
	// cache.
	historyBytes = 2 << 20
	// What is asked for to get it; a broker returns at least one batch.
	minHistoryFetch = 64 << 10
	maxHistoryFetch = 1 << 20
	// historyRoom is when decoding stops. What it leaves was sent in vain.
	historyRoom    = 4 * historyBytes
	historyMaxWait = 100 * time.Millisecond
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
	// flying holds the offsets that are read now; turn counts what was picked.
	flying []int64
	turn   int
	// span is how many offsets the last read covered, 0 before there was one, and
	// weight what they take in memory.
	span, weight int64
	sweep        sweep
	// fetchBytes is asked for next, by how well the last answer was compressed.
	fetchBytes int32
}

func newCachedPartition() *cachedPartition {
	return &cachedPartition{wanted: map[int64]*flight{}, fetchBytes: maxHistoryFetch, sweep: sweep{places: map[*Reader]place{}}}
}

type page struct {
	seg  *Segment
	used uint64
}

func (p *page) from() int64 { return p.seg.Moves[0].From }
func (p *page) next() int64 { return p.seg.Moves[0].Next }

// flight is one read and, once done is closed, what it brought.
type flight struct {
	// asked orders flights by when they were first wanted; since is when somebody last
	// said so.
	asked uint64
	since time.Time
	done  chan struct{}
	// at is when it was done.
	at  time.Time
	err error
	// seg is nil where nobody watched when it came: then the cache may have it. A
	// reader whose client takes its time holds no records meanwhile.
	seg *Segment
	// watchers are woken when it is done; guarded by the history's lock.
	watchers []chan<- struct{}
}

func (fl *flight) isDone() bool {
	select {
	case <-fl.done:
		return true
	default:
		return false
	}
}

// result returns what the read brought; ok is false while it is under way, and where
// the cache has to be asked for what it brought.
func (fl *flight) result() (seg *Segment, ok bool, err error) {
	if fl == nil || !fl.isDone() {
		return nil, false, nil
	}
	return fl.seg, fl.seg != nil || fl.err != nil, fl.err
}

// finish tells what a read brought. The caller holds h.mu.
func (fl *flight) finish(seg *Segment, err error) {
	if len(fl.watchers) > 0 {
		fl.seg = seg
	}
	fl.err, fl.at = err, time.Now()
	close(fl.done)
	for _, wake := range fl.watchers {
		select {
		case wake <- struct{}{}:
		default: // woken already
		}
	}
	fl.watchers = nil
}

// watch has wake, which must have room for one, filled when one of the reads is
// done. It returns false if one is.
func (h *history) watch(reads []*flight, wake chan<- struct{}) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.ContainsFunc(reads, (*flight).isDone) {
		return false
	}
	for _, fl := range reads {
		fl.watchers = append(fl.watchers, wake)
	}
	return true
}

// unwatch takes watch back.
func (h *history) unwatch(reads []*flight, wake chan<- struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, fl := range reads {
		fl.watchers = slices.DeleteFunc(fl.watchers, func(w chan<- struct{}) bool { return w == wake })
	}
}

func newHistory(f *Feed, g *generation) *history {
	return &history{f: f, g: g, parts: map[int32]*cachedPartition{}, slots: map[int32]chan struct{}{}}
}

// errRetained says that the log begins later than the offset asked for.
type errRetained struct{ start listed }

func (e *errRetained) Error() string {
	return fmt.Sprintf("the log begins at offset %d", e.start.offset)
}

// errTruncated says that the log ends before the offset asked for.
var errTruncated = errors.New("the log ends before the position")

// ask returns, for a reader, a read of the segment that covers the offset, under way
// or done. Its errors are [errRetained], [errUnreadable], errTruncated, or a failure
// worth another try.
func (h *history) ask(r *Reader, p int32, offset int64) *flight {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.parts[p]
	if c == nil {
		c = newCachedPartition()
		h.parts[p] = c
	}
	now := time.Now()
	c.sweep.asked(r, offset, now)
	if pg := c.find(offset); pg != nil {
		h.clock++
		pg.used = h.clock
		if c.sweep.held != nil {
			h.fly(p, c)
		}
		return &flight{done: closed, seg: pg.seg}
	}
	fl := c.wanted[offset]
	if fl != nil {
		fl.since = now
	} else {
		h.clock++
		fl = &flight{asked: h.clock, since: now, done: make(chan struct{})}
		c.wanted[offset] = fl
		// A read serves whoever waits for it, so it does not end with the
		// reader that happened to come first.
		h.fly(p, c)
	}
	return fl
}

// closed is the done of a flight that never had to fly.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// partitionReaders is how many reads of one partition may be under way.
const partitionReaders = 2

// fly begins the reads that are wanted of a partition, as many as may be under way.
// The caller holds h.mu.
//
// The lowest offset goes first, so that readers who resume from many places
// become one sweep over the log: those ahead wait until it reaches them, and
// then go on together. Every fourth time it is the one that has waited longest,
// so that whoever is far ahead is not starved by newcomers at the start.
func (h *history) fly(p int32, c *cachedPartition) {
	for len(c.flying) < partitionReaders {
		now := time.Now()
		offset, fl := c.pick(h.window(c, now), now)
		if fl == nil {
			if len(c.wanted) > 0 && len(c.flying) == 0 {
				h.hold(p, c)
			}
			return
		}
		delete(c.wanted, offset)
		c.flying = append(c.flying, offset)
		size := c.fetchBytes
		h.f.reads.Go(func() { h.serve(p, c, offset, fl, size) })
	}
}

// serve makes one read, for all who wait for what it brings.
func (h *history) serve(p int32, c *cachedPartition, offset int64, fl *flight, size int32) {
	ctx, cancel := context.WithTimeout(h.f.background, historyMaxWait+h.f.cfg.RequestTimeout)
	defer cancel()
	segs, sent, err := h.read(ctx, p, offset, size)

	h.mu.Lock()
	defer h.mu.Unlock()
	c.flying = slices.DeleteFunc(c.flying, func(o int64) bool { return o == offset })
	if err != nil {
		fl.finish(nil, err)
	} else {
		c.span, c.weight = segs[len(segs)-1].Moves[0].Next-offset, 0
		for _, s := range segs {
			c.weight += 2 * s.bytes.Load() // with a frame of each record
		}
		c.learnSize(segs, sent)
		h.store(c, segs)
		fl.finish(segs[0], nil)
		c.answer(segs)
	}
	h.fly(p, c)
}

// pick chooses the next read: none that one under way will answer, as far as the
// last tells, none that is further ahead of the sweep than the window, and none that
// nobody waits for before those that somebody does. What readers left behind who
// have gone is forgotten.
func (c *cachedPartition) pick(window int64, now time.Time) (int64, *flight) {
	var best int64
	var fl *flight
	fair := (c.turn+1)%4 == 0
	for o, f := range c.wanted {
		if len(f.watchers) == 0 && now.Sub(f.since) > readPatience {
			f.finish(nil, nil)
			delete(c.wanted, o)
			continue
		}
		if slices.ContainsFunc(c.flying, func(from int64) bool { return from <= o && (c.span == 0 || o < from+c.span) }) {
			continue
		}
		if fl == nil || f.before(fl, fair, o < best) {
			best, fl = o, f
		}
	}
	if fl == nil || !fair && best-c.sweep.rear(best, now) > window {
		return 0, nil
	}
	c.turn++
	return best, fl
}

// before reports whether a read begins before another.
func (fl *flight) before(other *flight, fair, lower bool) bool {
	switch {
	case (len(fl.watchers) > 0) != (len(other.watchers) > 0):
		return len(fl.watchers) > 0
	case fair:
		return fl.asked < other.asked
	default:
		return lower
	}
}

// learnSize finds how much to ask for by what the last answer was compressed to.
func (c *cachedPartition) learnSize(segs []*Segment, sent int) {
	decoded := 0
	for _, s := range segs {
		decoded += s.decoded
	}
	if decoded > 0 && sent > 0 {
		c.fetchBytes = int32(min(maxHistoryFetch, max(minHistoryFetch, int64(historyBytes)*int64(sent)/int64(decoded))))
	}
}

// answer ends the waits that a read has answered on its way.
func (c *cachedPartition) answer(segs []*Segment) {
	for o, fl := range c.wanted {
		i := sort.Search(len(segs), func(i int) bool { return segs[i].Moves[0].Next > o })
		if i < len(segs) && segs[i].Moves[0].From <= o {
			fl.finish(segs[i], nil)
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

// read fetches from one partition, and returns the segments and the bytes that the
// broker sent.
func (h *history) read(ctx context.Context, p int32, offset int64, size int32) (segs []*Segment, sent int, err error) {
	h.g.mu.Lock()
	if int(p) >= len(h.g.parts) {
		h.g.mu.Unlock()
		return nil, 0, fmt.Errorf("partition %d: %w", p, kerr.UnknownTopicOrPartition)
	}
	leader, epoch := h.g.parts[p].leader, h.g.parts[p].leaderEpoch
	h.g.mu.Unlock()
	slot := h.slot(leader)
	select {
	case slot <- struct{}{}:
		defer func() { <-slot }()
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("read partition %d at offset %d: too many reads wait for broker %d: %w", p, offset, leader, context.Cause(ctx))
	}
	h.count.Add(1)
	h.f.observer.HistoryRead(p)
	answers, err := h.g.fetch(ctx, h.f.past, fetchRequest{
		broker: leader, positions: []fetchPosition{{partition: p, offset: offset, leaderEpoch: epoch}},
		minBytes: 1, maxBytes: size, partitionBytes: size, maxWait: historyMaxWait, room: historyRoom,
	})
	if err != nil {
		return nil, 0, kafkaclient.WithFailure(err, h.f.connections.FailureOf(leader))
	}
	if len(answers) != 1 {
		return nil, 0, fmt.Errorf("fetch partition %d at offset %d: the broker left it out", p, offset)
	}
	a := answers[0]
	if errors.Is(a.err, kerr.OffsetOutOfRange) {
		return nil, 0, h.outOfRange(ctx, p, offset)
	}
	if a.err != nil {
		return nil, 0, fmt.Errorf("fetch partition %d at offset %d: %w", p, offset, a.err)
	}
	if a.next <= offset {
		return nil, 0, fmt.Errorf("fetch partition %d at offset %d: %w", p, offset, errNoProgress)
	}
	b := segmenter{maxRecord: h.g.maxRecord}
	b.add(a)
	segs, err = h.proven(p, offset, epoch, b.segments())
	return segs, a.sent, err
}

func (h *history) outOfRange(ctx context.Context, p int32, offset int64) error {
	starts, err := h.f.offsets(ctx, h.g, atStart)
	start, ok := starts[p]
	if !ok {
		return err
	}
	if offset < start.offset {
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
	out := &Segment{maxRecord: s.maxRecord, Records: s.Records[:n:n], Moves: []Move{{Partition: m.Partition, From: m.From, Next: offset, Epoch: m.Epoch}}}
	var size int64
	for i := range out.Records {
		size += out.Records[i].size()
	}
	out.bytes.Store(size)
	return out
}
