package dashstream

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/redact"
	"github.com/dashflow/dashstream/internal/wire"
)

// LLM is one call of a language model. It is made by [Node.LLM] and ended by End or Fail.
type LLM struct {
	node            *Node
	model, provider string
	requestID       string
	startID         []byte
	started         time.Time

	mu     sync.Mutex
	chunks uint32
	ended  bool
	stream *redact.Stream // nil: redaction is off
}

// Usage is what a call of a model took. Counts of 0 and a nil cost are unknown, and left out.
type Usage struct {
	PromptTokens, CompletionTokens int
	// TotalTokens is the sum of the two where it is 0 and both are known.
	TotalTokens int
	CostUSD     *float64
	// FinishReason is stop, length, content_filter, tool_calls, error, or as the provider says.
	FinishReason string
	// Attrs are further attributes of LLM_END.
	Attrs []slog.Attr
}

// LLM begins a call of a model and emits LLM_START.
func (n *Node) LLM(model, provider string, attrs ...slog.Attr) *LLM {
	if n == nil {
		return nil
	}
	it, t := n.run.newEvent(pb.EventType_EVENT_TYPE_LLM_START, n.id, n.startID)
	l := &LLM{node: n, model: model, provider: provider, startID: bytes.Clone(it.header.MessageId), started: t}
	l.requestID = uuidText(l.startID)
	if r := n.run.p.redactor; r != nil {
		l.stream = r.NewStream()
	}
	it.own.body.LlmRequestId = l.requestID
	n.run.emitWith(it, l.attrs(attrs...))
	return l
}

func (l *LLM) attrs(more ...slog.Attr) []slog.Attr {
	attrs := make([]slog.Attr, 0, 2+len(more))
	if l.model != "" {
		attrs = append(attrs, slog.String("model", l.model))
	}
	if l.provider != "" {
		attrs = append(attrs, slog.String("provider", l.provider))
	}
	return append(attrs, more...)
}

// RequestID identifies the call in all its messages.
func (l *LLM) RequestID() string {
	if l == nil {
		return ""
	}
	return l.requestID
}

// Token emits text that the model produced, as one chunk. With redaction on, the chunks of a call are searched as one
// text: the last word is held back until the next begins, since it may be the beginning of a secret, and a chunk that
// leaves nothing to be shown is not sent.
func (l *LLM) Token(text string) {
	if l == nil || text == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	if l.stream != nil {
		text = l.stream.Push(text)
	}
	l.chunk(text, classDroppable, nil)
}

// chunk emits a chunk, unless it says nothing. l.mu is held.
func (l *LLM) chunk(text string, c class, final *pb.TokenChunk) {
	if text == "" && final == nil {
		return
	}
	r := l.node.run
	it, _ := r.p.newItem(r.th, pb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK, c)
	it.headers = r.headers
	it.header.ParentId = l.startID
	t := final
	if t == nil {
		t = &pb.TokenChunk{}
	}
	t.Header, t.RequestId, t.Model, t.ChunkIndex = it.header, l.requestID, l.model, l.chunks
	t.Text = r.p.cutText(text)
	l.chunks++
	it.cost += len(t.Text)
	it.msg = &pb.DashStreamMessage{Message: &pb.DashStreamMessage_TokenChunk{TokenChunk: t}}
	_ = r.emit(it) // what is not admitted is counted
}

// finish emits the last chunk, if there were any.
func (l *LLM) finish(reason pb.TokenChunk_FinishReason, u Usage) {
	rest := ""
	if l.stream != nil {
		rest = l.stream.Close()
	}
	if l.chunks == 0 && rest == "" {
		return
	}
	final := &pb.TokenChunk{IsFinal: true, FinishReason: reason}
	if u.PromptTokens > 0 || u.CompletionTokens > 0 || u.TotalTokens > 0 {
		final.Stats = &pb.TokenStats{
			PromptTokens: uint32Of(u.PromptTokens), CompletionTokens: uint32Of(u.CompletionTokens), TotalTokens: uint32Of(u.TotalTokens),
		}
	}
	l.chunk(rest, classNormal, final)
}

