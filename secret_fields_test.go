package dashstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// place is a way from a message to a field of its or of what it holds, and sets it.
type place struct {
	name string
	set  func(m protoreflect.Message, leaf func(protoreflect.FieldDescriptor) protoreflect.Value)
}

// places returns every field of strings and bytes below a message type: of nested messages, elements of lists, keys and
// values of maps. A type within itself is followed once more.
func places(d protoreflect.MessageDescriptor, above []protoreflect.FullName) []place {
	within := 0
	for _, name := range above {
		if name == d.FullName() {
			within++
		}
	}
	if within > 1 {
		return nil
	}
	above = append(above[:len(above):len(above)], d.FullName())
	var out []place
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		name := string(fd.Name())
		switch {
		case fd.IsMap():
			out = append(out, place{name + ".key", func(m protoreflect.Message, leaf func(protoreflect.FieldDescriptor) protoreflect.Value) {
				entries := m.Mutable(fd).Map()
				entries.Set(leaf(fd.MapKey()).MapKey(), entries.NewValue())
			}})
			if isText(fd.MapValue()) {
				out = append(out, place{name + ".value", func(m protoreflect.Message, leaf func(protoreflect.FieldDescriptor) protoreflect.Value) {
					m.Mutable(fd).Map().Set(protoreflect.ValueOfString("plain").MapKey(), leaf(fd.MapValue()))
				}})
			} else if inner := fd.MapValue().Message(); inner != nil {
				for _, p := range places(inner, above) {
					out = append(out, place{name + ".value." + p.name, func(m protoreflect.Message, leaf func(protoreflect.FieldDescriptor) protoreflect.Value) {
						p.set(m.Mutable(fd).Map().Mutable(protoreflect.ValueOfString("plain").MapKey()).Message(), leaf)
					}})
				}
			}
		case fd.IsList() && isText(fd):
			out = append(out, place{name, func(m protoreflect.Message, leaf func(protoreflect.FieldDescriptor) protoreflect.Value) {
				m.Mutable(fd).List().Append(leaf(fd))
			}})
		case isText(fd):
			out = append(out, place{name, func(m protoreflect.Message, leaf func(protoreflect.FieldDescriptor) protoreflect.Value) {
				m.Set(fd, leaf(fd))
			}})
		case fd.Message() != nil:
			for _, p := range places(fd.Message(), above) {
				out = append(out, place{name + "." + p.name, func(m protoreflect.Message, leaf func(protoreflect.FieldDescriptor) protoreflect.Value) {
					if fd.IsList() {
						p.set(m.Mutable(fd).List().AppendMutable().Message(), leaf)
						return
					}
					p.set(m.Mutable(fd).Message(), leaf)
				}})
			}
		}
	}
	return out
}

func isText(fd protoreflect.FieldDescriptor) bool {
	return fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.BytesKind
}

// exempt are the fields of strings and bytes that Send does not redact, as the documentation has them: none.
var exempt = map[string]bool{}

