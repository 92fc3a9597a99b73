package dashstream

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/jcs"
	"github.com/dashflow/dashstream/internal/wire"
)

// RunSpec describes a run at its start. Every field may be left out.
type RunSpec struct {
	// ThreadID names the thread that the run belongs to: a conversation, a job. All messages of a thread are in one order.
	// Empty makes up one. It is the key of the Kafka records and is sent as it is, except if it is longer than 256 bytes, no
	// UTF-8 or holds a secret: then its SHA-256 is sent.
	ThreadID string
	// Graph is what runs.
	Graph Graph
	// InitialState is the state before the first node, as of [Run.State].
	InitialState any
	// Attrs are further attributes of GRAPH_START.
	Attrs []slog.Attr
}

// Graph describes a graph. Manifest and Schema are encoded as JSON; a json.RawMessage or a string that is JSON is sent as
// it is. Beyond 500 KiB they are replaced by their size, SHA-256 and beginning.
type Graph struct {
	Name string
	// Manifest is the nodes and edges by name, and Schema the same in order, for drawing:
	//
	//	{"entry_point": "plan", "nodes": {"plan": {"kind": "llm"}, "answer": {}}, "edges": {"plan": [{"to": "answer"}]}}
	//	{"entry_point": "plan", "nodes": [{"id": "plan"}, {"id": "answer"}], "edges": [{"from": "plan", "to": "answer"}]}
	//
	// Either will do: readers take both forms in both. docs/protocol.md (Graphs) has the other members that they know.
	Manifest any
	Schema   any
	// SchemaID names this version of the graph, however the program likes.
	SchemaID   string
	EntryPoint string
	// Nodes and Edges count; 0 means unknown.
	Nodes, Edges int
}

// Run is one run of a graph. Its methods, and those of what it makes, are safe for concurrent use, never wait for Kafka,
// and do nothing on nil, so that code need not ask whether telemetry is on.
type Run struct {
	p       *Producer
	th      *thread
	graph   string
	started time.Time
	startID []byte
	headers []kgo.RecordHeader

	// Guarded by Producer.mu.
	ended  bool
	paused int // interrupts that wait for a human
	last   time.Time
	open   map[*Node]int // by when they were begun; at most maxOpenNodes
	begun  int
}

// StartRun begins a run and emits GRAPH_START. ctx is used for the trace context only, see [WithTraceContext]: its end
// does not end the run. End the run with [Run.End].
func (p *Producer) StartRun(ctx context.Context, spec RunSpec) *Run {
	if p == nil {
		return nil
	}
	r := &Run{p: p, graph: spec.Graph.Name, headers: p.traceHeaders(ctx)}
	id := spec.ThreadID
	if id == "" {
		id = uuidText(newID(time.Now().UnixMicro()))
	}
	p.mu.Lock()
	r.th = p.threadFor(id)
	p.hold(r.th) // until the run ends
	p.mu.Unlock()
	// A method of what describes the run may end the goroutine: a run that did not begin does not end either.
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if r.last.IsZero() && !r.ended {
			r.ended = true
			p.release(r.th)
		}
	}()

	it, t := r.newEvent(pb.EventType_EVENT_TYPE_GRAPH_START, "", nil)
	r.started, r.startID = t, bytes.Clone(it.header.MessageId)
	it.class = classState
	p.describeGraph(it, spec)
	if !p.cfg.state || spec.InitialState == nil {
		r.th.state.mu.Lock()
		defer r.th.state.mu.Unlock()
		r.th.state.forget()
		_ = r.begin(it)
		return r
	}
	doc, err := p.stateJSON(spec.InitialState)
	r.startWithState(it, doc, err)
	return r
}

// begin opens the run and emits GRAPH_START, in one step: an open run has begun for readers too, and one that Close does
// not see any more does not begin.
func (r *Run) begin(it *item) error {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		c := &p.counts[it.kind]
		c.Emitted++
		c.Dropped[DropClosed]++
		r.ended = true
		p.release(r.th)
		return ErrClosed
	}
	r.th.runs++
	p.runs[r] = struct{}{}
	r.touch()
	return p.admit(r, it)
}

// startWithState emits GRAPH_START with the state in it, or followed by it; err is why there is none.
func (r *Run) startWithState(it *item, doc jcs.Document, err error) {
	p, st := r.p, &r.th.state
	st.mu.Lock()
	defer st.mu.Unlock()
	st.forget()
	if err != nil {
		st.stale = true
		_ = r.begin(it)
		r.emitStateUnavailable(err)
		return
	}
	if len(doc.JSON) > maxInitialStateBytes {
		_ = r.begin(it)
		r.publish(doc)
		return
	}
	st.latest = doc
	it.attrs = append(it.attrs, attr{Attr: slog.String(initialStateAttribute, string(doc.JSON)), clean: true})
	it.cost += len(doc.JSON)
	it.carriesState = true
	p.mu.Lock()
	lost := r.th.lost
	p.mu.Unlock()
	if r.begin(it) == nil {
		st.base, st.healed = doc.JSON, lost
	}
}

