package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/jcs"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/producersettings"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// producerFor returns a producer as the program makes it. The test closes it.
func producerFor(t testing.TB, c *testkafka.Cluster, topic string, clock *Clock) *dashstream.Producer {
	t.Helper()
	kafka := kafkaclient.Default()
	kafka.Brokers, kafka.Topic, kafka.TenantID = c.Brokers(), topic, "somebody"
	settings := producersettings.Default()
	settings.FlushTimeout = 30e9
	p, err := NewProducer(kafka, settings, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx)
	})
	return p
}

// play runs a demo on a new topic and returns the messages by thread, each thread's in their order.
func play(t *testing.T, c *testkafka.Cluster, o Options) (Report, map[string][]*pb.DashStreamMessage) {
	t.Helper()
	topic := c.Topic(t, 3)
	report, err := Run(t.Context(), o, producerFor(t, c, topic, o.Clock))
	if err != nil {
		t.Fatal(err)
	}
	return report, read(t, c, topic, report.Total.Acked)
}

// read reads n messages. What is of no thread, or in another partition than the rest of it, would show in the sequences.
func read(t *testing.T, c *testkafka.Cluster, topic string, n uint64) map[string][]*pb.DashStreamMessage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	defer cancel()
	cl := c.Client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	out := map[string][]*pb.DashStreamMessage{}
	for got := uint64(0); got < n; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("read %d of %d messages: %v", got, n, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			got++
			m, err := wire.Decode(r.Value, wire.DefaultLimits())
			if err != nil {
				t.Fatalf("offset %d of partition %d: %v", r.Offset, r.Partition, err)
			}
			thread := wire.HeaderOf(m).GetThreadId()
			if thread != string(r.Key) {
				t.Errorf("the record of thread %s has the key %s", thread, r.Key)
			}
			out[thread] = append(out[thread], m)
		})
	}
	return out
}

// Every scenario, through the SDK and a broker, is what its script says.
func TestEveryScenarioThroughKafka(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	const seed, runs = 5, 64
	report, threads := play(t, c, Options{Seed: seed, Runs: runs, Concurrency: 4})
	if report.Total.Emitted != report.Total.Acked || report.Total.Lost() != 0 || len(report.Reasons) != 0 {
		t.Errorf("%+v", report)
	}
	if len(threads) != runs || report.Runs[Completed]+report.Runs[Failed] != runs || len(report.Scenarios) != len(scenarios()) {
		t.Errorf("%d threads of %d runs, %v, %v", len(threads), runs, report.Runs, report.Scenarios)
	}
	kinds, events := map[pb.MessageType]uint64{}, map[pb.EventType]bool{}
	for n := 1; n <= runs; n++ {
		s := written(t, seed, n, AllScenarios)
		t.Run(s.thread, func(t *testing.T) {
			v := verify(t, s, threads[s.thread])
			for k, n := range v.kinds {
				kinds[k] += n
			}
			for e := range v.events {
				events[e] = true
			}
		})
	}
	// An event batch is another form of events, which the SDK does not use.
	for _, kind := range dashstream.MessageTypes() {
		name := strings.ToLower(strings.TrimPrefix(kind.String(), "MESSAGE_TYPE_"))
		if kinds[kind] == 0 || report.Types[name].Acked != kinds[kind] {
			t.Errorf("%d messages of type %s in the log, the report says %+v", kinds[kind], name, report.Types[name])
		}
	}
	for n, name := range pb.EventType_name {
		if e := pb.EventType(n); e != pb.EventType_EVENT_TYPE_UNSPECIFIED && !events[e] {
			t.Errorf("no event %s in all scenarios", name)
		}
	}
}

// verifier reads the messages of a run as somebody who knows the script.
type verifier struct {
	s      *script
	kinds  map[pb.MessageType]uint64
	events map[pb.EventType]bool

	manifest manifest
	nodes    map[string]string // open ones, by the id of their start
	begun    int
	calls    map[string]string // what was said, by request
	texts    []string
	final    map[string]bool
	tools    map[string]pb.ToolExecution_ExecutionStage
	state    []byte
	verified int
	tokens   int64
	cost     float64
	scores   []float64
	trace    *pb.ExecutionTrace
}