// SEC-02: whichever one field a secret stands in, it is in no part of a record that arrives. The short ones have the sizes
// that identifiers and hashes must have.
func TestNoFieldLetsASecretThrough(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	all := places((&pb.DashStreamMessage{}).ProtoReflect().Descriptor(), nil)
	for _, must := range []string{
		"event.header.thread_id", "event.header.message_id", "event.attributes.key", "event.attributes.value.map_value.values.value.string_value",
		"event_batch.events.node_id", "tool_execution.error_details.context.value", "metrics.metrics.value.bytes_value", "execution_trace.nodes_executed.input",
	} {
		found := false
		for _, at := range all {
			found = found || at.name == must
		}
		if !found {
			t.Errorf("%s is no place", must)
		}
	}
	sent := 0
	for _, at := range all {
		if exempt[at.name] {
			continue
		}
		for _, secret := range []string{"sk-proj-" + needle + needle, "pwd=" + needle[:12], "pwd=" + needle + needle[:12]} {
			m := &pb.DashStreamMessage{}
			at.set(m.ProtoReflect(), func(fd protoreflect.FieldDescriptor) protoreflect.Value { return leafValue(fd, secret) })
			m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				nameThread(v.Message())
				return true
			})
			for _, e := range m.GetEventBatch().GetEvents() {
				nameThread(e.ProtoReflect())
			}
			if b := m.GetEventBatch(); b == nil || len(b.Events) > 0 {
				sent++
			}
			before := proto.CloneOf(m)
			if err := p.Send(m); err != nil {
				t.Errorf("%s: %v", at.name, err)
			}
			if !proto.Equal(before, m) {
				t.Errorf("%s: Send changed the caller's message", at.name)
			}
		}
	}
	flush(t, p)
	records := readAll(t, c, topic)
	if len(records) != sent {
		t.Errorf("%d records of %d messages", len(records), sent)
	}
	for _, r := range records {
		wantNoSecret(t, r)
	}
	checkAccounts(t, p)
}

// nameThread gives a message a thread, unless it has one.
func nameThread(m protoreflect.Message) {
	h := m.Mutable(m.Descriptor().Fields().ByName("header")).Message().Interface().(*pb.Header)
	if h.ThreadId == "" {
		h.ThreadId = "t"
	}
}

// Fields that this version does not know are left out at every depth, and kept if redaction is off.
func TestUnknownFieldsAreLeftOut(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	unknown := protowire.AppendString(protowire.AppendTag(nil, 77, protowire.BytesType), needle)
	for _, on := range []bool{true, false} {
		topic := c.Topic(t, 1)
		var log bytes.Buffer
		p := newProducer(t, c, topic, dashstream.WithRedaction(on), dashstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		sent := 0
		for name, build := range kinds() {
			m := build()
			m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				fill(v.Message(), "plain", 0)
				return true
			})
			if d := m.GetStateDiff(); d != nil {
				d.BaseCheckpointId, d.StateHash = nil, nil
			}
			added := addUnknown(m.ProtoReflect(), unknown)
			before := proto.CloneOf(m)
			if err := p.Send(m); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !proto.Equal(before, m) {
				t.Errorf("%s: Send changed the caller's message", name)
			}
			if sent++; added < 2 {
				t.Errorf("%s: an unknown field in %d places only", name, added)
			}
		}
		flush(t, p)
		left := 0
		for _, r := range readAll(t, c, topic) {
			if plain, _ := proto.Marshal(r.msg); bytes.Contains(plain, []byte(needle)) {
				left++
			}
		}
		if on && left > 0 || !on && left < sent {
			t.Errorf("redaction %v: %d of %d messages have unknown fields", on, left, sent)
		}
		want := 0
		if on {
			want = 1
		}
		if n := strings.Count(log.String(), "does not know"); n != want || strings.Contains(log.String(), needle) {
			t.Errorf("redaction %v: the logger was told %d times:\n%s", on, n, &log)
		}
	}
}

// addUnknown adds an unknown field to a message and all messages in it, and returns to how many.
func addUnknown(m protoreflect.Message, b []byte) int {
	n := 1
	m.SetUnknown(b)
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				n += addUnknown(v.Message(), b)
				return true
			})
		case fd.IsMap() || fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				n += addUnknown(v.List().Get(i).Message(), b)
			}
		default:
			n += addUnknown(v.Message(), b)
		}
		return true
	})
	return n
}

