package gateway

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// turns spreads out the subscriptions of each address. One costs a client a few
// bytes, and the gateway questions to Kafka and a look at everything that is in
// memory: a client that only subscribes, again and again, takes as much as many that
// read.
type turns struct {
	// each is the time between two, burst how many may come at once, and longest how
	// long one waits at most.
	each    time.Duration
	burst   int
	longest time.Duration

	mu sync.Mutex
	// full holds when an address may have its whole burst again.
	full map[netip.Addr]time.Time
	// pruned is how many addresses were left after the last look through them.
	pruned int
}

const (
	// burstsPerConnection is how many subscriptions each connection that an address
	// may have has free, and turnsTime in what time one more comes for each.
	burstsPerConnection = 2
	turnsTime           = 10 * time.Second
	// leastTurns is what an address has that may have fewer connections: they are
	// what bounds it then, and a person who reloads a page should not wait.
	leastTurns = 50
)

// newTurns makes the turns of addresses that may have so many connections. As many
// can be waiting, each for the ones before it.
func newTurns(perIP int) *turns {
	perIP = max(leastTurns, perIP)
	each := turnsTime / time.Duration(perIP)
	return &turns{each: each, burst: burstsPerConnection * perIP, longest: each * time.Duration(perIP), full: map[netip.Addr]time.Time{}}
}

// next takes the next turn of an address and returns when it is.
func (t *turns) next(peer netip.Addr, now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	full := t.full[peer]
	if full.Before(now) {
		full = now
	}
	full = full.Add(t.each)
	burst := time.Duration(t.burst) * t.each
	// Those that have gone while they waited take nobody's turn.
	if most := now.Add(burst + t.longest); full.After(most) {
		full = most
	}
	t.full[peer] = full
	if len(t.full) > 2*t.pruned+16 {
		for a, at := range t.full {
			if !at.After(now) {
				delete(t.full, a)
			}
		}
		t.pruned = len(t.full)
	}
	if at := full.Add(-burst); at.After(now) {
		return at
	}
	return now
}

// awaitTurn waits until a subscription may begin. It returns false where it would have
// to wait and there is something else to do first, as other says or ctx; the
// subscription is wanted still.
func (s *session) awaitTurn(ctx context.Context, wanted *subscription, other bool) bool {
	now := time.Now()
	if s.turn.IsZero() {
		if s.turn = s.hub.turns.next(s.peer, now); s.turn.After(now) {
			s.hub.metrics.subscribeWaits.Inc()
		}
	}
	if wait := s.turn.Sub(now); wait > 0 && (other || !sleep(ctx, wait)) {
		if s.hub.ctx.Err() != nil {
			s.close(closeRestart)
		}
		s.mu.Lock()
		if s.wanted == nil {
			s.wanted = wanted
		}
		s.mu.Unlock()
		return false
	}
	s.turn = time.Time{}
	s.mu.Lock()
	s.beginning = true
	s.mu.Unlock()
	return true
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
