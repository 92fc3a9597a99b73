package httpserve

import (
	"net"
	"net/http"
	"sync"
)

// ConnStats counts connections. New, Active and Idle are of this moment;
// Accepted and Hijacked only rise.
type ConnStats struct {
	New, Active, Idle  int
	Accepted, Hijacked uint64
}

// connTracker follows each connection through the states that net/http
// announces. A hijacked one leaves: net/http says nothing more about it, so
// keeping it would count it for ever.
type connTracker struct {
	mu     sync.Mutex
	states map[net.Conn]http.ConnState
	total  ConnStats
}

func (t *connTracker) observe(c net.Conn, state http.ConnState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.states == nil {
		t.states = make(map[net.Conn]http.ConnState)
	}
	if last, ok := t.states[c]; ok {
		t.add(last, -1)
	}
	switch state {
	case http.StateNew, http.StateActive, http.StateIdle:
		if state == http.StateNew {
			t.total.Accepted++
		}
		t.states[c] = state
		t.add(state, +1)
	case http.StateHijacked:
		t.total.Hijacked++
		delete(t.states, c)
	default:
		delete(t.states, c)
	}
}

func (t *connTracker) add(state http.ConnState, n int) {
	switch state {
	case http.StateNew:
		t.total.New += n
	case http.StateActive:
		t.total.Active += n
	case http.StateIdle:
		t.total.Idle += n
	}
}

func (t *connTracker) stats() ConnStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}
