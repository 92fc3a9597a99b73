package gateway

import (
	"sync/atomic"
	"time"
)

// timestamp is when something last happened.
type timestamp struct{ nanos atomic.Int64 }

func (t *timestamp) set(at time.Time) { t.nanos.Store(at.UnixNano()) }

// age returns the seconds since; -1 when it never happened.
func (t *timestamp) age() float64 {
	n := t.nanos.Load()
	if n == 0 {
		return -1
	}
	return max(0, time.Since(time.Unix(0, n)).Seconds())
}
