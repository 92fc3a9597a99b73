package dashstream

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// Node is one execution of a node. It is made by [Run.Node] and ended by End.
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
	return n
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

// Progress says how far the node is. percent is from 0 to 100; a negative one is unknown and left out.
func (n *Node) Progress(message string, percent float64) {
	attrs := []slog.Attr{slog.String("message", message)}
	if percent >= 0 {
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

// End ends the node: with NODE_END, or with NODE_ERROR if err is not nil. Further calls do nothing.
func (n *Node) End(err error, attrs ...slog.Attr) {
	if n == nil || n.ended.Swap(true) {
		return
	}
	t := pb.EventType_EVENT_TYPE_NODE_END
	if err != nil {
		t = pb.EventType_EVENT_TYPE_NODE_ERROR
		attrs = append([]slog.Attr{slog.String("error", errorText(err)), slog.String("error_type", fmt.Sprintf("%T", err))}, attrs...)
	}
	n.run.event(t, n.id, n.startID, n.elapsed(), attrs...)
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