func (p *Producer) describeGraph(it *item, spec RunSpec) {
	g := spec.Graph
	attrs := make([]slog.Attr, 0, 10+len(spec.Attrs))
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	count := func(key string, n int) {
		if n > 0 {
			attrs = append(attrs, slog.Int(key, n))
		}
	}
	text("graph_name", g.Name)
	text("schema_id", g.SchemaID)
	text("graph_entry_point", g.EntryPoint)
	count("graph_node_count", g.Nodes)
	count("graph_edge_count", g.Edges)
	for _, a := range spec.Attrs {
		if a.Key != initialStateAttribute && a.Key != hashName { // they say what this package sends
			attrs = append(attrs, a)
		}
	}
	if p.cfg.state {
		attrs = append(attrs, slog.String(hashName, hashJCS))
	}
	var cost int
	it.attrs, cost = p.capture(attrs)
	it.cost += cost
	p.jsonAttribute(it, "graph_manifest", g.Manifest)
	p.jsonAttribute(it, "graph_schema_json", g.Schema)
}

// jsonAttribute adds a value as a string of JSON.
func (p *Producer) jsonAttribute(it *item, key string, v any) {
	switch v := v.(type) {
	case nil:
		return
	case string:
		if v != "" {
			a, cost := p.capture([]slog.Attr{slog.String(key, v)})
			it.attrs, it.cost = append(it.attrs, a...), it.cost+cost
		}
		return
	}
	text, err := p.marshal(v, maxAttributeBytes)
	var value slog.Value
	switch {
	case err != nil:
		value = slog.StringValue(p.unserializable(err))
	case text.cut != nil:
		value = slog.AnyValue(captured{cut: text.cut})
	default:
		value = slog.StringValue(string(text.json))
	}
	it.attrs = append(it.attrs, attr{Attr: slog.Attr{Key: key, Value: value}})
	it.cost += attrOverhead + len(key) + valueCost(value)
}

// ThreadID returns the thread's id as it is sent.
func (r *Run) ThreadID() string {
	if r == nil {
		return ""
	}
	return r.th.id
}

// newEvent starts an event of the run.
func (r *Run) newEvent(t pb.EventType, node string, parent []byte) (*item, time.Time) {
	it, at := r.p.newItem(r.th, pb.MessageType_MESSAGE_TYPE_EVENT, classOf(t))
	it.headers = r.headers
	it.header.ParentId = parent
	e := &it.own.body
	e.Header = it.header
	e.EventType = t
	e.NodeId = node
	it.own.event.Event = e
	it.own.msg.Message = &it.own.event
	it.msg = &it.own.msg
	it.cost += len(node)
	return it, at
}

func classOf(t pb.EventType) class {
	switch t {
	case pb.EventType_EVENT_TYPE_NODE_PROGRESS, pb.EventType_EVENT_TYPE_NODE_THINKING, pb.EventType_EVENT_TYPE_NODE_SUBSTEP:
		return classDroppable
	case pb.EventType_EVENT_TYPE_GRAPH_START:
		return classState
	case pb.EventType_EVENT_TYPE_GRAPH_END, pb.EventType_EVENT_TYPE_GRAPH_ERROR:
		return classTerminal
	default:
		return classNormal
	}
}

// event emits an event with attributes.
func (r *Run) event(t pb.EventType, node string, parent []byte, duration time.Duration, attrs ...slog.Attr) {
	it, _ := r.newEvent(t, node, parent)
	it.own.body.DurationUs = wire.DurationUS(duration)
	r.emitWith(it, attrs)
}

func (r *Run) emitWith(it *item, attrs []slog.Attr) {
	var cost int
	it.attrs, cost = r.p.capture(attrs)
	it.cost += cost
	_ = r.emit(it) // what is not admitted is counted
}

func (r *Run) emit(it *item) error {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.touch()
	return r.p.admit(r, it)
}

// touch notes that the run is alive. Producer.mu is held.
func (r *Run) touch() { r.last = time.Now() }

