package dashstream

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// Node is one execution of a node. It is made by [Run.Node] and ended by End or Done.
type Node struct {
	run     *Run
	id      string
	startID []byte
	started time.Time
	ended   atomic.Bool
}

// Node begins an execution of a node and emits NODE_START.
func (r *Run) Node(id string, attrs ...slog.Attr) *Node {
	if r == nil {
		return nil
	}
	it, t := r.newEvent(pb.EventType_EVENT_TYPE_NODE_START, id, r.startID)
	n := &Node{run: r, id: id, startID: bytes.Clone(it.header.MessageId), started: t}
	r.emitWith(it, attrs)
	r.opened(n)
	return n
}

// maxOpenNodes is how many open nodes a run remembers, so that it can end them when it panics. A program that never ends
// its nodes costs no more memory than that.
const maxOpenNodes = 1024

func (r *Run) opened(n *Node) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.ended || len(r.open) >= maxOpenNodes {
		return
	}
	if r.open == nil {
		r.open = map[*Node]int{}
	}
	r.begun++
	r.open[n] = r.begun
}

// endNodes ends the nodes that are still open, since the run panicked: the last begun first, as the stack unwinds.
func (r *Run) endNodes(panicked any) {
	r.p.mu.Lock()
	begun := maps.Clone(r.open)
	r.p.mu.Unlock()
	open := slices.SortedFunc(maps.Keys(begun), func(a, b *Node) int { return begun[b] - begun[a] })
	for _, n := range open {
		n.end(panicAttrs(panicked), nil)
	}
}

func (n *Node) event(t pb.EventType, attrs ...slog.Attr) {
	if n == nil {
		return
	}
	n.run.event(t, n.id, n.startID, 0, attrs...)
}

func (n *Node) elapsed() time.Duration {
	t, _ := n.run.p.now()
	return t.Sub(n.started)
}

// Progress says how far the node is. percent is from 0 to 100; one that is negative or no number is unknown and left out.
func (n *Node) Progress(message string, percent float64) {
	attrs := []slog.Attr{slog.String("message", message)}
	if percent >= 0 && !math.IsInf(percent, 1) {
		attrs = append(attrs, slog.Float64("percent", percent))
	}
	n.event(pb.EventType_EVENT_TYPE_NODE_PROGRESS, attrs...)
}

// Thinking shows a thought. step counts from 1; 0 is unknown and left out.
func (n *Node) Thinking(thought string, step int) {
	attrs := []slog.Attr{slog.String("thought", thought)}
	if step > 0 {
		attrs = append(attrs, slog.Int("step", step))
	}
	n.event(pb.EventType_EVENT_TYPE_NODE_THINKING, attrs...)
}

// Substep names a part of the node's work and its status: running, done.
func (n *Node) Substep(name, status string) {
	n.event(pb.EventType_EVENT_TYPE_NODE_SUBSTEP, slog.String("substep_name", name), slog.String("status", status))
}

// Warning says that something is wrong that does not stop the node.
func (n *Node) Warning(message string, attrs ...slog.Attr) {
	n.event(pb.EventType_EVENT_TYPE_NODE_WARNING, append([]slog.Attr{slog.String("message", message)}, attrs...)...)
}

// Event emits any other event of the node, see [Run.Event].
func (n *Node) Event(t pb.EventType, attrs ...slog.Attr) {
	if n == nil || isBoundary(t) {
		return
	}
	n.event(t, attrs...)
}

// End ends the node: with NODE_END, or with NODE_ERROR if err is not nil. Further calls do nothing. For a function that has
// several ways out, or may panic, defer [Node.Done] instead: End called from a deferred function cannot see a panic.
func (n *Node) End(err error, attrs ...slog.Attr) {
	if v := recover(); v != nil { // deferred directly: it must not say that all is well
		n.end(panicAttrs(v), attrs)
		panic(v)
	}
	n.end(errorAttrs(err), attrs)
}

