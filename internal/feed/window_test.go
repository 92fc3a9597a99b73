package feed

import (
	"testing"
	"time"
)

// The cache is shared by the partitions that are read now, not by all that ever were.
func TestTheWindowIsSharedByWhatIsReadNow(t *testing.T) {
	t.Parallel()
	h := newHistory(&Feed{cfg: Config{CacheBytes: 1 << 20}}, nil)
	now := time.Now()
	for p := range int32(4) {
		c := newCachedPartition()
		c.span, c.weight = 10, 1<<10 // 5,120 offsets would take half the cache
		h.parts[p] = c
		c.sweep.asked(new(Reader), 0, now)
	}
	if got := h.window(h.parts[0], now); got != 1280 {
		t.Errorf("with four partitions: %d offsets, want 1280", got)
	}
	now = now.Add(2 * activeFor)
	h.parts[0].sweep.asked(new(Reader), 0, now)
	if got := h.window(h.parts[0], now); got != 5120 {
		t.Errorf("with one of four: %d offsets, want 5120", got)
	}
	if got := h.parts[0].sweep.rear(9, now); got != 0 || len(h.parts[0].sweep.places) != 1 {
		t.Errorf("the rear is at %d, %d readers are remembered; want 0, and the one who is there", got, len(h.parts[0].sweep.places))
	}
}
