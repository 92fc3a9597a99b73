package dashstream

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"strings"
	"unicode/utf8"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/jcs"
	"github.com/dashflow/dashstream/internal/redact"
	"github.com/dashflow/dashstream/internal/wire"
)

// cleaner makes a message fit to leave the process: without secrets, with every string UTF-8. One is made for a message
// and counts what it could not keep.
type cleaner struct {
	r *redact.Redactor // nil: redaction is off

	invalidUTF8, invalidID int
}

func (c *cleaner) utf8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	c.invalidUTF8++
	return strings.ToValidUTF8(s, "\uFFFD")
}

func (c *cleaner) text(s string) string {
	if s == "" {
		return s
	}
	s = c.utf8(s)
	if c.r == nil {
		return s
	}
	return c.r.Text(s)
}

func (c *cleaner) field(name, s string) string {
	if s == "" {
		return s
	}
	s = c.utf8(s)
	if c.r == nil {
		return s
	}
	return c.r.Field(name, s)
}

func (c *cleaner) bytes(b []byte) []byte {
	if len(b) == 0 || c.r == nil {
		return b
	}
	return c.r.Bytes(b)
}

// id keeps an identifier of an allowed size. It is random, as a rule; one that is text with a secret in it is left out.
func (c *cleaner) id(b []byte, sizes ...int) []byte {
	if len(b) == 0 {
		return nil
	}
	ok := false
	for _, n := range sizes {
		ok = ok || len(b) == n
	}
	if len(sizes) == 0 {
		ok = len(b) <= wire.MaxBinaryIDBytes
	}
	if !ok || c.r != nil && !bytes.Equal(c.r.Bytes(b), b) {
		c.invalidID++
		return nil
	}
	return b
}

// cleanMap returns a map without secrets, also in its keys; it is m itself, with clean values, unless a key had to be
// changed. Text is what a value says if it is a text: a value may be named by another.
func cleanMap[V any](c *cleaner, m map[string]V, text func(V) string, value func(name string, v V) V) map[string]V {
	var renamed []string
	beside := nameBeside(c, m, text)
	for k, v := range m {
		name := k
		if beside != "" && redact.HoldsNamed(k) && !c.r.Sensitive(k) {
			name = beside
		}
		m[k] = value(name, v)
		if c.text(k) != k {
			renamed = append(renamed, k)
		}
	}
	for _, k := range renamed {
		v := m[k]
		delete(m, k)
		name := c.text(k)
		for n, base := 2, name; ; n++ {
			if _, taken := m[name]; !taken {
				break
			}
			name = base + "#" + strconv.Itoa(n)
		}
		m[name] = v
	}
	return m
}

// nameBeside returns what names the values of the map that another names: "" as a rule.
func nameBeside[V any](c *cleaner, m map[string]V, text func(V) string) string {
	if c.r == nil || len(m) < 2 {
		return ""
	}
	for k := range m {
		if redact.HoldsNamed(k) {
			return c.r.NameBeside(func(yield func(string, string) bool) {
				for k, v := range m {
					if !yield(k, text(v)) {
						return
					}
				}
			})
		}
	}
	return ""
}

func (c *cleaner) strings(m map[string]string) map[string]string {
	return cleanMap(c, m, func(s string) string { return s }, c.field)
}

func (c *cleaner) message(m *pb.DashStreamMessage) {
	c.header(wire.HeaderOf(m))
	switch w := m.GetMessage().(type) {
	case *pb.DashStreamMessage_Event:
		c.event(w.Event)
	case *pb.DashStreamMessage_StateDiff:
		c.stateDiff(w.StateDiff)
	case *pb.DashStreamMessage_TokenChunk:
		t := w.TokenChunk
		t.RequestId, t.Text, t.Model = c.text(t.RequestId), c.text(t.Text), c.text(t.Model)
	case *pb.DashStreamMessage_ToolExecution:
		t := w.ToolExecution
		t.CallId, t.ToolName, t.Error = c.text(t.CallId), c.text(t.ToolName), c.text(t.Error)
		t.Arguments, t.Result = c.bytes(t.Arguments), c.bytes(t.Result)
		c.error(t.ErrorDetails)
		if t.ErrorDetails != nil {
			t.ErrorDetails.Header = nil // it is no message of its own
		}
	case *pb.DashStreamMessage_Checkpoint:
		c.checkpoint(w.Checkpoint)
	case *pb.DashStreamMessage_Metrics:
		c.metrics(w.Metrics)
	case *pb.DashStreamMessage_Error:
		c.error(w.Error)
	case *pb.DashStreamMessage_EventBatch:
		for _, e := range w.EventBatch.GetEvents() {
			c.header(e.GetHeader())
			c.event(e)
		}
	case *pb.DashStreamMessage_ExecutionTrace:
		c.trace(w.ExecutionTrace)
	}
}

