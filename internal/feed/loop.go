package feed

import (
	"maps"
	"sync"
	"time"
)

// brokerLoop is what is seen from outside of the loop that reads from one broker.
type brokerLoop struct {
	mu sync.Mutex
	// owes is since when the broker has owed an answer; zero when it owes none.
	owes time.Time
	// turnEnds is when the loop has to be seen again.
	turnEnds time.Time
}

// slack is what a turn may take beside its requests and waits.
const slack = 10 * time.Second

// turn begins a turn with at most two requests.
func (l *brokerLoop) turn(requestTimeout time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turnEnds = time.Now().Add(liveMaxWait + 2*requestTimeout + maxBackoff + slack)
}

func (l *brokerLoop) asked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owes.IsZero() {
		l.owes = time.Now()
	}
}

// answered notes an answer, or that there is nothing to ask. A request that was
// given up is none.
func (l *brokerLoop) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owes = time.Time{}
}

func (l *brokerLoop) due() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turnEnds
}

func (l *brokerLoop) silence(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owes.IsZero() {
		return 0
	}
	return now.Sub(l.owes)
}

// loops lists the loops that run now, by broker.
func (s *supervisor) loops() map[int32]*brokerLoop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.running)
}
