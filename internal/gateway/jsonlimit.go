package gateway

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dashflow/dashstream/internal/wire"
)

// jsonLimit is how many bytes the message of one record may take as JSON: as much
// as the largest message of bytes does in base64, and some room. A record of control
// characters takes six times its size, one of empty values more.
func jsonLimit(l wire.Limits) int { return max(1<<20, l.Decoded/5*8) }

// jsonExceeds reports whether a message takes more than limit bytes as JSON by its
// texts and its structure alone. It looks no further than it has to.
func jsonExceeds(m protoreflect.Message, limit int) bool {
	return measureJSON(m, limit) < 0
}

// measureJSON returns what is left of limit after a message, below 0 when it is
// exceeded. It counts no more than ProtoJSON writes.
func measureJSON(m protoreflect.Message, left int) int {
	left -= len(`{}`)
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		left -= len(f.JSONName()) + len(`"":`)
		switch {
		case f.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				left -= len(`"":`) + jsonText(k.String())
				left = measureValue(f.MapValue(), v, left)
				return left >= 0
			})
		case f.IsList():
			for i := 0; i < v.List().Len() && left >= 0; i++ {
				left = measureValue(f, v.List().Get(i), left)
			}
		default:
			left = measureValue(f, v, left)
		}
		return left >= 0
	})
	return left
}

func measureValue(f protoreflect.FieldDescriptor, v protoreflect.Value, left int) int {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return measureJSON(v.Message(), left)
	case protoreflect.StringKind:
		return left - len(`""`) - jsonText(v.String())
	case protoreflect.BytesKind:
		return left - len(`""`) - (len(v.Bytes())+2)/3*4
	default:
		return left - 1
	}
}

// jsonText is how long a text is between its quotes.
func jsonText(s string) int {
	n := len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\f':
			n++
		case c < ' ':
			n += len(`\u0000`) - 1
		}
	}
	return n
}
