package feed

import (
	"testing"
	"time"
)

// A reader of more partitions than it waits for at once looked for the others every
// millisecond.
func TestAReaderThatWaitsForReadsSleeps(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := &Reader{target: []int64{unknown}} // an end has yet to be asked for, once the reads are done
	for p := range int32(readsAhead + 2) {
		l := lagging{partition: p}
		if p < readsAhead {
			l.underWay, l.since = &flight{done: make(chan struct{})}, now
		}
		r.behind = append(r.behind, l)
	}
	if i := r.dueBehind(now); i >= 0 {
		t.Errorf("partition %d is due beside %d reads", i, readsAhead)
	}
	if d := r.retryIn(now); d != readPatience {
		t.Errorf("it looks again in %v, want %v", d, readPatience)
	}
	now = now.Add(readPatience)
	if i := r.dueBehind(now); i < readsAhead {
		t.Errorf("reads that take long keep others from being read: %d is due", i)
	}
	r.behind[0].underWay.finish(&Segment{}, nil)
	if r.dueBehind(now) < 0 {
		t.Error("nothing is due where a read is done")
	}
}
