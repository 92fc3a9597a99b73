package feed

import "testing"

// The segment that announces a partition may be dropped before a reader that
// does not know the partition comes to records of it.
func TestAReaderLearnsAPartitionWhoseAnnouncementIsGone(t *testing.T) {
	t.Parallel()
	g := &generation{ring: newRing(1, []int64{0}), ended: make(chan struct{}), added: map[int32]beginning{1: {}}}
	g.parts = []*partition{{id: 0}, {id: 1}}
	r := &Reader{g: g, cur: []int64{0}, epochs: []int32{-1}, seq: 1}
	g.ring.append(&Segment{Growth: &Growth{Start: map[int32]int64{1: 0}}})
	for i := range int64(3) {
		seg := &Segment{Records: []Record{{Partition: 1, Offset: i}}, Moves: []Move{{Partition: 1, From: i, Next: i + 1}}}
		seg.bytes.Store(100)
		g.ring.append(seg) // a limit of one byte: the one before is dropped
	}
	for name, at := range map[string]uint64{"behind": 1, "at the segment": 4} {
		r := &Reader{g: r.g, cur: []int64{0}, epochs: []int32{-1}, seq: at}
		step, ok, _ := r.TryNext()
		if !ok || step.Growth == nil || step.Growth.Start[1] != 0 {
			t.Errorf("%s: step %+v, want the new partition from its first offset", name, step)
			continue
		}
		if len(r.behind) != 1 || r.behind[0].partition != 1 {
			t.Errorf("%s: lagging %+v, want partition 1, whose first records were dropped", name, r.behind)
		}
	}
}

// A partition that becomes known before CaughtUp may have held records when the
// reader began: CaughtUp waits for it.
func TestCaughtUpWaitsForAPartitionThatBecameKnown(t *testing.T) {
	t.Parallel()
	g := &generation{ring: newRing(1<<20, []int64{0}), ended: make(chan struct{}), added: map[int32]beginning{1: {}}}
	g.parts = []*partition{{id: 0}, {id: 1}}
	r := &Reader{g: g, cur: []int64{0}, epochs: []int32{-1}, seq: 1, target: []int64{1}}
	g.ring.append(&Segment{Growth: &Growth{Start: map[int32]int64{1: 0}}})
	g.ring.append(&Segment{Records: []Record{{Partition: 0}}, Moves: []Move{{Partition: 0, From: 0, Next: 1}}})
	for {
		step, ok, parked := r.TryNext()
		if step.CaughtUp {
			t.Fatal("caught up before the end of the new partition was asked for")
		}
		if !ok {
			if parked {
				t.Error("parked, so that nobody asks for the end of the new partition")
			}
			return
		}
	}
}
