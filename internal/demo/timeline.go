package demo

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// draft is a script while it is written.
type draft struct {
	rng      *rand.Rand
	graph    *graph
	task     string
	category string
	queryID  string
	initial  state
	failure  error
	beats    []beat
	ids      int
}

// beat is a step that may change the state. What it changes is worked out when all beats are in order: branches that run
// at the same time are written one after the other.
type beat struct {
	at      time.Duration
	do      action // nil: nothing is seen
	change  func(*state)
	publish bool
}

// timeline writes beats at its own time. Parallel branches have a timeline each.
type timeline struct {
	*draft
	now time.Duration
}

func (d *draft) id() int {
	d.ids++
	return d.ids
}

func (t *timeline) add(a action) { t.beats = append(t.beats, beat{at: t.now, do: a}) }

// wait lets time pass, between lo and hi.
func (t *timeline) wait(lo, hi time.Duration) { t.now += t.between(lo, hi) }

func (t *timeline) between(lo, hi time.Duration) time.Duration {
	d := lo + time.Duration(t.rng.Int64N(int64(hi-lo)+1))
	return d.Round(time.Millisecond)
}

func (t *timeline) chance(p float64) bool { return t.rng.Float64() < p }

func pick[T any](t *timeline, list []T) T { return list[t.rng.IntN(len(list))] }

// several picks n different ones, in the order of the list.
func several[T any](t *timeline, list []T, n int) []T {
	at := t.rng.Perm(len(list))[:min(n, len(list))]
	slices.Sort(at)
	out := make([]T, 0, len(at))
	for _, i := range at {
		out = append(out, list[i])
	}
	return out
}

// state changes the state and publishes it.
func (t *timeline) state(change func(*state)) {
	t.beats = append(t.beats, beat{at: t.now, change: change, publish: true})
}

// note changes the state; the next one that is published shows it.
func (t *timeline) note(change func(*state)) {
	t.beats = append(t.beats, beat{at: t.now, change: change})
}

// begin says what the run is about.
func (t *timeline) begin(task, category, queryID string) {
	t.task, t.category, t.queryID = task, category, queryID
	t.initial = state{Task: task, Status: "running", Messages: []message{{Role: "user", Content: task}}}
}

// node writes an execution of a node.
func (t *timeline) node(id string, work func(n *node)) {
	n := &node{timeline: t, name: id, span: t.id()}
	t.add(nodeStart{span: n.span, node: id, attrs: []slog.Attr{slog.String("node_kind", t.graph.kind(id))}})
	t.wait(150*time.Millisecond, 350*time.Millisecond)
	work(n)
	t.wait(60*time.Millisecond, 150*time.Millisecond)
	t.add(nodeEnd{span: n.span, err: n.err, attrs: n.out})
}

func (g *graph) kind(id string) string {
	for _, n := range g.Nodes {
		if n.ID == id {
			return n.Kind
		}
	}
	return kindFunction
}

func (t *timeline) edge(from, to string) {
	t.wait(40*time.Millisecond, 120*time.Millisecond)
	t.add(edge{from: from, to: to})
}

func (t *timeline) branch(from, to, result string) {
	t.wait(40*time.Millisecond, 120*time.Millisecond)
	t.add(edge{from: from, to: to, conditional: true, result: result})
}

// together writes branches that run at the same time behind a node; each gets a timeline of its own.
func (t *timeline) together(from string, names []string, branch func(t *timeline, name string)) {
	id := t.id()
	t.add(parallelStart{id: id, from: from, branches: names})
	end := t.now
	for _, name := range names {
		b := &timeline{draft: t.draft, now: t.now}
		b.edge(from, name)
		branch(b, name)
		end = max(end, b.now)
	}
	t.now = end
	t.wait(5*time.Millisecond, 15*time.Millisecond)
	t.add(parallelEnd{id: id})
}

// fail ends the run with an error.
func (t *timeline) fail(err error) { t.failure = err }

// settle puts the beats in order, works out the states and finishes the script.
func (d *draft) settle(s *script, end time.Duration) error {
	slices.SortStableFunc(d.beats, func(a, b beat) int { return cmp.Compare(a.at, b.at) })
	current := d.initial
	text, err := json.Marshal(current)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	s.initial, s.final = text, text
	for _, b := range d.beats {
		if b.change != nil {
			b.change(&current)
		}
		if b.publish {
			if s.final, err = json.Marshal(current); err != nil {
				return fmt.Errorf("encode state: %w", err)
			}
			b.do = setState{json: s.final}
		}
		if b.do != nil {
			s.steps = append(s.steps, step{b.at, b.do})
		}
	}
	s.steps = append(s.steps, step{end, finish{}})
	return nil
}

// round cuts a number to so many digits behind the point, so that it reads well.
func round(f float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(f*p) / p
}
