package feed

import (
	"math"
	"time"
)

// sweep keeps the readers of one partition together who come back from many places
// at once: as long as all of them find in the cache what the first of them had read,
// the log is read once. Otherwise each would read it for itself, and the faster the
// cache turns over, the more.
type sweep struct {
	// places is where readers last asked, the last of them at last.
	places map[*Reader]place
	last   time.Time
	// rearmost is the lowest of them, as of rearAt.
	rearmost int64
	rearAt   time.Time
	// held looks again for reads that wait for the rear, nil where none does.
	held *time.Timer
}

type place struct {
	offset int64
	at     time.Time
}

const (
	// activeFor is how long a reader counts that does not ask: those behind a slow
	// client keep nobody waiting.
	activeFor = 200 * time.Millisecond
	// rearAge is how old the look at all readers may be.
	rearAge = 5 * time.Millisecond
	// holdAgain is when to look again for what is held, at the latest.
	holdAgain = 20 * time.Millisecond
)

// asked notes where a reader is.
func (s *sweep) asked(r *Reader, offset int64, now time.Time) {
	s.places[r], s.last = place{offset, now}, now
	if now.Sub(s.rearAt) > activeFor {
		s.rear(offset, now) // forgets those who are gone
	}
}

// rear returns where the last of the active readers is, at most at.
func (s *sweep) rear(at int64, now time.Time) int64 {
	if now.Sub(s.rearAt) >= rearAge {
		s.rearmost, s.rearAt = math.MaxInt64, now
		for r, p := range s.places {
			if now.Sub(p.at) > activeFor {
				delete(s.places, r)
				continue
			}
			s.rearmost = min(s.rearmost, p.offset)
		}
	}
	return min(at, s.rearmost)
}

// window returns how many offsets may lie between the first and the last reader of
// a sweep: half of what the cache holds, shared by the partitions that are read. The
// caller holds h.mu.
func (h *history) window(c *cachedPartition, now time.Time) int64 {
	if c.span == 0 || c.weight == 0 {
		return math.MaxInt64
	}
	swept := int64(0)
	for _, other := range h.parts {
		if now.Sub(other.sweep.last) <= activeFor {
			swept++
		}
	}
	return max(c.span, h.f.cfg.CacheBytes/2/max(1, swept)*c.span/c.weight)
}

// hold looks again soon for the reads of a partition that wait for the rear of its
// sweep. The caller holds h.mu.
func (h *history) hold(p int32, c *cachedPartition) {
	if c.sweep.held != nil {
		return
	}
	c.sweep.held = time.AfterFunc(holdAgain, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		c.sweep.held = nil
		if h.f.background.Err() == nil {
			h.fly(p, c)
		}
	})
}