// A number is masked by its name alike wherever it stands.
func TestNumbersOfSecretNames(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	h := func() *pb.Header { return &pb.Header{ThreadId: "t"} }
	number := func(f float64) *pb.MetricValue {
		return &pb.MetricValue{Value: &pb.MetricValue_FloatValue{FloatValue: f}, Unit: "u"}
	}
	whole := func(n int64) *pb.MetricValue { return &pb.MetricValue{Value: &pb.MetricValue_IntValue{IntValue: n}} }
	for _, m := range []*pb.DashStreamMessage{
		{Message: &pb.DashStreamMessage_Metrics{Metrics: &pb.Metrics{Header: h(), Metrics: map[string]*pb.MetricValue{
			"password": whole(1234), "api_key": number(12.5), "token_count": whole(812), "latency_ms": number(1.5), "token": whole(7),
		}}}},
		{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: h(), Attributes: map[string]*pb.AttributeValue{
			"password": {Value: &pb.AttributeValue_IntValue{IntValue: 1234}}, "api_key": {Value: &pb.AttributeValue_FloatValue{FloatValue: 12.5}},
			"token_count": {Value: &pb.AttributeValue_IntValue{IntValue: 812}},
		}}}},
	} {
		if err := p.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, p)
	records := readAll(t, c, topic)
	got := records[0].msg.GetMetrics().GetMetrics()
	if got["password"].GetStringValue() != "[REDACTED]" || got["api_key"].GetStringValue() != "[REDACTED]" || got["api_key"].GetUnit() != "u" {
		t.Errorf("metrics %v", got)
	}
	if got["token_count"].GetIntValue() != 812 || got["latency_ms"].GetFloatValue() != 1.5 || got["token"].GetIntValue() != 7 {
		t.Errorf("metrics %v", got)
	}
	attrs := records[1].msg.GetEvent().GetAttributes()
	if attrs["password"].GetStringValue() != "[REDACTED]" || attrs["api_key"].GetStringValue() != "[REDACTED]" || attrs["token_count"].GetIntValue() != 812 {
		t.Errorf("attributes %v", attrs)
	}
}

// A trace context is one by its grammar, or none; what may hold a secret in it is redacted.
func TestTraceContextIsCheckedAndRedacted(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	key := "sk-proj-" + needle + needle
	many := strings.Repeat("a=b,", 31)
	for n := range 31 {
		many = strings.Replace(many, "a=b", fmt.Sprintf("k%d=b", n), 1)
	}
	cases := []struct{ parent, state, wantParent, wantState string }{
		{parent, "rojo=00f067aa0ba902b7 , ,congo=t61rcWkgMzE", parent, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
		{parent, "1a-_*/@sys=x y:z", parent, "1a-_*/@sys=x y:z"},
		{"cc" + parent[2:], "", "cc" + parent[2:], ""},
		{parent, many + "z=1", parent, many + "z=1"},
		{parent, "vendor=" + key + ",b=1", parent, "vendor=[REDACTED],b=1"},
		{parent, "password=" + needle[:8] + ",b=password:" + needle, parent, "password=[REDACTED],b=password:[REDACTED]"},
		{parent, "sk-ant-" + strings.ToLower(needle) + "=1,b=2", parent, "b=2"},
		{parent, many + "z=1,y=2", parent, ""},
		{parent, "a=1,a=2", parent, ""},
		{parent, "a=" + strings.Repeat("x", 257), parent, ""},
		{parent, "a=" + strings.Repeat("x", 250) + ",b=" + strings.Repeat("x", 256), parent, "a=" + strings.Repeat("x", 250) + ",b=" + strings.Repeat("x", 256)},
		{parent, "a=" + strings.Repeat("x", 252) + ",b=" + strings.Repeat("x", 256), parent, ""},
		{parent, "A=1", parent, ""}, {parent, "1a=1", parent, ""}, {parent, "a", parent, ""}, {parent, "a=", parent, ""}, {parent, "a=b=c", parent, ""},
		{parent, "a=é", parent, ""}, {parent, "a=\n", parent, ""}, {parent, "a@b@c=1", parent, ""}, {parent, "a@=1", parent, ""},
		{"", "a=1", "", ""},
		{"00-password=" + key, "a=1", "", ""},
		{strings.ToUpper(parent), "", "", ""},
		{"ff" + parent[2:], "", "", ""},
		{parent + "-" + needle, "", "", ""},
		{parent[:54], "", "", ""},
		{"00-" + strings.Repeat("0", 32) + parent[35:], "", "", ""},
		{parent[:36] + strings.Repeat("0", 16) + "-01", "", "", ""},
	}
	next := 0
	var log bytes.Buffer
	p := newProducer(t, c, topic, dashstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
		dashstream.WithTraceContext(func(context.Context) (string, string) { return cases[next].parent, cases[next].state }))
	for next = range cases {
		p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: fmt.Sprint("t", next)})
	}
	flush(t, p)
	for n, r := range readAll(t, c, topic) {
		if w := cases[n]; r.key != fmt.Sprint("t", n) || r.headers["traceparent"] != w.wantParent || r.headers["tracestate"] != w.wantState {
			t.Errorf("%q, %q went out as %q", w.parent, w.state, r.headers)
		}
		wantNoSecret(t, r)
	}
	if n := strings.Count(log.String(), "WithTraceContext"); n != 1 || strings.Contains(log.String(), needle) {
		t.Errorf("the logger was told %d times:\n%s", n, &log)
	}
}