func verify(t *testing.T, s *script, messages []*pb.DashStreamMessage) *verifier {
	t.Helper()
	v := &verifier{
		s: s, kinds: map[pb.MessageType]uint64{}, events: map[pb.EventType]bool{}, nodes: map[string]string{},
		calls: map[string]string{}, final: map[string]bool{}, tools: map[string]pb.ToolExecution_ExecutionStage{},
	}
	ids := map[string]bool{}
	for i, m := range messages {
		h := wire.HeaderOf(m)
		if h.Sequence != uint64(i+1) {
			t.Fatalf("message %d has the sequence %d", i+1, h.Sequence)
		}
		if ids[string(h.MessageId)] || len(h.MessageId) != wire.MessageIDBytes {
			t.Errorf("message %d has the id %x, which is not its own", i+1, h.MessageId)
		}
		ids[string(h.MessageId)] = true
		if h.TenantId != Tenant {
			t.Errorf("message %d has the tenant %s", i+1, h.TenantId)
		}
		v.kinds[h.Type]++
		v.message(t, m)
	}
	v.ends(t, messages)
	return v
}

func (v *verifier) message(t *testing.T, m *pb.DashStreamMessage) {
	switch m := m.Message.(type) {
	case *pb.DashStreamMessage_Event:
		v.event(t, m.Event)
	case *pb.DashStreamMessage_TokenChunk:
		c := m.TokenChunk
		if v.final[c.RequestId] {
			t.Error("a chunk follows the final one")
		}
		if _, ok := v.calls[c.RequestId]; !ok {
			t.Error("a chunk belongs to no call")
		}
		v.calls[c.RequestId] += c.Text
		if c.IsFinal {
			v.final[c.RequestId] = true
			if c.Stats.GetTotalTokens() == 0 || c.Stats.TotalTokens != c.Stats.PromptTokens+c.Stats.CompletionTokens {
				t.Errorf("the final chunk has %v", c.Stats)
			}
		}
	case *pb.DashStreamMessage_ToolExecution:
		v.tools[m.ToolExecution.CallId] = m.ToolExecution.Stage
	case *pb.DashStreamMessage_StateDiff:
		v.diff(t, m.StateDiff)
	case *pb.DashStreamMessage_Checkpoint:
		if got, want := canonical(t, m.Checkpoint.State), canonical(t, v.state); got != want {
			t.Errorf("the checkpoint has\n%s, want\n%s", got, want)
		}
	case *pb.DashStreamMessage_Metrics:
		if m.Metrics.Scope != "quality" || m.Metrics.Tags["category"] != v.s.category || m.Metrics.Tags["demo"] != "true" {
			t.Errorf("metrics of scope %s with tags %v", m.Metrics.Scope, m.Metrics.Tags)
		}
		v.scores = append(v.scores, m.Metrics.Metrics["quality_score"].GetFloatValue())
	case *pb.DashStreamMessage_Error:
		if m.Error.Message == "" || m.Error.ErrorCode == "" || m.Error.Severity == pb.Error_SEVERITY_UNSPECIFIED || m.Error.ErrorCode == "state_unavailable" {
			t.Errorf("error %v", m.Error)
		}
	case *pb.DashStreamMessage_ExecutionTrace:
		v.trace = m.ExecutionTrace
	}
}

