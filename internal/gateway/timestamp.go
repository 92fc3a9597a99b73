package gateway

import (
	"sync/atomic"
	"time"
)

// timestamp is when something last happened.
type timestamp struct{ at atomic.Pointer[time.Time] }

func (t *timestamp) set(at time.Time) { t.at.Store(&at) }

// age returns the seconds since; -1 when it never happened. A clock that is set
// changes nothing.
func (t *timestamp) age() float64 {
	at := t.at.Load()
	if at == nil {
		return -1
	}
	return time.Since(*at).Seconds()
}
