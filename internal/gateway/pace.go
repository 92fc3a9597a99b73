package gateway

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// fanOutShare is how much of the processors' time goes into waking and writing
	// to sessions, one part in so many, before a delay is traded for fewer and
	// fuller frames: a write costs the same for one record as for ten.
	fanOutShare = 4
	// maxLinger bounds that delay.
	maxLinger = 20 * time.Millisecond
	// minLinger is for the reading itself, which costs a request for each piece: a
	// delay that nobody sees.
	minLinger = 2 * time.Millisecond
	// paceWindow is over how long rounds are measured.
	paceWindow = 100 * time.Millisecond
)

// pace measures what a round of the fan-out takes, a round being all that one
// piece of the stream is written to.
type pace struct {
	// busy sums the workers' time, in nanoseconds.
	busy, rounds atomic.Int64

	mu                sync.Mutex
	since             time.Time
	oldBusy, oldCount int64
	round             time.Duration // of all workers together
}

// linger returns how long to collect records for a round, where readers of the
// log take turns in beginning one.
func (p *pace) linger(now time.Time, readers int) time.Duration {
	d := fanOutShare * p.measure(now) * time.Duration(readers) / time.Duration(runtime.GOMAXPROCS(0))
	return max(minLinger, min(d, maxLinger))
}

func (p *pace) measure(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) >= paceWindow {
		busy, rounds := p.busy.Load(), p.rounds.Load()
		p.round = 0
		if n := rounds - p.oldCount; n > 0 {
			p.round = time.Duration((busy - p.oldBusy) / n)
		}
		p.since, p.oldBusy, p.oldCount = now, busy, rounds
	}
	return p.round
}