// header leaves the thread id, which threadID has seen to.
func (c *cleaner) header(h *pb.Header) {
	if h == nil {
		return
	}
	h.TenantId = c.text(h.TenantId)
	h.ParentId = c.id(h.ParentId, wire.MessageIDBytes)
}

func (c *cleaner) event(e *pb.Event) {
	e.NodeId, e.LlmRequestId = c.text(e.NodeId), c.text(e.LlmRequestId)
	e.Attributes = cleanMap(c, e.Attributes, (*pb.AttributeValue).GetStringValue, c.attribute)
}

func (c *cleaner) attribute(name string, v *pb.AttributeValue) *pb.AttributeValue {
	switch w := v.GetValue().(type) {
	case *pb.AttributeValue_StringValue:
		w.StringValue = c.field(name, w.StringValue)
	case *pb.AttributeValue_BytesValue:
		if c.r != nil {
			w.BytesValue = c.r.FieldBytes(name, w.BytesValue)
		}
	case *pb.AttributeValue_IntValue:
		if c.integer(name, w.IntValue) {
			return stringValue(redact.Mask)
		}
	case *pb.AttributeValue_FloatValue:
		if c.float(name, w.FloatValue) {
			return stringValue(redact.Mask)
		}
	case *pb.AttributeValue_ArrayValue:
		c.array(name, w.ArrayValue.GetValues())
	case *pb.AttributeValue_MapValue:
		if w.MapValue != nil {
			w.MapValue.Values = cleanMap(c, w.MapValue.Values, (*pb.AttributeValue).GetStringValue, func(inner string, e *pb.AttributeValue) *pb.AttributeValue {
				if c.r != nil && c.r.Sensitive(name) {
					inner = name // below a sensitive name, everything is
				}
				return c.attribute(inner, e)
			})
		}
	}
	return v
}

// array cleans the elements of a list. One may be named by that before it.
func (c *cleaner) array(list string, values []*pb.AttributeValue) {
	before := ""
	for i, v := range values {
		text, isText := v.GetValue().(*pb.AttributeValue_StringValue)
		if c.r == nil {
			values[i] = c.attribute(list, v)
			continue
		}
		last := i+1 == len(values)
		if isText {
			was := text.StringValue
			text.StringValue = c.r.Element(list, before, c.utf8(was), i, last)
			before = was
			continue
		}
		// A list counts as the last; an object is not named.
		if v.GetMapValue() != nil {
			last = false
		} else if v.GetArrayValue() != nil {
			last = true
		}
		values[i] = c.attribute(c.r.NameOfElement(list, before, i, last), v)
		before = ""
	}
}

// integer and float report whether a number is a secret.
func (c *cleaner) integer(name string, n int64) bool {
	return c.r != nil && c.r.Number(name, func() string { return strconv.FormatInt(n, 10) })
}

func (c *cleaner) float(name string, n float64) bool {
	return c.r != nil && c.r.Number(name, func() string { return strconv.FormatFloat(n, 'f', -1, 64) })
}

func (c *cleaner) error(e *pb.Error) {
	if e == nil {
		return
	}
	e.ErrorCode, e.Message, e.StackTrace, e.ExceptionType = c.text(e.ErrorCode), c.text(e.Message), c.text(e.StackTrace), c.text(e.ExceptionType)
	e.Context = c.strings(e.Context)
	for i, s := range e.Suggestions {
		e.Suggestions[i] = c.text(s)
	}
}

func (c *cleaner) metrics(m *pb.Metrics) {
	m.Scope, m.ScopeId = c.text(m.Scope), c.text(m.ScopeId)
	m.Tags = c.strings(m.Tags)
	m.Metrics = cleanMap(c, m.Metrics, (*pb.MetricValue).GetStringValue, func(name string, v *pb.MetricValue) *pb.MetricValue {
		if v == nil {
			return v
		}
		v.Unit = c.text(v.Unit)
		switch w := v.Value.(type) {
		case *pb.MetricValue_IntValue:
			if c.integer(name, w.IntValue) {
				v.Value = &pb.MetricValue_StringValue{StringValue: redact.Mask}
			}
		case *pb.MetricValue_FloatValue:
			if c.float(name, w.FloatValue) {
				v.Value = &pb.MetricValue_StringValue{StringValue: redact.Mask}
			}
		case *pb.MetricValue_StringValue:
			w.StringValue = c.field(name, w.StringValue)
		case *pb.MetricValue_BytesValue:
			if c.r != nil {
				w.BytesValue = c.r.FieldBytes(name, w.BytesValue)
			}
		}
		return v
	})
}

