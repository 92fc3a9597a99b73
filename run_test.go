package dashstream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// line says what a message says, without ids and times.
func line(m *pb.DashStreamMessage) string {
	switch w := m.Message.(type) {
	case *pb.DashStreamMessage_Event:
		var attrs []string
		for k, v := range w.Event.Attributes {
			text := v.String()
			_, text, _ = strings.Cut(text, ":")
			if k == "call_id" || k == "hash" {
				continue
			}
			attrs = append(attrs, k+"="+strings.ReplaceAll(text, "  ", " "))
		}
		slices.Sort(attrs)
		return strings.TrimSpace(strings.TrimPrefix(w.Event.EventType.String(), "EVENT_TYPE_") + " " + w.Event.NodeId + " " + strings.Join(attrs, " "))
	case *pb.DashStreamMessage_TokenChunk:
		return fmt.Sprintf("TOKEN %d %q final=%t %s", w.TokenChunk.ChunkIndex, w.TokenChunk.Text, w.TokenChunk.IsFinal, w.TokenChunk.FinishReason)
	case *pb.DashStreamMessage_ToolExecution:
		e := w.ToolExecution
		return strings.TrimSpace(fmt.Sprintf("TOOL %s %s %s%s%s retries=%d", e.ToolName, strings.TrimPrefix(e.Stage.String(), "EXECUTION_STAGE_"), e.Arguments, e.Result, e.Error, e.RetryCount))
	case *pb.DashStreamMessage_StateDiff:
		return fmt.Sprintf("STATE %s %d operations", w.StateDiff.FullState, len(w.StateDiff.Operations))
	case *pb.DashStreamMessage_Checkpoint:
		return fmt.Sprintf("CHECKPOINT %s %s", w.Checkpoint.State, w.Checkpoint.Metadata["hash"])
	case *pb.DashStreamMessage_Metrics:
		return fmt.Sprintf("METRICS %s %d values, tags %v", w.Metrics.Scope, len(w.Metrics.Metrics), w.Metrics.Tags)
	case *pb.DashStreamMessage_Error:
		return fmt.Sprintf("ERROR %s %q %s", w.Error.ErrorCode, w.Error.Message, w.Error.Severity)
	}
	return "?"
}

