package dashstream

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/wire"
)

// Tool is one call of a tool. It is made by [Node.Tool] and ended by End or Fail. Each step is two messages: a
// ToolExecution, which has the arguments and the result, and an event, which has its place among the events of the node.
// Both have the same call id.
type Tool struct {
	node         *Node
	name, callID string
	startID      []byte
	started      time.Time
	retries      atomic.Uint32
	ended        atomic.Bool
}

// Tool begins a call of a tool. args is encoded as JSON; beyond 500 KiB it is replaced by its size, SHA-256 and beginning.
func (n *Node) Tool(name string, args any) *Tool {
	if n == nil {
		return nil
	}
	it, at := n.run.newEvent(pb.EventType_EVENT_TYPE_TOOL_START, n.id, n.startID)
	t := &Tool{node: n, name: name, startID: bytes.Clone(it.header.MessageId), started: at}
	t.callID = uuidText(t.startID)
	n.run.emitWith(it, t.attrs())
	t.execution(&pb.ToolExecution{Stage: pb.ToolExecution_EXECUTION_STAGE_STARTED, Arguments: n.run.p.jsonBytes(args)})
	return t
}

// CallID identifies the call in all its messages.
func (t *Tool) CallID() string {
	if t == nil {
		return ""
	}
	return t.callID
}

func (t *Tool) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.String("tool_name", t.name), slog.String("call_id", t.callID)}, more...)
}

// jsonBytes encodes an argument or a result; nil is none.
func (p *Producer) jsonBytes(v any) []byte {
	if v == nil {
		return nil
	}
	text, err := p.marshal(v, maxAttributeBytes)
	switch {
	case err != nil:
		return quoteJSON(p.unserializable(err))
	case text.cut != nil:
		return text.cut.json()
	default:
		return text.json
	}
}

func (t *Tool) execution(e *pb.ToolExecution) {
	r := t.node.run
	it, _ := r.p.newItem(r.th, pb.MessageType_MESSAGE_TYPE_TOOL_EXECUTION, classNormal)
	it.headers = r.headers
	it.header.ParentId = t.startID
	e.Header, e.CallId, e.ToolName, e.RetryCount = it.header, t.callID, t.name, t.retries.Load()
	e.Error = r.p.cutText(e.Error)
	it.cost += len(e.Arguments) + len(e.Result) + len(e.Error)
	it.msg = &pb.DashStreamMessage{Message: &pb.DashStreamMessage_ToolExecution{ToolExecution: e}}
	_ = r.emit(it) // what is not admitted is counted
}

func (t *Tool) elapsed() time.Duration {
	at, _ := t.node.run.p.now()
	return at.Sub(t.started)
}

// End ends the call with its result, encoded as JSON like the arguments. Further calls do nothing.
func (t *Tool) End(result any) {
	if t == nil || t.ended.Swap(true) {
		return
	}
	d := t.elapsed()
	t.execution(&pb.ToolExecution{Stage: pb.ToolExecution_EXECUTION_STAGE_COMPLETED, Result: t.node.run.p.jsonBytes(result), DurationUs: wire.DurationUS(d)})
	t.node.run.event(pb.EventType_EVENT_TYPE_TOOL_END, t.node.id, t.startID, d, t.attrs()...)
}

// Retry says that the call failed and is made again.
func (t *Tool) Retry(err error) {
	if t == nil || t.ended.Load() {
		return
	}
	t.retries.Add(1)
	t.execution(&pb.ToolExecution{Stage: pb.ToolExecution_EXECUTION_STAGE_RETRYING, Error: errorText(err)})
}

// Fail ends the call with an error. Further calls do nothing.
func (t *Tool) Fail(err error) {
	if t == nil || t.ended.Swap(true) {
		return
	}
	d := t.elapsed()
	text := errorText(err)
	t.execution(&pb.ToolExecution{
		Stage: pb.ToolExecution_EXECUTION_STAGE_FAILED, Error: text, DurationUs: wire.DurationUS(d),
		ErrorDetails: &pb.Error{Message: t.node.run.p.cutText(text), ExceptionType: fmt.Sprintf("%T", err), Severity: pb.Error_SEVERITY_ERROR},
	})
	t.node.run.event(pb.EventType_EVENT_TYPE_TOOL_ERROR, t.node.id, t.startID, d, t.attrs(slog.String("error", text), slog.String("error_type", fmt.Sprintf("%T", err)))...)
}