func (c *cleaner) trace(t *pb.ExecutionTrace) {
	t.ExecutionId = c.text(t.ExecutionId)
	t.StartedAt, t.EndedAt = c.text(t.StartedAt), c.text(t.EndedAt)
	t.FinalState = c.bytes(t.FinalState)
	for _, n := range t.NodesExecuted {
		n.Node, n.StartedAt, n.EndedAt = c.text(n.Node), c.text(n.StartedAt), c.text(n.EndedAt)
		n.Input, n.Output = c.bytes(n.Input), c.bytes(n.Output)
		n.Metadata = c.strings(n.Metadata)
	}
	for _, e := range t.Errors {
		e.Node, e.Message, e.ErrorCode, e.Timestamp, e.StackTrace = c.text(e.Node), c.text(e.Message), c.text(e.ErrorCode), c.text(e.Timestamp), c.text(e.StackTrace)
	}
	t.Metadata = cleanMap(c, t.Metadata, func(b []byte) string { return string(b) }, func(name string, b []byte) []byte {
		if c.r == nil {
			return b
		}
		return c.r.FieldBytes(name, b)
	})
}

// stateDiff cleans a diff that a caller made. Where that changes the state, its hash is made again if the state is there,
// and left out if not: no hash is better than a wrong one.
func (c *cleaner) stateDiff(d *pb.StateDiff) {
	d.BaseCheckpointId = c.id(d.BaseCheckpointId)
	d.StateHash = c.id(d.StateHash, wire.HashBytes)
	changed := false
	for _, op := range d.Operations {
		path, from := c.pointer(op.Path), c.pointer(op.From)
		value := op.Value
		if c.r != nil && len(value) > 0 {
			value = c.r.FieldBytes(c.nameOf(op.Path), value)
		}
		changed = changed || path != op.Path || from != op.From || !bytes.Equal(value, op.Value)
		op.Path, op.From, op.Value = path, from, value
	}
	full := c.bytes(d.FullState)
	if changed || !bytes.Equal(full, d.FullState) {
		d.StateHash = nil
		if doc, err := jcs.Canonicalize(full); err == nil && len(full) > 0 {
			if sum, ok := doc.Hash(); ok {
				d.StateHash = sum[:]
			}
		}
	}
	d.FullState = full
}

// escapes and unescapes are those of the tokens of a JSON Pointer.
var (
	escapes   = strings.NewReplacer("~", "~0", "/", "~1")
	unescapes = strings.NewReplacer("~1", "/", "~0", "~")
)

// pointer cleans a JSON Pointer, whose escapes could hide a secret.
func (c *cleaner) pointer(s string) string {
	if c.r == nil || !strings.Contains(s, "~") {
		return c.text(s)
	}
	tokens := strings.Split(c.utf8(s), "/")
	for i, token := range tokens {
		plain := unescapes.Replace(token)
		if redacted := c.r.Text(plain); redacted != plain {
			tokens[i] = escapes.Replace(redacted)
		}
	}
	return c.text(strings.Join(tokens, "/"))
}

// nameOf is the name that says most about the value at a JSON Pointer: a sensitive one on the way, or the last.
func (c *cleaner) nameOf(pointer string) (name string) {
	for token := range strings.SplitSeq(pointer, "/") {
		name = unescapes.Replace(token)
		if c.r.Sensitive(name) {
			return name
		}
	}
	return name
}

// checkpoint cleans a checkpoint that a caller made. A compressed state is sent plain, since what it holds must be seen;
// the frame compresses it again. One that cannot be read is left out.
func (c *cleaner) checkpoint(m *pb.Checkpoint) {
	m.CheckpointId = c.id(m.CheckpointId)
	m.Checksum = c.id(m.Checksum, wire.HashBytes)
	m.StateType, m.StorageUri = c.text(m.StateType), c.text(m.StorageUri)
	m.Metadata = c.strings(m.Metadata)
	if c.r == nil || len(m.State) == 0 {
		return
	}
	plain := m.State
	if m.CompressionInfo.GetType() != pb.CompressionType_COMPRESSION_NONE {
		var err error
		if plain, err = wire.CheckpointState(m, wire.DefaultMaxBytes); err != nil {
			m.State, m.Checksum, m.CompressionInfo = nil, nil, nil
			c.invalidID++
			return
		}
	}
	state := c.bytes(plain)
	if bytes.Equal(state, m.State) {
		return
	}
	if !bytes.Equal(state, plain) {
		sum := sha256.Sum256(state)
		m.Checksum = sum[:]
		delete(m.Metadata, "hash")
	}
	m.State, m.CompressionInfo = state, nil
}
