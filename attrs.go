package dashstream

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/wire"
)

// attr is an attribute as it was captured at the call: nothing in it can be changed by the caller any more. It becomes a
// message on the sender's goroutine.
type attr struct {
	slog.Attr
	// clean: the value has been redacted and must stay as it is, byte for byte.
	clean bool
}

// captured is a value that is not one of slog's: JSON of the caller's value, or bytes.
type captured struct {
	json  []byte
	bytes []byte
	cut   *cutting // set if the value was too large
}

// maxAttributeBytes bounds one attribute.
const maxAttributeBytes = 500 << 10

// capture copies attributes and says what they cost.
func (p *Producer) capture(attrs []slog.Attr) (out []attr, cost int) {
	if len(attrs) == 0 {
		return nil, 0
	}
	out = make([]attr, 0, len(attrs))
	for _, a := range attrs {
		if a.Key == "" {
			continue
		}
		v := a.Value.Resolve()
		switch v.Kind() {
		case slog.KindString:
			if s := v.String(); len(s) > maxAttributeBytes {
				v = slog.AnyValue(captured{cut: p.cut(s)})
			}
			cost += len(a.Key) + valueCost(v)
		case slog.KindGroup:
			group, n := p.capture(v.Group())
			cost += n
			v = slog.AnyValue(group)
		case slog.KindAny:
			v = p.captureAny(v.Any())
			cost += len(a.Key) + valueCost(v)
		default:
			cost += len(a.Key) + 8
		}
		out = append(out, attr{Attr: slog.Attr{Key: a.Key, Value: v}})
	}
	return out, cost + len(out)*attrOverhead
}

// attrOverhead is about what an attribute takes beside its key and text, in bytes: captured, and as a message.
const attrOverhead = 160

func valueCost(v slog.Value) int {
	switch v.Kind() {
	case slog.KindString:
		return len(v.String())
	case slog.KindAny:
		c, _ := v.Any().(captured)
		return 2 * (len(c.json) + len(c.bytes))
	default:
		return 8
	}
}

func (p *Producer) captureAny(v any) slog.Value {
	switch v := v.(type) {
	case nil:
		return slog.AnyValue(captured{json: []byte("null")})
	case error:
		return p.captureText(errorText(v))
	case []byte:
		if len(v) > maxAttributeBytes {
			return slog.AnyValue(captured{cut: p.cut(v)})
		}
		return slog.AnyValue(captured{bytes: bytes.Clone(v)})
	}
	text, err := p.marshal(v, maxAttributeBytes)
	if err != nil {
		return slog.AnyValue(captured{json: quoteJSON(p.unserializable(err))})
	}
	if text.cut != nil {
		return slog.AnyValue(captured{cut: text.cut})
	}
	return slog.AnyValue(captured{json: text.json})
}

func (p *Producer) captureText(s string) slog.Value {
	if len(s) > maxAttributeBytes {
		return slog.AnyValue(captured{cut: p.cut(s)})
	}
	return slog.StringValue(s)
}

// attributes builds the attributes of an event.
func (p *Producer) attributes(attrs []attr) map[string]*pb.AttributeValue {
	if len(attrs) == 0 {
		return nil
	}
	out := make(map[string]*pb.AttributeValue, len(attrs))
	for _, a := range attrs {
		if v := p.attribute(a); v != nil {
			out[a.Key] = v
		}
	}
	return out
}

func (p *Producer) attribute(a attr) *pb.AttributeValue {
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		return stringValue(v.String())
	case slog.KindInt64:
		return intValue(v.Int64())
	case slog.KindUint64:
		if u := v.Uint64(); u > math.MaxInt64 {
			return stringValue(strconv.FormatUint(u, 10)) // exact, where a float would not be
		}
		return intValue(int64(v.Uint64()))
	case slog.KindFloat64:
		return &pb.AttributeValue{Value: &pb.AttributeValue_FloatValue{FloatValue: v.Float64()}}
	case slog.KindBool:
		return &pb.AttributeValue{Value: &pb.AttributeValue_BoolValue{BoolValue: v.Bool()}}
	case slog.KindDuration:
		return intValue(wire.DurationUS(v.Duration()))
	case slog.KindTime:
		return stringValue(v.Time().Format(time.RFC3339Nano))
	}
	switch v := a.Value.Any().(type) {
	case []attr:
		return mapValue(p.attributes(v))
	case captured:
		switch {
		case v.cut != nil:
			return v.cut.attribute()
		case v.bytes != nil:
			return &pb.AttributeValue{Value: &pb.AttributeValue_BytesValue{BytesValue: v.bytes}}
		default:
			return fromJSON(v.json)
		}
	}
	return nil
}

func stringValue(s string) *pb.AttributeValue {
	return &pb.AttributeValue{Value: &pb.AttributeValue_StringValue{StringValue: s}}
}

func intValue(n int64) *pb.AttributeValue {
	return &pb.AttributeValue{Value: &pb.AttributeValue_IntValue{IntValue: n}}
}

func mapValue(m map[string]*pb.AttributeValue) *pb.AttributeValue {
	return &pb.AttributeValue{Value: &pb.AttributeValue_MapValue{MapValue: &pb.AttributeMap{Values: m}}}
}

// maxAttributeDepth is how deep a value may nest to be sent as arrays and maps; a deeper one is sent as JSON text. Readers
// bound the nesting of messages, and each level is two of them.
const maxAttributeDepth = 24

// fromJSON turns JSON into an attribute of the same shape. Numbers that no field holds exactly become text.
func fromJSON(text []byte) *pb.AttributeValue {
	if nesting(text) > maxAttributeDepth {
		return stringValue(string(text))
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return stringValue(string(text))
	}
	return fromValue(v)
}

func nesting(text []byte) (deepest int) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
	}
	return deepest
}

func fromValue(v any) *pb.AttributeValue {
	switch v := v.(type) {
	case string:
		return stringValue(v)
	case bool:
		return &pb.AttributeValue{Value: &pb.AttributeValue_BoolValue{BoolValue: v}}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return intValue(n)
		}
		f, err := v.Float64()
		if err != nil || !strings.ContainsAny(v.String(), ".eE") {
			return stringValue(v.String())
		}
		return &pb.AttributeValue{Value: &pb.AttributeValue_FloatValue{FloatValue: f}}
	case []any:
		a := &pb.AttributeArray{Values: make([]*pb.AttributeValue, len(v))}
		for i, e := range v {
			a.Values[i] = fromValue(e)
		}
		return &pb.AttributeValue{Value: &pb.AttributeValue_ArrayValue{ArrayValue: a}}
	case map[string]any:
		m := make(map[string]*pb.AttributeValue, len(v))
		for k, e := range v {
			m[k] = fromValue(e)
		}
		return mapValue(m)
	default:
		return &pb.AttributeValue{} // null
	}
}