// What the structure says of a secret it says of attributes, metadata and pointers as it does of JSON.
func TestSecretsByStructure(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithRedactionPatterns(regexp.MustCompile(`^4111\d{6}$`)))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	run.Node("n").Event(pb.EventType_EVENT_TYPE_NODE_SUBSTEP,
		slog.Any("env", map[string]any{"name": "DB_PASSWORD", "value": needle, "n": 1}),
		slog.Group("header", slog.String("key", "X-Api-Key"), slog.Group("value", slog.Any("all", []string{needle}))),
		slog.Any("command", []string{"mysql", "--password", needle, "-u", "bob:" + needle, "-v", "kept"}),
		slog.Any("pairs", [][]any{{"Authorization", needle}, {"Cookie", []string{needle}}, {"Host", "kept"}}),
		slog.Any("rawHeaders", []string{"Host", "kept", "Authorization", needle}),
		slog.Any("required", []string{"password", "kept"}), slog.Any("token", []string{"kept", needle}),
		slog.Any("color", map[string]any{"name": "red", "value": "kept"}), slog.Int("card", 4111222233), slog.Float64("other", 4111222234),
		slog.Int("count", 4112))
	run.Error(errors.New("x"), dashstream.ErrorInfo{Context: map[string]string{"key": "API_KEY", "value": needle}})
	path := "/urls/https:~1~1bob:" + needle + "@host~1x/~0a"
	if err := p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_StateDiff{StateDiff: &pb.StateDiff{
		Header: &pb.Header{ThreadId: "t"}, Operations: []*pb.DiffOperation{{Path: path, From: path}, {Path: "/a~1b/~0c"}},
	}}}); err != nil {
		t.Fatal(err)
	}
	flush(t, p)
	kept := 0
	for _, r := range readAll(t, c, topic) {
		wantNoSecret(t, r)
		plain, _ := proto.Marshal(r.msg)
		kept += bytes.Count(plain, []byte("kept"))
		if e := r.msg.GetEvent(); e.GetEventType() == pb.EventType_EVENT_TYPE_NODE_SUBSTEP {
			if a := e.Attributes; a["card"].GetStringValue() != "[REDACTED]" || a["other"].GetStringValue() != "[REDACTED]" || a["count"].GetIntValue() != 4112 {
				t.Errorf("numbers %v, %v, %v", a["card"], a["other"], a["count"])
			}
		}
		for n, op := range r.msg.GetStateDiff().GetOperations() {
			if want := []string{"/urls/https:~1~1bob:[REDACTED]@host~1x/~0a", "/a~1b/~0c"}[n]; op.Path != want || n == 0 && op.From != want {
				t.Errorf("path %q, from %q, want %q", op.Path, op.From, want)
			}
		}
	}
	if kept != 6 {
		t.Errorf("%d of 6 harmless values arrived", kept)
	}
}
