package feed

import (
	"testing"

	"pgregory.net/rapid"
)

// Whatever is appended and dropped: a reader that enters the ring by seek with
// any position finds, at its sequence number, a ring position that is not past
// its own unless the segment was dropped, and positions add up.
func TestRingPositionsAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "partitions")
		start := make([]int64, n)
		for p := range start {
			start[p] = int64(rapid.IntRange(0, 50).Draw(t, "start"))
		}
		r := newRing(int64(rapid.IntRange(500, 20_000).Draw(t, "limit")), start)
		head := append([]int64(nil), start...)
		for range rapid.IntRange(0, 60).Draw(t, "appends") {
			seg := &Segment{}
			for p := range n {
				if !rapid.Bool().Draw(t, "moves") {
					continue
				}
				by := int64(rapid.IntRange(1, 9).Draw(t, "by"))
				seg.Moves = append(seg.Moves, Move{Partition: int32(p), From: head[p], Next: head[p] + by})
				head[p] += by
			}
			if len(seg.Moves) == 0 {
				continue
			}
			seg.bytes.Store(int64(rapid.IntRange(100, 3000).Draw(t, "bytes")))
			r.append(seg)
			if rapid.Bool().Draw(t, "frame") {
				seg.grow(200)
			}
		}
		lo, low := r.startPositions()
		end, _ := r.end()
		for p := range n {
			if got, _ := r.position(lo, int32(p)); got != low[p] {
				t.Fatalf("partition %d: position at lo %d, start %d", p, got, low[p])
			}
			if got, _ := r.position(end, int32(p)); got != head[p] || r.headPositions()[p] != head[p] {
				t.Fatalf("partition %d: position at the end %d, head %d", p, got, head[p])
			}
		}
		cur := make([]int64, n)
		for p := range cur {
			cur[p] = start[p] + int64(rapid.IntRange(0, int(head[p]-start[p])).Draw(t, "cur"))
		}
		seq := r.seek(cur)
		if seq < lo || seq > end {
			t.Fatalf("seek gave %d outside %d..%d", seq, lo, end)
		}
		for p := range n {
			at, _ := r.position(seq, int32(p))
			if at > cur[p] && at != low[p] {
				t.Fatalf("partition %d: seek gave %d, where the ring is at %d, past %d", p, seq, at, cur[p])
			}
		}
		// The positions are those that a walk over the segments gives.
		walk := append([]int64(nil), low...)
		held := int64(0)
		for s := lo; s < end; s++ {
			seg, ok := r.get(s)
			if !ok || seg == nil {
				t.Fatalf("segment %d of %d..%d is missing", s, lo, end)
			}
			for p := range n {
				if at, _ := r.position(s, int32(p)); at != walk[p] {
					t.Fatalf("position(%d, %d) = %d, walking gives %d", s, p, at, walk[p])
				}
			}
			for _, m := range seg.Moves {
				if m.From != walk[m.Partition] {
					t.Fatalf("segment %d moves partition %d from %d, it is at %d", s, m.Partition, m.From, walk[m.Partition])
				}
				walk[m.Partition] = m.Next
			}
			held += seg.bytes.Load() + int64(len(seg.Moves))*24
		}
		if held != r.bytes.Load() {
			t.Fatalf("the ring counts %d bytes and holds %d", r.bytes.Load(), held)
		}
		if r.bytes.Load() > r.limit && end-lo > 1 {
			// A frame that was encoded later may exceed the limit until the next
			// append; a segment alone may always.
			r.append(&Segment{Moves: []Move{{Partition: 0, From: head[0], Next: head[0] + 1}}})
			if lo2, _ := r.startPositions(); r.bytes.Load() > r.limit && lo2 != r.lo {
				t.Fatalf("%d bytes held with a limit of %d", r.bytes.Load(), r.limit)
			}
		}
	})
}