// Event emits any event. The attributes that the types have are in docs/protocol.md; GRAPH_START, GRAPH_END and
// GRAPH_ERROR are emitted by StartRun and End alone and are ignored here.
//
// Attribute values are captured at the call: what is no basic type is encoded as JSON and sent as arrays and maps. A
// time.Duration is sent in microseconds.
func (r *Run) Event(t pb.EventType, nodeID string, attrs ...slog.Attr) {
	if r == nil || isBoundary(t) {
		return
	}
	r.event(t, nodeID, r.startID, 0, attrs...)
}

func isBoundary(t pb.EventType) bool {
	switch t {
	case pb.EventType_EVENT_TYPE_GRAPH_START, pb.EventType_EVENT_TYPE_GRAPH_END, pb.EventType_EVENT_TYPE_GRAPH_ERROR:
		return true
	}
	return false
}

// End ends the run, exactly once: with GRAPH_END, or with GRAPH_ERROR if *err is an error. Deferred directly, it also sees
// a panic: it emits an Error with the stack, NODE_ERROR for nodes that are still open, and GRAPH_ERROR, and panics again
// with the same value.
//
//	run := p.StartRun(ctx, spec)
//	defer run.End(&err)
//
// err may be nil. What the run emits after its end is dropped and counted.
func (r *Run) End(err *error) {
	if v := recover(); v != nil {
		if r != nil {
			r.endWithPanic(v, debug.Stack())
		}
		panic(v)
	}
	if r == nil {
		return
	}
	if err != nil && *err != nil {
		r.end(pb.EventType_EVENT_TYPE_GRAPH_ERROR, errorAttrs(*err)...)
		return
	}
	r.end(pb.EventType_EVENT_TYPE_GRAPH_END)
}

func (r *Run) endWithPanic(v any, stack []byte) {
	text := panicText(v)
	r.sendError(&pb.Error{
		ErrorCode: "panic", Message: text, StackTrace: string(stack), Severity: pb.Error_SEVERITY_FATAL, ExceptionType: fmt.Sprintf("%T", v),
	})
	r.endNodes(v)
	r.end(pb.EventType_EVENT_TYPE_GRAPH_ERROR, panicAttrs(v)...)
}

func panicText(v any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("%T", v)
		}
	}()
	return fmt.Sprint(v)
}

// end emits the terminal event and closes the run. It returns false if the run had ended before.
func (r *Run) end(t pb.EventType, attrs ...slog.Attr) bool {
	p, st := r.p, &r.th.state
	st.mu.Lock()
	defer st.mu.Unlock()
	p.mu.Lock()
	ended := r.ended
	p.mu.Unlock()
	if ended {
		return false
	}
	if p.cfg.state {
		r.heal()
	}
	if r.graph != "" {
		attrs = append(attrs, slog.String("graph_name", r.graph))
	}
	it, at := r.newEvent(t, "", r.startID)
	it.own.body.DurationUs = wire.DurationUS(at.Sub(r.started))
	var cost int
	it.attrs, cost = p.capture(attrs)
	it.cost += cost
	p.fitQueue(it)
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.ended {
		return false
	}
	_ = p.admit(r, it) // counted
	r.ended, r.open = true, nil
	delete(p.runs, r)
	r.th.runs--
	if r.th.runs == 0 {
		st.forget()
	}
	p.release(r.th)
	return true
}

// fitQueue cuts the texts of an event that must come, where they are large for a small queue: nothing could make room.
func (p *Producer) fitQueue(it *item) {
	const short = 1 << 10
	for i, a := range it.attrs {
		if it.cost <= p.cfg.queueBytes/8 {
			return
		}
		if a.Value.Kind() == slog.KindString && len(a.Value.String()) > short {
			it.cost -= len(a.Value.String())
			it.attrs[i].Value = slog.AnyValue(captured{cut: p.cut(a.Value.String())})
		}
	}
}

// sendError emits an Error message of the run.
func (r *Run) sendError(e *pb.Error) {
	it, _ := r.p.newItem(r.th, pb.MessageType_MESSAGE_TYPE_ERROR, classNormal)
	it.headers = r.headers
	it.header.ParentId = r.startID
	e.Header = it.header
	e.Message, e.StackTrace = r.p.cutText(e.Message), r.p.cutText(e.StackTrace)
	it.cost += len(e.Message) + len(e.StackTrace)
	for k, v := range e.Context {
		it.cost += len(k) + len(v) + attrOverhead
	}
	it.msg = &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Error{Error: e}}
	_ = r.emit(it) // what is not admitted is counted
}

// cutText keeps a text below the limit of an attribute.
func (p *Producer) cutText(s string) string {
	if len(s) <= maxAttributeBytes {
		return s
	}
	return p.cut(s).text()
}

func uuidText(id []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