// Done is End for a defer statement, as [Run.End] is for the run: it ends the node with NODE_ERROR if *err is an error by
// then, and also if the function panics, which goes on with the same value.
//
//	node := run.Node("plan")
//	defer node.Done(&err)
//
// err may be nil. It must be deferred directly, not called from a deferred function.
func (n *Node) Done(err *error, attrs ...slog.Attr) {
	if v := recover(); v != nil {
		n.end(panicAttrs(v), attrs)
		panic(v)
	}
	if err == nil {
		n.end(nil, attrs)
		return
	}
	n.end(errorAttrs(*err), attrs)
}

// end ends the node; failed says what went wrong, if something did.
func (n *Node) end(failed, attrs []slog.Attr) {
	if n == nil || n.ended.Swap(true) {
		return
	}
	t := pb.EventType_EVENT_TYPE_NODE_END
	if failed != nil {
		t = pb.EventType_EVENT_TYPE_NODE_ERROR
		attrs = append(failed, attrs...)
	}
	n.run.event(t, n.id, n.startID, n.elapsed(), attrs...)
	n.run.p.mu.Lock()
	delete(n.run.open, n)
	n.run.p.mu.Unlock()
}

// errorAttrs says what an event tells of an error: nothing of none.
func errorAttrs(err error) []slog.Attr {
	if err == nil {
		return nil
	}
	return []slog.Attr{slog.String("error", errorText(err)), slog.String("error_type", fmt.Sprintf("%T", err))}
}

func panicAttrs(v any) []slog.Attr {
	return []slog.Attr{slog.String("error", "panic: "+panicText(v)), slog.String("error_type", "panic")}
}

// Edge says that the run went from one node to another.
func (r *Run) Edge(from, to string) {
	if r == nil {
		return
	}
	r.event(pb.EventType_EVENT_TYPE_EDGE_TRAVERSAL, from, r.startID, 0, slog.String("to", to))
}

// Branch says that a condition decided where the run went: result is what it gave.
func (r *Run) Branch(from, to, result string) {
	if r == nil {
		return
	}
	r.event(pb.EventType_EVENT_TYPE_CONDITIONAL_BRANCH, from, r.startID, 0, slog.String("to", to), slog.String("condition_result", result))
}

// Parallel is a set of branches that run at the same time.
type Parallel struct {
	run      *Run
	from     string
	branches []string
	startID  []byte
	started  time.Time
	ended    atomic.Bool
}

// Parallel begins branches behind a node and emits PARALLEL_START.
func (r *Run) Parallel(from string, branches ...string) *Parallel {
	if r == nil {
		return nil
	}
	it, t := r.newEvent(pb.EventType_EVENT_TYPE_PARALLEL_START, from, r.startID)
	p := &Parallel{run: r, from: from, branches: append([]string(nil), branches...), startID: bytes.Clone(it.header.MessageId), started: t}
	r.emitWith(it, []slog.Attr{slog.Any("branches", p.branches), slog.Int("branch_count", len(branches))})
	return p
}

// End says that all branches are done. Further calls do nothing.
func (p *Parallel) End(attrs ...slog.Attr) {
	if p == nil || p.ended.Swap(true) {
		return
	}
	t, _ := p.run.p.now()
	attrs = append([]slog.Attr{slog.Any("branches", p.branches), slog.Int("branch_count", len(p.branches))}, attrs...)
	p.run.event(pb.EventType_EVENT_TYPE_PARALLEL_END, p.from, p.startID, t.Sub(p.started), attrs...)
}

// Interrupt says that the run waits for a human, and for what. Until Resume it is not taken for abandoned.
func (r *Run) Interrupt(nodeID, reason string, attrs ...slog.Attr) {
	if r == nil {
		return
	}
	r.p.mu.Lock()
	r.paused++
	r.p.mu.Unlock()
	r.event(pb.EventType_EVENT_TYPE_HUMAN_INTERRUPT, nodeID, r.startID, 0, append([]slog.Attr{slog.String("reason", reason)}, attrs...)...)
}

// Resume says that the human has answered.
func (r *Run) Resume(nodeID, input string, attrs ...slog.Attr) {
	if r == nil {
		return
	}
	r.event(pb.EventType_EVENT_TYPE_HUMAN_RESUME, nodeID, r.startID, 0, append([]slog.Attr{slog.String("input", input)}, attrs...)...)
	r.p.mu.Lock()
	r.paused = max(0, r.paused-1)
	r.p.mu.Unlock()
}
