package gateway

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestCatchingUpLeavesRoomForWhatIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatchUp()
		began := time.Now()
		for range 1000 {
			c.do(func() {})
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("a thousand that take no time took %v", d)
		}
		var all sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			all.Go(func() { c.do(func() { time.Sleep(catchUpStretch) }) })
		}
		all.Wait()
		c.do(func() {})
		if d, want := time.Since(began), catchUpStretch+catchUpRest; d != want {
			t.Errorf("after the processors were kept busy, the next began after %v, want %v", d, want)
		}
	})
}

func TestAPanicGivesTheTurnBack(t *testing.T) {
	t.Parallel()
	c := newCatchUp()
	for range 100 {
		func() {
			defer func() { _ = recover() }() // as a session does
			c.do(func() { panic("a fault") })
		}()
	}
	c.do(func() {})
}
