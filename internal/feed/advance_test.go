package feed

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What the leader before answers late may be gone at the one that follows: that is
// asked about what was read before, and then for what comes next.
func TestAnAnswerOfTheLeaderBeforeIsLeftOut(t *testing.T) {
	t.Parallel()
	g := &generation{parts: []*partition{{id: 0, next: 5, leaderEpoch: 3, lastEpoch: 3}}, ring: newRing(1<<20, []int64{5})}
	old := fetched{from: 5, next: 7, leaderEpoch: 3, epoch: 3, highWatermark: 7, records: []*kgo.Record{{Offset: 5}, {Offset: 6}}}
	g.parts[0].lead(kmsg.MetadataResponseTopicPartition{Leader: 2, LeaderEpoch: 4})
	if segs := g.advance([]fetched{old}); len(segs) > 0 || g.parts[0].next != 5 {
		t.Errorf("the late answer gave %d segments, the position is %d; want none, and 5", len(segs), g.parts[0].next)
	}
	g.proven(fetchPosition{offset: 4, leaderEpoch: 4})
	if !g.parts[0].unproven {
		t.Error("what was asked about another position proves this one")
	}
	g.proven(fetchPosition{offset: 5, leaderEpoch: 4})
	old.leaderEpoch = 4
	if segs := g.advance([]fetched{old}); len(segs) != 1 || g.parts[0].unproven {
		t.Errorf("the answer of the new leader gave %d segments", len(segs))
	}
}

// Old records too: they are cut where the live reader has not been, and left out where
// there is another leader since.
func TestOldRecordsAreThoseThatTheLiveReaderKnows(t *testing.T) {
	t.Parallel()
	g := &generation{parts: []*partition{{id: 0, next: 6, leaderEpoch: 3}}}
	h := newHistory(nil, g)
	read := func() []*Segment {
		var segs []*Segment
		for from := int64(0); from < 12; from += 4 {
			s := &Segment{Moves: []Move{{From: from, Next: from + 4, Epoch: 3}}}
			for o := from; o < from+4; o++ {
				s.Records = append(s.Records, Record{Offset: o})
			}
			segs = append(segs, s)
		}
		return segs
	}
	segs, err := h.proven(0, 0, 3, read())
	if err != nil || len(segs) != 2 || segs[1].Moves[0].Next != 6 || len(segs[1].Records) != 2 {
		t.Errorf("%d segments, error %v; want two, to offset 6", len(segs), err)
	}
	if _, err := h.proven(0, 0, 2, read()); err == nil {
		t.Error("an answer of the leader before was taken")
	}
	g.parts[0].next = 40
	if segs, err := h.proven(0, 0, 3, read()); err != nil || len(segs) != 3 {
		t.Errorf("%d segments, error %v; want all", len(segs), err)
	}
}

// While a partition's leader moves, two brokers may be asked for the same
// offsets. What the second answers has been read already.
func TestAnAnswerThatComesLateIsLeftOut(t *testing.T) {
	t.Parallel()
	g := &generation{parts: []*partition{{id: 0, lastEpoch: -1}, {id: 1, lastEpoch: -1}}, ring: newRing(1<<20, []int64{0, 0})}
	answer := func(p int32, from, next int64) fetched {
		a := fetched{partition: p, from: from, next: next, epoch: -1, highWatermark: next, logStart: 0}
		for o := from; o < next; o++ {
			a.records = append(a.records, &kgo.Record{Offset: o})
		}
		return a
	}
	if segs := g.advance([]fetched{answer(0, 0, 5), answer(1, 0, 2)}); len(segs) != 1 || len(segs[0].Records) != 7 {
		t.Fatalf("the first answer gave %d segments", len(segs))
	}
	segs := g.advance([]fetched{answer(0, 0, 3), answer(1, 2, 4)})
	if len(segs) != 1 || len(segs[0].Records) != 2 || segs[0].Records[0].Partition != 1 {
		t.Errorf("the late answer of partition 0 came with that of partition 1: %d segments", len(segs))
	}
	if head := g.ring.headPositions(); head[0] != 5 || head[1] != 4 || g.parts[0].next != 5 {
		t.Errorf("the hot tail is at %v, partition 0 goes on at %d; want 5, 4 and 5", head, g.parts[0].next)
	}
}
