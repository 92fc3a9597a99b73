package model

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// shrinker cuts a script that fails down to one that still does. What happens in
// a run is not wholly decided by the script: a candidate that passes is tried
// again before it counts as one that passes.
type shrinker struct {
	fails func(script) bool
	until time.Time
}

// without tries to leave out parts of a list: halves first, then ever smaller
// parts, until no single one can be left out.
func without[T any](s *shrinker, list []T, with func([]T) script) []T {
	for size := max(1, len(list)/2); len(list) > 0; {
		shorter := false
		for at := 0; at < len(list) && time.Now().Before(s.until); {
			candidate := slices.Concat(list[:at], list[min(len(list), at+size):])
			if s.fails(with(candidate)) {
				list, shorter = candidate, true
				continue
			}
			at += size
		}
		if size == 1 && !shorter || !time.Now().Before(s.until) {
			break
		}
		size = max(1, size/2)
	}
	return list
}

// shrink returns a script that is as short as could be found in time.
func (s *shrinker) shrink(sc script) script {
	for before := -1; before != sc.weight() && time.Now().Before(s.until); {
		before = sc.weight()
		sc.Clients = without(s, sc.Clients, func(c []clientPlan) script { n := sc; n.Clients = c; return n })
		sc.Events = without(s, sc.Events, func(e []event) script { n := sc; n.Events = e; return n })
		for i := range sc.Clients {
			with := func(p []sessionPlan) script {
				n := sc
				n.Clients = slices.Clone(sc.Clients)
				n.Clients[i].Sessions = p
				return n
			}
			sc = with(without(s, sc.Clients[i].Sessions, with))
		}
	}
	return sc
}

// weight is how long a script is.
func (s script) weight() int {
	n := len(s.Events) + len(s.Clients)
	for _, c := range s.Clients {
		n += len(c.Sessions)
	}
	return n
}

func (s script) String() string {
	b, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// TestShrink has the shrinker find what makes a run fail, where that is known.
func TestShrink(t *testing.T) {
	sc := newScript(7, defaultSize)
	sc.Events = append(sc.Events, event{AtMs: 1, Do: doRecreate}, event{AtMs: 2, Do: doGrow})
	fails := func(c script) bool {
		var recreate, grow, sse bool
		for _, e := range c.Events {
			recreate, grow = recreate || e.Do == doRecreate, grow || e.Do == doGrow
		}
		for _, cl := range c.Clients {
			for _, p := range cl.Sessions {
				sse = sse || p.Kind == "sse"
			}
		}
		return recreate && grow && sse
	}
	s := &shrinker{fails: fails, until: time.Now().Add(time.Minute)}
	got := s.shrink(sc)
	if !fails(got) || len(got.Events) != 2 || len(got.Clients) != 1 || len(got.Clients[0].Sessions) != 1 {
		t.Errorf("from a script of %d parts to %v", sc.weight(), got)
	}
}
