package feed

import (
	"math"
	"testing"
	"time"
)

// What readers that have gone asked for was read all the same, before what others
// wait for.
func TestAReadThatNobodyWantsIsNotBegun(t *testing.T) {
	t.Parallel()
	h := newHistory(&Feed{}, nil)
	c := newCachedPartition()
	c.flying = []int64{-2, -1} // as many as may be under way: nobody reads here
	c.span = 1
	h.parts[0] = c
	ask := func(o int64) *flight { return h.ask(new(Reader), 0, o) }
	var gone []*flight
	for o := range int64(100) {
		gone = append(gone, ask(o))
	}
	shared, waits := ask(50), ask(1000)
	h.watch([]*flight{shared, waits}, make(chan struct{}, 1))
	now := time.Now()
	for _, want := range []*flight{shared, waits, gone[0]} {
		o, got := c.pick(math.MaxInt64, now)
		if got != want {
			t.Fatalf("the read at %d is next", o)
		}
		delete(c.wanted, o)
	}
	if o, got := c.pick(math.MaxInt64, now.Add(2*readPatience)); got != nil {
		t.Errorf("the read at %d is next", o)
	}
	if len(c.wanted) > 0 {
		t.Errorf("%d reads that nobody wants are remembered", len(c.wanted))
	}
	if _, ok, _ := gone[1].result(); ok || !gone[1].isDone() {
		t.Error("a reader that only took its time is not told to ask again")
	}
}
