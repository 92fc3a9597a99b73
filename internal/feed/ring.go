package feed

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// ring is the hot tail: the newest segments of all partitions in the order of
// their arrival, bounded in bytes. Appends come from one goroutine at a time;
// any number of readers look on.
type ring struct {
	limit int64
	bytes atomic.Int64

	mu   sync.RWMutex
	segs []*Segment // segs[i].seq == lo+i
	lo   uint64
	// start and head hold, by partition, the next offset at lo and after the
	// newest segment.
	start, head []int64
	// at holds, by partition, the sequence numbers of the segments in the ring
	// that move it, ascending.
	at [][]uint64
	// changed is closed and replaced on every append.
	changed chan struct{}
}

func newRing(limit int64, start []int64) *ring {
	return &ring{
		limit:   limit,
		lo:      1, // so that 0 is never a position
		start:   slices.Clone(start),
		head:    slices.Clone(start),
		at:      make([][]uint64, len(start)),
		changed: make(chan struct{}),
	}
}

// append adds segments whose moves continue the head of their partitions, and
// drops the oldest while the ring is over its limit. The newest segment always
// stays.
func (r *ring) append(segs ...*Segment) {
	if len(segs) == 0 {
		return
	}
	r.mu.Lock()
	for _, s := range segs {
		s.seq = r.lo + uint64(len(r.segs))
		r.bytes.Add(s.attach(r) + int64(len(s.Moves))*24)
		r.segs = append(r.segs, s)
		if s.Growth != nil {
			r.head = s.Growth.apply(r.head)
			r.at = append(r.at, make([][]uint64, len(r.head)-len(r.at))...)
		}
		for _, m := range s.Moves {
			r.head[m.Partition] = m.Next
			r.at[m.Partition] = append(r.at[m.Partition], s.seq)
		}
	}
	r.evictOver()
	changed := r.changed
	r.changed = make(chan struct{})
	r.mu.Unlock()
	close(changed)
}

// apply gives the partitions that a growth announces their place in a list of
// positions.
func (g *Growth) apply(positions []int64) []int64 {
	for p, o := range g.Start {
		if int(p) < len(positions) && positions[p] < 0 {
			positions[p] = o
		}
	}
	for p := int32(len(positions)); g.announces(p); p++ {
		positions = append(positions, g.Start[p])
	}
	return positions
}

func (g *Growth) announces(p int32) bool {
	_, ok := g.Start[p]
	return ok
}

func (r *ring) grown(n int64) { r.bytes.Add(n) }

func (r *ring) trim() {
	if r.bytes.Load() <= r.limit {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.evictOver()
}

func (r *ring) evictOver() {
	for r.bytes.Load() > r.limit && len(r.segs) > 1 {
		r.evict()
	}
}

func (r *ring) evict() {
	s := r.segs[0]
	r.segs[0] = nil
	r.segs = r.segs[1:]
	r.lo++
	r.bytes.Add(-s.detach() - int64(len(s.Moves))*24)
	if s.Growth != nil {
		r.start = s.Growth.apply(r.start)
	}
	for _, m := range s.Moves {
		r.start[m.Partition] = m.Next
		r.at[m.Partition] = r.at[m.Partition][1:]
	}
}

// get returns the segment at seq; nil when seq is the end. ok is false when
// the segment was dropped.
func (r *ring) get(seq uint64) (s *Segment, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if seq < r.lo {
		return nil, false
	}
	if i := seq - r.lo; i < uint64(len(r.segs)) {
		return r.segs[i], true
	}
	return nil, true
}

// end returns the sequence number that the next segment will get, and a
// channel that is closed when it is there.
func (r *ring) end() (uint64, <-chan struct{}) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lo + uint64(len(r.segs)), r.changed
}

// since returns the segments from seq on that are still held, the sequence
// number after them, and a channel that is closed when more come.
func (r *ring) since(seq uint64) ([]*Segment, uint64, <-chan struct{}) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	from := max(seq, r.lo) - r.lo
	return slices.Clone(r.segs[from:]), r.lo + uint64(len(r.segs)), r.changed
}

// seek returns the highest sequence number at which no partition of the ring
// has moved past the given positions, or the lowest held.
func (r *ring) seek(cur []int64) uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	seq := r.lo + uint64(len(r.segs))
	for p, at := range r.at {
		if p >= len(cur) || cur[p] < 0 && r.head[p] >= 0 {
			// A partition that the reader does not know yet: it must pass the
			// segment that announces it.
			for i, s := range r.segs {
				if s.Growth != nil && s.Growth.announces(int32(p)) {
					seq = min(seq, r.lo+uint64(i))
					break
				}
			}
			continue
		}
		if r.head[p] <= cur[p] {
			continue
		}
		// The first segment that ends past the position.
		i := sort.Search(len(at), func(i int) bool { return r.next(at[i], int32(p)) > cur[p] })
		if i < len(at) {
			seq = min(seq, at[i])
		}
	}
	return seq
}

// position returns the next offset of a partition at seq: what a reader that
// took every segment before seq has reached.
func (r *ring) position(seq uint64, p int32) (int64, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if int(p) >= len(r.head) {
		return 0, false
	}
	at := r.at[p]
	i := sort.Search(len(at), func(i int) bool { return at[i] >= seq })
	if i == len(at) {
		return r.head[p], true
	}
	for _, m := range r.segs[at[i]-r.lo].Moves {
		if m.Partition == p {
			return m.From, true
		}
	}
	return r.head[p], true
}

func (r *ring) next(seq uint64, p int32) int64 {
	for _, m := range r.segs[seq-r.lo].Moves {
		if m.Partition == p {
			return m.Next
		}
	}
	return 0
}

// startPositions returns the next offsets at the oldest segment held, and its
// sequence number.
func (r *ring) startPositions() (uint64, []int64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lo, slices.Clone(r.start)
}

// headPositions returns the next offsets after the newest segment.
func (r *ring) headPositions() []int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.head)
}
