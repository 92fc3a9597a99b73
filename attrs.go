package dashstream

import (
	"bytes"
	"encoding/json"
	"fmt"
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

const (
	// maxAttributeDepth is how deep the values of an attribute nest, groups included. JSON that is deeper is sent as text, a
	// group that is deeper is cut. Readers bound the nesting of messages (wire.MaxDepth), and each level is up to three.
	maxAttributeDepth = 24
	// maxEventValues is how many values an event has, all levels counted. It bounds what a group costs whose LogValue gives
	// ever more groups, and what a message takes in memory.
	maxEventValues = 1 << 16
	// maxEventCost is the memory, in bytes, after which no more attributes are captured. A message is far smaller.
	maxEventCost = 16 << 20
	// maxKeyBytes is the longest key that is kept as it is.
	maxKeyBytes = 1 << 10
)

// restKey is the attribute that says how many others were left out.
const restKey = "dashstream_truncated"

// capture copies attributes and says what they cost.
func (p *Producer) capture(attrs []slog.Attr) (out []attr, cost int) {
	if len(attrs) == 0 {
		return nil, 0
	}
	c := capturing{p: p, left: maxEventValues}
	out = c.group(make([]attr, 0, len(attrs)), attrs, 0)
	if c.omitted > 0 {
		p.degrade(DegradedTruncated)
		out = append(out, attr{Attr: omitted(c.omitted)})
		c.cost += attrOverhead + len(restKey)
	}
	return out, c.cost
}

func omitted(n int) slog.Attr {
	return slog.String(restKey, fmt.Sprintf("[truncated: %d values left out]", n))
}

// capturing is one call of capture.
type capturing struct {
	p       *Producer
	cost    int
	left    int // values that may be captured yet
	omitted int
}

// group appends the attributes of a group that lies within depth others.
func (c *capturing) group(out []attr, attrs []slog.Attr, depth int) []attr {
	for i, a := range attrs {
		if c.left <= 0 || c.cost > maxEventCost {
			c.omitted += len(attrs) - i
			return out
		}
		c.left--
		v := a.Value.Resolve()
		if v.Kind() == slog.KindGroup && depth >= maxAttributeDepth {
			c.p.degrade(DegradedTruncated)
			v = slog.StringValue(fmt.Sprintf("[truncated: groups nest deeper than %d levels]", maxAttributeDepth))
		}
		if a.Key == "" {
			if v.Kind() == slog.KindGroup { // inlined, as slog's handlers do
				out = c.group(out, v.Group(), depth+1)
			}
			continue
		}
		key := c.p.cutKey(a.Key)
		c.cost += attrOverhead + len(key)
		switch v.Kind() {
		case slog.KindString:
			v = c.p.captureText(v.String())
		case slog.KindGroup:
			inner := v.Group()
			v = slog.AnyValue(c.group(make([]attr, 0, min(len(inner), c.left)), inner, depth+1))
		case slog.KindAny:
			v = c.p.captureAny(v.Any())
		}
		c.cost += valueCost(v)
		out = append(out, attr{Attr: slog.Attr{Key: key, Value: v}})
	}
	return out
}

// cutKey keeps a key short: a longer one becomes its beginning and a digest, so that keys stay apart.
func (p *Producer) cutKey(key string) string {
	if len(key) <= maxKeyBytes {
		return key
	}
	c := p.cut(key)
	return c.Preview + "…" + c.SHA256[:16]
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
func attributes(attrs []attr) map[string]*pb.AttributeValue {
	b := building{left: maxEventValues}
	return b.attributes(attrs, 0)
}

// building is the attributes of one event in the making.
type building struct {
	left int // values that JSON may still become; what has more is sent as text
}

func (b *building) attributes(attrs []attr, depth int) map[string]*pb.AttributeValue {
	if len(attrs) == 0 {
		return nil
	}
	out := make(map[string]*pb.AttributeValue, len(attrs))
	for _, a := range attrs {
		if v := b.attribute(a, depth); v != nil {
			out[a.Key] = v
		}
	}
	return out
}

func (b *building) attribute(a attr, depth int) *pb.AttributeValue {
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
		return mapValue(b.attributes(v, depth+1))
	case captured:
		switch {
		case v.cut != nil:
			return v.cut.attribute()
		case v.bytes != nil:
			return &pb.AttributeValue{Value: &pb.AttributeValue_BytesValue{BytesValue: v.bytes}}
		default:
			return b.fromJSON(v.json, depth)
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

// fromJSON turns JSON into an attribute of the same shape. Numbers that no field holds exactly become text.
func (b *building) fromJSON(text []byte, depth int) *pb.AttributeValue {
	nesting, values := shape(text)
	if depth+nesting > maxAttributeDepth || values > b.left {
		return stringValue(string(text))
	}
	b.left -= values
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return stringValue(string(text))
	}
	return fromValue(v)
}

// shape says how deep JSON nests, and how many values it has, at most.
func shape(text []byte) (deepest, values int) {
	depth := 0
	values = 1
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
			values++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		case ',':
			values++
		}
	}
	return deepest, values
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
