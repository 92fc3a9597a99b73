package dashstream

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// leaf is a string or bytes value in a message that may be cut.
type leaf struct {
	size int
	cut  func(*cutting)
	get  func() any
}

// shorten cuts the largest values of a message, none below limit, until it is about as large as target. It returns how
// many it cut. State is never cut.
func (p *Producer) shorten(m *pb.DashStreamMessage, limit, target int) int {
	var leaves []leaf
	collectLeaves(m.ProtoReflect(), &leaves)
	slices.SortStableFunc(leaves, func(a, b leaf) int { return b.size - a.size })
	excess := proto.Size(m) - target
	if excess <= 0 {
		excess = limit // it is larger than that framed, all the same
	}
	n := 0
	for _, l := range leaves {
		if l.size <= limit || excess <= 0 {
			break
		}
		l.cut(p.cut(l.get()))
		excess -= l.size - 2*previewBytes
		n++
	}
	return n
}

// omitAttributes makes an event fit into target bytes, uncompressed, that has too many values to be shortened: from the
// largest, whole attributes are cut, and then left out.
func (p *Producer) omitAttributes(e *pb.Event, target int) {
	const reserve = 4 << 10 // for the rest of the frame, and the word of what was left out
	keys := slices.Collect(maps.Keys(e.Attributes))
	size := func(k string) int { return len(k) + proto.Size(e.Attributes[k]) }
	bySize := func(a, b string) int { return cmp.Or(size(b)-size(a), strings.Compare(a, b)) }
	slices.SortFunc(keys, bySize)
	excess := proto.Size(e) + reserve - target
	for _, k := range keys {
		before := size(k)
		if excess <= 0 || before <= len(k)+2*previewBytes {
			break
		}
		text, _ := proto.MarshalOptions{Deterministic: true}.Marshal(e.Attributes[k]) // it was measured, so it can be encoded
		c := p.cut(text)
		c.Preview = ""
		e.Attributes[k] = c.attribute()
		excess -= before - size(k)
	}
	slices.SortFunc(keys, bySize)
	n := 0
	for _, k := range keys {
		if excess <= 0 {
			break
		}
		excess -= size(k)
		delete(e.Attributes, k)
		n++
	}
	if n > 0 {
		p.degrade(DegradedTruncated)
		e.Attributes[restKey] = stringValue(omitted(n).Value.String())
	}
}

// jsonFields hold JSON and stay it; wholeFields are not cut: they are state, or say whose the message is.
var (
	jsonFields = map[protoreflect.FullName]bool{
		"dashstream.v1.ToolExecution.arguments": true, "dashstream.v1.ToolExecution.result": true,
		"dashstream.v1.NodeExecutionRecord.input": true, "dashstream.v1.NodeExecutionRecord.output": true,
	}
	wholeFields = map[protoreflect.FullName]bool{
		"dashstream.v1.Checkpoint.state": true, "dashstream.v1.StateDiff.full_state": true, "dashstream.v1.DiffOperation.value": true,
		"dashstream.v1.DiffOperation.path": true, "dashstream.v1.DiffOperation.from": true,
		"dashstream.v1.ExecutionTrace.final_state": true, "dashstream.v1.ExecutionTrace.thread_id": true,
	}
)

func collectLeaves(m protoreflect.Message, out *[]leaf) {
	if m.Descriptor().FullName() == "dashstream.v1.Header" {
		return
	}
	if v, ok := m.Interface().(*pb.AttributeValue); ok {
		collectAttribute(v, out)
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if wholeFields[fd.FullName()] {
			return true
		}
		json := jsonFields[fd.FullName()]
		switch {
		case fd.IsMap():
			entries := v.Map()
			value := fd.MapValue()
			entries.Range(func(k protoreflect.MapKey, e protoreflect.Value) bool {
				if value.Kind() == protoreflect.MessageKind {
					collectLeaves(e.Message(), out)
				} else {
					addLeaf(out, value.Kind(), json, e, func(nv protoreflect.Value) { entries.Set(k, nv) })
				}
				return true
			})
		case fd.IsList():
			list := v.List()
			for i := range list.Len() {
				if fd.Kind() == protoreflect.MessageKind {
					collectLeaves(list.Get(i).Message(), out)
				} else {
					addLeaf(out, fd.Kind(), json, list.Get(i), func(nv protoreflect.Value) { list.Set(i, nv) })
				}
			}
		case fd.Kind() == protoreflect.MessageKind:
			collectLeaves(v.Message(), out)
		default:
			addLeaf(out, fd.Kind(), json, v, func(nv protoreflect.Value) { m.Set(fd, nv) })
		}
		return true
	})
}

func addLeaf(out *[]leaf, kind protoreflect.Kind, json bool, v protoreflect.Value, set func(protoreflect.Value)) {
	switch kind {
	case protoreflect.StringKind:
		s := v.String()
		*out = append(*out, leaf{
			size: len(s), get: func() any { return s },
			cut: func(c *cutting) { set(protoreflect.ValueOfString(c.text())) },
		})
	case protoreflect.BytesKind:
		b := v.Bytes()
		*out = append(*out, leaf{
			size: len(b), get: func() any { return b },
			cut: func(c *cutting) {
				if json {
					set(protoreflect.ValueOfBytes(c.json()))
				} else {
					set(protoreflect.ValueOfBytes([]byte(c.text())))
				}
			},
		})
	}
}

// collectAttribute takes an attribute whole: cut, it becomes a map, which no reader takes for the value.
func collectAttribute(v *pb.AttributeValue, out *[]leaf) {
	cut := func(c *cutting) { v.Value = c.attribute().Value }
	switch w := v.GetValue().(type) {
	case *pb.AttributeValue_StringValue:
		*out = append(*out, leaf{size: len(w.StringValue), get: func() any { return w.StringValue }, cut: cut})
	case *pb.AttributeValue_BytesValue:
		*out = append(*out, leaf{size: len(w.BytesValue), get: func() any { return w.BytesValue }, cut: cut})
	case *pb.AttributeValue_ArrayValue:
		for _, e := range w.ArrayValue.GetValues() {
			collectAttribute(e, out)
		}
	case *pb.AttributeValue_MapValue:
		for _, e := range w.MapValue.GetValues() {
			collectAttribute(e, out)
		}
	}
}
