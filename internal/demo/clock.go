package demo

import (
	"sync/atomic"
	"time"
)

// Clock is the time of the scripts. It stands still but for [Run], which moves it from step to step. It is safe for
// concurrent use.
type Clock struct {
	start  time.Time
	passed atomic.Int64 // nanoseconds
}

// NewClock returns a clock that shows start until a demo moves it.
func NewClock(start time.Time) *Clock { return &Clock{start: start.Round(0)} }

// Now returns what the clock shows.
func (c *Clock) Now() time.Time { return c.start.Add(time.Duration(c.passed.Load())) }

func (c *Clock) set(passed time.Duration) { c.passed.Store(int64(passed)) }
