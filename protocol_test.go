package dashstream_test

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// everything makes each call of the SDK once, with every field that it has.
func everything(t *testing.T, p *dashstream.Producer) {
	broken := errors.New("broken")
	run := p.StartRun(t.Context(), dashstream.RunSpec{
		ThreadID:     "t",
		Graph:        dashstream.Graph{Name: "g", Manifest: []int{1}, Schema: "{}", SchemaID: "s", EntryPoint: "plan", Nodes: 2, Edges: 1},
		InitialState: map[string]any{"n": 1, "text": strings.Repeat("long ", 100)},
	})
	n := run.Node("plan")
	n.Progress("half", 50)
	n.Thinking("hm", 1)
	n.Substep("read", "done")
	n.Warning("careful")
	llm := n.LLM("gpt-5", "openai")
	llm.Token("hello ")
	llm.Token("to the ")
	llm.Retry(1, broken)
	llm.Token("world ")
	llm.End(dashstream.Usage{PromptTokens: 812, CompletionTokens: 94, CostUSD: new(0.0031), FinishReason: "stop"})
	n.LLM("gpt-5", "openai").Fail(broken)
	tool := n.Tool("search", "q")
	tool.Retry(broken)
	tool.End("found")
	n.Tool("search", "q").Fail(broken)
	run.State(map[string]any{"n": 2, "text": strings.Repeat("long ", 100)})
	run.State(3)
	run.Checkpoint(4)
	run.State(map[string]any{"n": 5, "text": strings.Repeat("long ", 100)})
	run.Checkpoint(map[string]any{"n": 6, "text": strings.Repeat("long ", 100)})
	run.State(map[string]any{"n": 7, "text": strings.Repeat("long ", 100)})
	n.End(nil)
	run.Node("act").End(broken)
	run.Edge("plan", "act")
	run.Branch("plan", "act", "true")
	run.Parallel("act", "a", "b").End()
	run.Interrupt("act", "may I?")
	run.Resume("act", "yes")
	run.Quality(dashstream.Quality{
		Accuracy: new(0.9), Relevance: new(0.9), Completeness: new(0.9), Score: new(0.9), Passed: new(true),
		Latency: new(time.Second), RetryCount: new(1), TurnNumber: new(1),
		Model: "gpt-5", Category: "Simple", ApplicationType: "chat", QueryID: "q",
	})
	run.Error(broken, dashstream.ErrorInfo{Code: "E1", StackTrace: "at", Context: map[string]string{"k": "v"}, Suggestions: []string{"retry"}})
	run.End(nil)
	p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "u", Graph: dashstream.Graph{Name: "g"}}).End(&broken)
}

// docs/protocol.md names every event, attribute, field and metric that the SDK emits, with its type, and no other.
func TestProtocolIsWhatIsWritten(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	now := time.Unix(1_700_000_000, 0)
	p := newProducer(t, c, topic, dashstream.WithClock(func() time.Time { now = now.Add(time.Millisecond); return now }))
	everything(t, p)
	flush(t, p)

	events, messages, quality := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var llmEnd *pb.Event
	for _, r := range readAll(t, c, topic) {
		m := r.msg.ProtoReflect()
		inner := m.Get(m.WhichOneof(m.Descriptor().Oneofs().Get(0))).Message()
		inner.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			if fd.Name() != "header" {
				messages[string(inner.Descriptor().Name())+" "+string(fd.Name())+" "+typeOf(fd)] = true
			}
			return true
		})
		if e := r.msg.GetEvent(); e != nil {
			name := strings.TrimPrefix(e.EventType.String(), "EVENT_TYPE_")
			for k, v := range e.Attributes {
				m := v.ProtoReflect()
				kind := m.WhichOneof(m.Descriptor().Oneofs().Get(0)).Name()
				events[name+" "+k+" "+strings.TrimSuffix(string(kind), "_value")] = true
			}
			if len(e.Attributes) == 0 {
				events[name+" – –"] = true
			}
			if e.EventType == pb.EventType_EVENT_TYPE_LLM_END {
				llmEnd = e
			}
		}
		for k, v := range r.msg.GetMetrics().GetMetrics() {
			m := v.ProtoReflect()
			kind := m.WhichOneof(m.Descriptor().Oneofs().ByName("value")).Name()
			quality[k+" "+strings.TrimSuffix(string(kind), "_value")] = true
		}
	}
	text, err := os.ReadFile("docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	compare(t, "events", events, tableOf(doc, "events", 0, 2, 3))
	compare(t, "messages", messages, tableOf(doc, "messages", 0, 1, 2))
	compare(t, "quality", quality, tableOf(doc, "quality", 0, 1))

	for _, name := range pb.EventType_name {
		if name = strings.TrimPrefix(name, "EVENT_TYPE_"); name != "UNSPECIFIED" && !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/protocol.md does not name the event %s", name)
		}
	}
	_, example, _ := strings.Cut(doc, "    {\"event\": {")
	example, _, _ = strings.Cut("{\"event\": {"+example, "\n\n")
	var shown pb.DashStreamMessage
	if err := protojson.Unmarshal([]byte(strings.ReplaceAll(example, "AZK4…", "AZK4oAAAcACAAAAAAAAAAA==")), &shown); err != nil {
		t.Fatalf("the example: %v\n%s", err, example)
	}
	want := []string{}
	for k, v := range shown.GetEvent().Attributes {
		want = append(want, k+" "+v.String())
		if got := llmEnd.Attributes[k]; got.String() != v.String() {
			t.Errorf("the example has %s=%v, the SDK writes %v", k, v, got)
		}
	}
	if len(want) != len(llmEnd.Attributes) {
		t.Errorf("the example has the attributes %q, the SDK writes %d", want, len(llmEnd.Attributes))
	}
}

