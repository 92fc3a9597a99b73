package gateway

import (
	"runtime"
	"testing"
	"time"
)

func TestTheDelayFollowsTheFanOut(t *testing.T) {
	t.Parallel()
	var p pace
	now := time.Now()
	window := func(rounds int, each time.Duration) {
		p.rounds.Add(int64(rounds))
		p.busy.Add(int64(rounds) * int64(each) * int64(runtime.GOMAXPROCS(0)))
		now = now.Add(paceWindow)
	}
	check := func(what string, readers int, want time.Duration) {
		t.Helper()
		if got := p.linger(now, readers); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("nothing measured", 1, minLinger)
	window(50, 10*time.Microsecond)
	check("a few clients", 1, minLinger)
	window(50, 1500*time.Microsecond)
	check("a thousand clients", 1, 6*time.Millisecond)
	check("a thousand clients, three brokers", 3, 18*time.Millisecond)
	window(10, time.Second)
	check("a flood", 1, maxLinger)
	window(0, 0)
	check("quiet again", 1, minLinger)
}