func TestWhatARunSays(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	now := time.Unix(1_700_000_000, 0)
	p := newProducer(t, c, topic, dashstream.WithTenant("acme"), dashstream.WithClock(func() time.Time { now = now.Add(time.Millisecond); return now }))
	run := p.StartRun(t.Context(), dashstream.RunSpec{
		ThreadID:     "thread-1",
		Graph:        dashstream.Graph{Name: "g", Manifest: map[string]any{"nodes": []string{"plan"}}, Schema: `{"v":1}`, SchemaID: "s1", EntryPoint: "plan", Nodes: 1, Edges: 2},
		InitialState: map[string]any{"n": 1},
		Attrs:        []slog.Attr{slog.String("simulated", "yes")},
	})
	n := run.Node("plan", slog.Int("attempt", 1))
	n.Progress("half", 50)
	n.Progress("unknown", -1)
	n.Thinking("hm", 1)
	n.Substep("read", "done")
	n.Warning("careful")
	llm := n.LLM("gpt", "openai")
	llm.Token("hello ")
	llm.Retry(1, errors.New("busy"))
	llm.Token("world")
	llm.End(dashstream.Usage{PromptTokens: 3, CompletionTokens: 4, CostUSD: new(0.5), FinishReason: "tool_calls"})
	llm.Token("late")
	n.LLM("gpt", "openai").Fail(errors.New("down"))
	tool := n.Tool("search", map[string]any{"q": "<x>"})
	tool.Retry(errors.New("again"))
	tool.End([]int{1, 2})
	n.Tool("broken", nil).Fail(errors.New("no"))
	run.State(map[string]any{"n": 2})
	run.Checkpoint(map[string]any{"n": 2})
	n.End(nil)
	n.End(nil)
	run.Edge("plan", "act")
	run.Branch("act", "b", "true")
	run.Parallel("act", "b", "c").End()
	run.Node("b").End(errors.New("failed"))
	run.Interrupt("act", "may I?")
	run.Resume("act", "yes")
	run.Quality(dashstream.Quality{Accuracy: new(0.9), Score: new(0.8), Passed: new(true), Latency: new(time.Second), TurnNumber: new(1), Model: "gpt", Category: "Simple"})
	run.Error(errors.New("odd"), dashstream.ErrorInfo{Code: "E1"})
	run.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, "act", slog.String("key", "k"))
	run.Event(pb.EventType_EVENT_TYPE_GRAPH_END, "")
	run.End(nil)
	flush(t, p)

	records := readAll(t, c, topic)
	checkSequences(t, records)
	var got []string
	for _, r := range records {
		got = append(got, line(r.msg))
	}
	want := []string{
		`GRAPH_START  graph_edge_count=2 graph_entry_point="plan" graph_manifest="{\"nodes\":[\"plan\"]}" graph_name="g" graph_node_count=1 graph_schema_json="{\"v\":1}" initial_state_json="{\"n\":1}" schema_id="s1" simulated="yes"`,
		`NODE_START plan attempt=1`,
		`NODE_PROGRESS plan message="half" percent=50`,
		`NODE_PROGRESS plan message="unknown"`,
		`NODE_THINKING plan step=1 thought="hm"`,
		`NODE_SUBSTEP plan status="done" substep_name="read"`,
		`NODE_WARNING plan message="careful"`,
		`LLM_START plan model="gpt" provider="openai"`,
		`TOKEN 0 "hello " final=false FINISH_REASON_NONE`,
		`LLM_RETRY plan attempt=1 error="busy" model="gpt" provider="openai"`,
		`TOKEN 1 "world" final=true FINISH_REASON_TOOL_CALLS`,
		`LLM_END plan completion_tokens=4 cost_usd=0.5 finish_reason="tool_calls" model="gpt" prompt_tokens=3 provider="openai" total_tokens=7`,
		`LLM_START plan model="gpt" provider="openai"`,
		`LLM_ERROR plan error="down" error_type="*errors.errorString" model="gpt" provider="openai"`,
		`TOOL_START plan tool_name="search"`,
		`TOOL search STARTED {"q":"<x>"} retries=0`,
		`TOOL search RETRYING again retries=1`,
		`TOOL search COMPLETED [1,2] retries=1`,
		`TOOL_END plan tool_name="search"`,
		`TOOL_START plan tool_name="broken"`,
		`TOOL broken STARTED  retries=0`,
		`TOOL broken FAILED no retries=0`,
		`TOOL_ERROR plan error="no" error_type="*errors.errorString" tool_name="broken"`,
		`STATE {"n":2} 0 operations`,
		`CHECKPOINT {"n":2} jcs`,
		`NODE_END plan`,
		`EDGE_TRAVERSAL plan to="act"`,
		`CONDITIONAL_BRANCH act condition_result="true" to="b"`,
		`PARALLEL_START act branch_count=2 branches={values:{string_value:"b"} values:{string_value:"c"}}`,
		`PARALLEL_END act branch_count=2 branches={values:{string_value:"b"} values:{string_value:"c"}}`,
		`NODE_START b`,
		`NODE_ERROR b error="failed" error_type="*errors.errorString"`,
		`HUMAN_INTERRUPT act reason="may I?"`,
		`HUMAN_RESUME act input="yes"`,
		`METRICS quality 5 values, tags map[category:Simple model:gpt]`,
		`ERROR E1 "odd" SEVERITY_ERROR`,
		`MEMORY_SAVE act key="k"`,
		`GRAPH_END  graph_name="g"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	ids := map[string]bool{}
	var last int64
	for i, r := range records {
		h := r.header()
		if len(h.MessageId) != 16 || h.MessageId[6]>>4 != 7 || ids[string(h.MessageId)] {
			t.Errorf("message %d has the id %x", i, h.MessageId)
		}
		ids[string(h.MessageId)] = true
		if h.TimestampUs <= last || h.TenantId != "acme" || h.SchemaVersion != 1 || int(h.Type) != int(r.msg.ProtoReflect().WhichOneof(r.msg.ProtoReflect().Descriptor().Oneofs().Get(0)).Number()) {
			t.Errorf("message %d has the header %v", i, h)
		}
		last = h.TimestampUs
		if len(h.ParentId) > 0 && !ids[string(h.ParentId)] {
			t.Errorf("message %d has a parent that did not come before", i)
		}
		if e := r.msg.GetEvent(); e != nil && strings.HasSuffix(e.EventType.String(), "_END") && e.DurationUs <= 0 {
			t.Errorf("%s has the duration %d", e.EventType, e.DurationUs)
		}
	}
	requests := map[string]bool{}
	for _, r := range records {
		if k := r.msg.GetTokenChunk(); k != nil {
			requests[k.RequestId] = true
		}
		if e := r.msg.GetEvent(); e != nil && e.LlmRequestId != "" {
			requests[e.LlmRequestId] = true
		}
	}
	if len(requests) != 2 {
		t.Errorf("two calls have %d request ids", len(requests))
	}
}

// Trace context goes into Kafka headers.
func TestTraceContext(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	p := newProducer(t, c, topic, dashstream.WithTraceContext(traceOf))
	run := p.StartRun(withTrace(t.Context(), parent), dashstream.RunSpec{ThreadID: "t"})
	run.State(1)
	run.Edge("a", "b")
	run.End(nil)
	p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "u"}).End(nil)
	flush(t, p)
	for _, r := range readAll(t, c, topic) {
		want := ""
		if r.key == "t" {
			want = parent
		}
		if _, there := r.headers["tracestate"]; r.headers["traceparent"] != want || there {
			t.Errorf("thread %s: headers %v", r.key, r.headers)
		}
	}
}

type traceKey struct{}

func withTrace(ctx context.Context, parent string) context.Context {
	return context.WithValue(ctx, traceKey{}, parent)
}

func traceOf(ctx context.Context) (traceparent, tracestate string) {
	traceparent, _ = ctx.Value(traceKey{}).(string)
	return traceparent, ""
}