// A client that reads JSON can apply state with what docs/protocol.md says of operations: its example is what it says.
func TestProtocolShowsPatches(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `    {"stateDiff": `)
	message, rest, _ := strings.Cut(`{"stateDiff": `+rest, "\n\n")
	_, patch, _ := strings.Cut(rest, "\n\n")
	patch, _, _ = strings.Cut(patch, "\n\n")
	var shown pb.DashStreamMessage
	if err := protojson.Unmarshal([]byte(strings.ReplaceAll(message, "…", "")), &shown); err != nil {
		t.Fatalf("%v\n%s", err, message)
	}
	got := []map[string]any{}
	for _, o := range shown.GetStateDiff().GetOperations() {
		op := map[string]any{"op": strings.ToLower(strings.TrimPrefix(o.Op.String(), "OP_TYPE_")), "path": o.Path}
		if len(o.Value) > 0 {
			var value any
			if err := json.Unmarshal(o.Value, &value); err != nil {
				t.Fatalf("%s: %v", o, err)
			}
			op["value"] = value
		}
		got = append(got, op)
	}
	want := []map[string]any{}
	if err := json.Unmarshal([]byte(patch), &want); err != nil {
		t.Fatalf("%v\n%s", err, patch)
	}
	if len(got) != 3 || !reflect.DeepEqual(got, want) {
		t.Errorf("the message says %v, the patch %v", got, want)
	}
}

// typeOf is the type of a field as the documentation has it.
func typeOf(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.IsMap():
		return "map"
	case fd.IsList():
		return "list"
	}
	switch k := fd.Kind(); k {
	case protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return "int"
	default:
		return k.String()
	}
}

// tableOf reads columns of the table behind a mark. An empty first cell is that of the row above.
func tableOf(doc, mark string, columns ...int) map[string]bool {
	_, doc, _ = strings.Cut(doc, "<!-- "+mark+":")
	_, doc, _ = strings.Cut(doc, "|---|")
	_, doc, _ = strings.Cut(doc, "\n")
	doc, _, _ = strings.Cut(doc, "\n\n")
	out := map[string]bool{}
	first := ""
	for row := range strings.SplitSeq(doc, "\n") {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		if cells[0] != "" {
			first = cells[0]
		}
		cells[0] = first
		var key []string
		for _, c := range columns {
			key = append(key, cells[c])
		}
		out[strings.Join(key, " ")] = true
	}
	return out
}

func compare(t *testing.T, what string, emitted, documented map[string]bool) {
	t.Helper()
	var missing []string
	for k := range emitted {
		if !documented[k] {
			missing = append(missing, "not documented: "+k)
		}
	}
	for k := range documented {
		if !emitted[k] {
			missing = append(missing, "never emitted: "+k)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("%s:\n%s", what, strings.Join(missing, "\n"))
	}
}
