package feed

import "testing"

// What readers that have gone asked for was read all the same, before what others
// wait for.
func TestAReadThatNobodyWantsIsNotBegun(t *testing.T) {
	t.Parallel()
	h := newHistory(&Feed{}, nil)
	c := &cachedPartition{wanted: map[int64]*flight{}, readers: partitionReaders} // nobody serves it here
	h.parts[0] = c
	var gone []*flight
	for o := range int64(100) {
		gone = append(gone, h.ask(0, o))
	}
	shared, waits := h.ask(0, 50), h.ask(0, 1000)
	for _, fl := range gone {
		h.leave(fl)
	}
	for _, want := range []*flight{shared, waits, nil} {
		o, got := c.pick()
		if got != want {
			t.Fatalf("the read at %d is next", o)
		}
		delete(c.wanted, o)
	}
	if len(c.wanted) > 0 {
		t.Errorf("%d reads that nobody wants are remembered", len(c.wanted))
	}
}