func (v *verifier) event(t *testing.T, e *pb.Event) {
	v.events[e.EventType] = true
	a := func(name string) string { return e.Attributes[name].GetStringValue() }
	switch e.EventType {
	case pb.EventType_EVENT_TYPE_GRAPH_START:
		if !e.Attributes["demo"].GetBoolValue() || a("demo_scenario") != v.s.scenario || a("demo_seed") != fmt.Sprint(v.s.seed) {
			t.Errorf("the run does not say that it is a demo: %v", e.Attributes)
		}
		var schema graph
		if err := json.Unmarshal([]byte(a("graph_schema_json")), &schema); err != nil {
			t.Fatalf("schema: %v", err)
		}
		if err := json.Unmarshal([]byte(a("graph_manifest")), &v.manifest); err != nil {
			t.Fatalf("manifest: %v", err)
		}
		if a("graph_name") != schema.Name || a("graph_entry_point") != schema.EntryPoint || v.manifest.EntryPoint != schema.EntryPoint ||
			e.Attributes["graph_node_count"].GetIntValue() != int64(len(schema.Nodes)) || e.Attributes["graph_edge_count"].GetIntValue() != int64(len(schema.Edges)) ||
			len(v.manifest.Nodes) != len(schema.Nodes) || !strings.HasPrefix(a("schema_id"), schema.Name+"@") {
			t.Errorf("the graph is described by %v", e.Attributes)
		}
		v.state = []byte(a("initial_state_json"))
		if got, want := canonical(t, v.state), canonical(t, v.s.initial); got != want {
			t.Errorf("the initial state is %s, want %s", got, want)
		}
	case pb.EventType_EVENT_TYPE_NODE_START:
		if v.manifest.Nodes[e.NodeId].Kind == "" {
			t.Errorf("node %s is not in the manifest", e.NodeId)
		}
		v.nodes[string(e.Header.MessageId)] = e.NodeId
		v.begun++
	case pb.EventType_EVENT_TYPE_NODE_END, pb.EventType_EVENT_TYPE_NODE_ERROR:
		if v.nodes[string(e.Header.ParentId)] != e.NodeId {
			t.Errorf("node %s ends and had not begun", e.NodeId)
		}
		delete(v.nodes, string(e.Header.ParentId))
	case pb.EventType_EVENT_TYPE_EDGE_TRAVERSAL, pb.EventType_EVENT_TYPE_CONDITIONAL_BRANCH:
		found := false
		for _, edge := range v.manifest.Edges[e.NodeId] {
			found = found || edge.To == a("to") && edge.Conditional == (e.EventType == pb.EventType_EVENT_TYPE_CONDITIONAL_BRANCH)
		}
		if !found || e.EventType == pb.EventType_EVENT_TYPE_CONDITIONAL_BRANCH && a("condition_result") == "" {
			t.Errorf("the way from %s to %s is not in the manifest", e.NodeId, a("to"))
		}
	case pb.EventType_EVENT_TYPE_LLM_START:
		v.calls[e.LlmRequestId] = ""
		if a("model") == "" || a("provider") == "" {
			t.Errorf("a call of %q by %q", a("model"), a("provider"))
		}
	case pb.EventType_EVENT_TYPE_LLM_END:
		v.texts = append(v.texts, v.calls[e.LlmRequestId])
		prompt, completion := e.Attributes["prompt_tokens"].GetIntValue(), e.Attributes["completion_tokens"].GetIntValue()
		if total := e.Attributes["total_tokens"].GetIntValue(); total == 0 || total != prompt+completion || a("finish_reason") == "" {
			t.Errorf("a call ends with %v", e.Attributes)
		}
		v.tokens += prompt + completion
		v.cost = round(v.cost+e.Attributes["cost_usd"].GetFloatValue(), 8)
	}
}

