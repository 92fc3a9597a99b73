package feed

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

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