func uint32Of(n int) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }

// End ends the call and emits LLM_END, and a final chunk if there were chunks. Further calls do nothing.
func (l *LLM) End(u Usage) {
	if l == nil {
		return
	}
	if l.over() {
		return
	}
	d := l.elapsed()
	if u.TotalTokens == 0 && u.PromptTokens > 0 && u.CompletionTokens > 0 {
		u.TotalTokens = u.PromptTokens + u.CompletionTokens
	}
	attrs := l.attrs()
	for _, c := range []struct {
		key string
		n   int
	}{{"prompt_tokens", u.PromptTokens}, {"completion_tokens", u.CompletionTokens}, {"total_tokens", u.TotalTokens}} {
		if c.n > 0 {
			attrs = append(attrs, slog.Int(c.key, c.n))
		}
	}
	if u.CostUSD != nil && l.node.run.p.finite(*u.CostUSD) {
		attrs = append(attrs, slog.Float64("cost_usd", *u.CostUSD))
	}
	if u.FinishReason != "" {
		attrs = append(attrs, slog.String("finish_reason", u.FinishReason))
	}
	l.end(pb.EventType_EVENT_TYPE_LLM_END, d, append(attrs, u.Attrs...), finishReason(u.FinishReason), u)
}

// over reports whether the call has ended.
func (l *LLM) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// end ends the call, once. The attributes are captured without the lock: methods of their values may take their time,
// or emit a token.
func (l *LLM) end(t pb.EventType, d time.Duration, attrs []slog.Attr, reason pb.TokenChunk_FinishReason, u Usage) {
	captured, cost := l.node.run.p.capture(attrs)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	l.finish(reason, u)
	it := l.newEvent(t, d)
	it.attrs = captured
	it.cost += cost
	_ = l.node.run.emit(it) // what is not admitted is counted
}

// finite reports whether a number is one, and counts it if not.
func (p *Producer) finite(f float64) bool {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		p.degrade(DegradedNotFinite)
		return false
	}
	return true
}

func finishReason(s string) pb.TokenChunk_FinishReason {
	switch strings.ToLower(s) {
	case "":
		return pb.TokenChunk_FINISH_REASON_NONE
	case "length", "max_tokens":
		return pb.TokenChunk_FINISH_REASON_LENGTH
	case "content_filter", "safety", "refusal":
		return pb.TokenChunk_FINISH_REASON_CONTENT_FILTER
	case "tool_calls", "tool_use", "function_call":
		return pb.TokenChunk_FINISH_REASON_TOOL_CALLS
	case "error":
		return pb.TokenChunk_FINISH_REASON_ERROR
	default:
		return pb.TokenChunk_FINISH_REASON_STOP
	}
}

// Retry says that the call failed and is made again: attempt counts retries from 1.
func (l *LLM) Retry(attempt int, err error) {
	if l == nil {
		return
	}
	l.node.run.emitWith(l.newEvent(pb.EventType_EVENT_TYPE_LLM_RETRY, 0), l.attrs(slog.Int("attempt", attempt), slog.String("error", errorText(err))))
}

// Fail ends the call and emits LLM_ERROR, and a final chunk if there were chunks. Further calls do nothing.
func (l *LLM) Fail(err error) {
	if l == nil {
		return
	}
	if l.over() {
		return
	}
	d := l.elapsed()
	attrs := l.attrs(slog.String("error", errorText(err)), slog.String("error_type", fmt.Sprintf("%T", err)))
	l.end(pb.EventType_EVENT_TYPE_LLM_ERROR, d, attrs, pb.TokenChunk_FINISH_REASON_ERROR, Usage{})
}

func (l *LLM) elapsed() time.Duration {
	t, _ := l.node.run.p.now()
	return t.Sub(l.started)
}

func (l *LLM) newEvent(t pb.EventType, d time.Duration) *item {
	it, _ := l.node.run.newEvent(t, l.node.id, l.startID)
	it.own.body.DurationUs = wire.DurationUS(d)
	it.own.body.LlmRequestId = l.requestID
	return it
}