// diff applies a diff and proves its hash.
func (v *verifier) diff(t *testing.T, d *pb.StateDiff) {
	if len(d.FullState) > 0 {
		v.state = d.FullState
	} else {
		var list []map[string]any
		for _, op := range d.Operations {
			m := map[string]any{"op": map[pb.DiffOperation_OpType]string{0: "add", 1: "remove", 2: "replace"}[op.Op], "path": op.Path}
			if len(op.Value) > 0 {
				m["value"] = json.RawMessage(op.Value)
			}
			list = append(list, m)
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		patch, err := jsonpatch.DecodePatch(text)
		if err != nil {
			t.Fatal(err)
		}
		if v.state, err = patch.Apply(v.state); err != nil {
			t.Fatalf("apply %s: %v", text, err)
		}
	}
	if sum := sha256.Sum256([]byte(canonical(t, v.state))); !bytes.Equal(sum[:], d.StateHash) {
		t.Errorf("the hash of a diff is not that of the state")
	}
	v.verified++
}

func canonical(t *testing.T, state []byte) string {
	t.Helper()
	doc, err := jcs.Canonicalize(state)
	if err != nil {
		t.Fatalf("%.200q: %v", state, err)
	}
	return string(doc.JSON)
}

// ends compares what was gathered with the script.
func (v *verifier) ends(t *testing.T, messages []*pb.DashStreamMessage) {
	last := pb.EventType_EVENT_TYPE_GRAPH_END
	if v.s.failure != nil {
		last = pb.EventType_EVENT_TYPE_GRAPH_ERROR
	}
	for i, m := range messages {
		switch e := m.GetEvent().GetEventType(); {
		case (e == pb.EventType_EVENT_TYPE_GRAPH_START) != (i == 0), (e == last) != (i == len(messages)-1):
			t.Errorf("%v is message %d of %d", e, i+1, len(messages))
		}
	}
	if len(v.nodes) > 0 {
		t.Errorf("nodes that never ended: %v", v.nodes)
	}
	for id, stage := range v.tools {
		if stage != pb.ToolExecution_EXECUTION_STAGE_COMPLETED && stage != pb.ToolExecution_EXECUTION_STAGE_FAILED {
			t.Errorf("tool call %s ends in stage %v", id, stage)
		}
	}
	texts, scores, states := said(v.s)
	if len(texts) != len(v.texts) {
		t.Fatalf("%d calls ended, the script has %d", len(v.texts), len(texts))
	}
	for i := range texts {
		if texts[i] != v.texts[i] {
			t.Errorf("call %d says %q, want %q", i, v.texts[i], texts[i])
		}
	}
	if fmt.Sprint(scores) != fmt.Sprint(v.scores) {
		t.Errorf("scores %v, want %v", v.scores, scores)
	}
	if v.verified != states {
		t.Errorf("%d diffs, the script has %d states", v.verified, states)
	}
	want := canonical(t, v.s.final)
	if got := canonical(t, v.state); got != want {
		t.Errorf("the state after the last diff is\n%s, want\n%s", got, want)
	}
	if v.trace == nil {
		t.Fatal("no trace")
	}
	if got := canonical(t, v.trace.FinalState); got != want || v.trace.Completed != (v.s.failure == nil) || len(v.trace.NodesExecuted) != v.begun {
		t.Errorf("the trace has %d nodes of %d, completed %v, state %s", len(v.trace.NodesExecuted), v.begun, v.trace.Completed, got)
	}
	var final state
	if err := json.Unmarshal(v.s.final, &final); err != nil {
		t.Fatal(err)
	}
	if v.trace.TotalTokens != uint64(v.tokens) {
		t.Errorf("the trace has %d tokens, the calls %d", v.trace.TotalTokens, v.tokens)
	}
	if sum := int64(final.Usage.PromptTokens + final.Usage.CompletionTokens); sum != v.tokens || final.Usage.CostUSD != v.cost {
		t.Errorf("the state counts %d tokens for %v, the calls are %d for %v", sum, final.Usage.CostUSD, v.tokens, v.cost)
	}
}

// said is what a script's calls say, in the order of their ends, its scores, and how many states it has that differ from
// the one before.
func said(s *script) (texts []string, scores []float64, states int) {
	open := map[int]string{}
	before := s.initial
	for _, st := range s.steps {
		switch a := st.do.(type) {
		case token:
			open[a.call] += a.text
		case llmEnd:
			texts = append(texts, open[a.call])
		case quality:
			scores = append(scores, a.score)
		case setState:
			if !bytes.Equal(a.json, before) {
				states++
			}
			before = a.json
		}
	}
	return texts, scores, states
}
