package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// blame finds the part of a JSON frame that does not fit a message, by its path:
// the decoder's own error names a place in the text. It returns nil where it finds
// none.
func blame(m protoreflect.MessageDescriptor, data []byte) *fieldError {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return nil // not JSON
	}
	return blameMessage(m, v, "")
}

// blameMessage looks at a message. The schema of what clients send does not
// recur, so it goes no deeper than that, whatever is in the frame.
func blameMessage(m protoreflect.MessageDescriptor, v any, path string) *fieldError {
	object, ok := v.(map[string]any)
	if !ok {
		return wrongKind(path, v, "an object with "+fieldNames(m))
	}
	chosen := map[protoreflect.Name]string{}
	for _, key := range sortedKeys(object) {
		f := m.Fields().ByJSONName(key)
		if f == nil {
			f = m.Fields().ByTextName(key)
		}
		if f == nil {
			return badField(join(path, clip(key, 64)), "unknown field: want %s", fieldNames(m))
		}
		value := object[key]
		if value == nil {
			continue // null is what is not there
		}
		at := join(path, f.TextName())
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			if other := chosen[o.Name()]; other != "" {
				return badField(at, "given together with %s: want one of them", other)
			}
			chosen[o.Name()] = f.JSONName()
		}
		if bad := blameField(f, value, at); bad != nil {
			return bad
		}
	}
	return nil
}

func blameField(f protoreflect.FieldDescriptor, v any, path string) *fieldError {
	if !f.IsList() {
		return blameValue(f, v, path)
	}
	list, ok := v.([]any)
	if !ok {
		return wrongKind(path, v, "a list")
	}
	for i, item := range list {
		if bad := blameValue(f, item, fmt.Sprintf("%s[%d]", path, i)); bad != nil {
			return bad
		}
	}
	return nil
}

func blameValue(f protoreflect.FieldDescriptor, v any, path string) *fieldError {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return blameMessage(f.Message(), v, path)
	case protoreflect.EnumKind:
		return blameEnum(f.Enum(), v, path)
	case protoreflect.StringKind:
		if _, ok := v.(string); !ok {
			return wrongKind(path, v, "a string")
		}
	case protoreflect.BoolKind:
		if _, ok := v.(bool); !ok {
			return wrongKind(path, v, "true or false")
		}
	case protoreflect.Int32Kind:
		return blameInt(v, path, 32)
	case protoreflect.Int64Kind:
		return blameInt(v, path, 64)
	}
	return nil
}

func blameEnum(e protoreflect.EnumDescriptor, v any, path string) *fieldError {
	name, ok := v.(string)
	if ok && e.Values().ByName(protoreflect.Name(name)) != nil {
		return nil
	}
	if n, number := v.(json.Number); number {
		if _, err := strconv.ParseInt(n.String(), 10, 32); err == nil {
			return nil // whether it is one of them is checked with the rest
		}
	}
	names := make([]string, e.Values().Len())
	for i := range names {
		names[i] = string(e.Values().Get(i).Name())
	}
	return wrongKind(path, v, "one of "+strings.Join(names, ", "))
}

func blameInt(v any, path string, bits int) *fieldError {
	text := ""
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	if _, err := strconv.ParseInt(text, 10, bits); err == nil {
		return nil
	}
	// Other ways to write a whole number, such as 1e3, are the decoder's matter.
	if n, err := strconv.ParseFloat(text, 64); err == nil && n == float64(int64(n)) && bits == 64 {
		return nil
	}
	return wrongKind(path, v, fmt.Sprintf("a whole number of %d bits", bits))
}

func wrongKind(path string, v any, want string) *fieldError {
	if path == "" {
		path = "frame"
	}
	return badField(path, "%s: want %s", clip(brief(v), 64), want)
}

// brief writes a value, but not what is in it: that may be deep.
func brief(v any) string {
	switch v := v.(type) {
	case []any:
		if len(v) > 0 {
			return "[…]"
		}
	case map[string]any:
		if len(v) > 0 {
			return "{…}"
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "the value" // what was decoded encodes
	}
	return string(b)
}

func fieldNames(m protoreflect.MessageDescriptor) string {
	names := make([]string, m.Fields().Len())
	for i := range names {
		names[i] = m.Fields().Get(i).JSONName()
	}
	return strings.Join(names, ", ")
}

func join(path, name string) string {
	if name == "" {
		name = `""`
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
