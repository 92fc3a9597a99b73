package wire

import (
	"math"
	"unicode/utf8"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Events are nearly all that a producer sends, and most of what marshalling one
// costs is reflection over its attribute map. Events and batches are therefore
// written by hand, in the bytes that proto.Marshal would write, at a quarter of
// the time. Whatever is not plain — nested attributes, unknown fields, text that is
// not UTF-8 — is left to proto.Marshal.

// sizeFast returns the size of what m carries if appendFast can write it, and
// a negative number if not. The headers are there, checkHeaders has seen them.
func sizeFast(m *pb.DashStreamMessage) int {
	if unknown(m) {
		return -1
	}
	switch w := m.GetMessage().(type) {
	case *pb.DashStreamMessage_Event:
		return sizeEvent(w.Event)
	case *pb.DashStreamMessage_EventBatch:
		return sizeBatch(w.EventBatch)
	}
	return -1
}

// appendFast appends m, of which sizeFast gave the size.
func appendFast(b []byte, m *pb.DashStreamMessage, size int) []byte {
	switch w := m.GetMessage().(type) {
	case *pb.DashStreamMessage_Event:
		return appendEvent(appendLen(b, 1, size), w.Event)
	case *pb.DashStreamMessage_EventBatch:
		b = appendLen(b, 8, size)
		b = appendHeader(b, w.EventBatch.Header)
		for _, ev := range w.EventBatch.Events {
			b = appendEvent(appendLen(b, eventsNumber, sizeEvent(ev)), ev)
		}
	}
	return b
}

func unknown(m interface {
	ProtoReflect() protoreflect.Message
}) bool {
	return len(m.ProtoReflect().GetUnknown()) > 0
}

// The sizes are of the content, without tag and length, and negative where the
// message is not plain. All fields are below 16, so a tag is one byte.

func sizeBatch(batch *pb.EventBatch) int {
	h := sizeHeader(batch.Header)
	if h < 0 || unknown(batch) {
		return -1
	}
	n := 1 + protowire.SizeBytes(h)
	for _, ev := range batch.Events {
		e := sizeEvent(ev)
		if e < 0 {
			return -1
		}
		n += 1 + protowire.SizeBytes(e)
	}
	return n
}

func sizeEvent(ev *pb.Event) int {
	h := sizeHeader(ev.Header)
	if h < 0 || unknown(ev) || !utf8.ValidString(ev.NodeId) || !utf8.ValidString(ev.LlmRequestId) {
		return -1
	}
	n := 1 + protowire.SizeBytes(h) + sizeInt(int64(ev.EventType)) + sizeLen(len(ev.NodeId)) +
		sizeInt(ev.DurationUs) + sizeLen(len(ev.LlmRequestId))
	for k, v := range ev.Attributes {
		s := sizeValue(v)
		if s < 0 || !utf8.ValidString(k) {
			return -1
		}
		n += 1 + protowire.SizeBytes(sizeEntry(k, s))
	}
	return n
}

func sizeEntry(key string, value int) int {
	return 2 + protowire.SizeBytes(len(key)) + protowire.SizeBytes(value)
}

func sizeHeader(h *pb.Header) int {
	if unknown(h) || !utf8.ValidString(h.TenantId) || !utf8.ValidString(h.ThreadId) {
		return -1
	}
	return sizeLen(len(h.MessageId)) + sizeInt(h.TimestampUs) + sizeLen(len(h.TenantId)) + sizeLen(len(h.ThreadId)) +
		sizeInt(int64(h.Sequence)) + sizeInt(int64(h.Type)) + sizeLen(len(h.ParentId)) + sizeInt(int64(h.Compression)) +
		sizeInt(int64(h.SchemaVersion))
}

func sizeValue(v *pb.AttributeValue) int {
	if v == nil {
		return 0 // as proto.Marshal writes it
	}
	if unknown(v) {
		return -1
	}
	switch w := v.Value.(type) {
	case nil:
		return 0
	case *pb.AttributeValue_StringValue:
		if w != nil && utf8.ValidString(w.StringValue) {
			return 1 + protowire.SizeBytes(len(w.StringValue))
		}
	case *pb.AttributeValue_IntValue:
		if w != nil {
			return 1 + protowire.SizeVarint(uint64(w.IntValue))
		}
	case *pb.AttributeValue_FloatValue:
		if w != nil {
			return 9
		}
	case *pb.AttributeValue_BoolValue:
		if w != nil {
			return 2
		}
	case *pb.AttributeValue_BytesValue:
		if w != nil {
			return 1 + protowire.SizeBytes(len(w.BytesValue))
		}
	}
	return -1
}

// sizeInt and sizeLen leave out what proto3 leaves out: zero and empty.
func sizeInt(v int64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(uint64(v))
}

func sizeLen(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}

func appendEvent(b []byte, ev *pb.Event) []byte {
	b = appendHeader(b, ev.Header)
	b = appendInt(b, 2, int64(ev.EventType))
	b = appendText(b, 3, ev.NodeId)
	for k, v := range ev.Attributes {
		size := sizeValue(v)
		b = appendLen(b, 4, sizeEntry(k, size))
		b = protowire.AppendString(append(b, 1<<3|byte(protowire.BytesType)), k)
		b = appendValue(appendLen(b, 2, size), v)
	}
	b = appendInt(b, 5, ev.DurationUs)
	return appendText(b, 6, ev.LlmRequestId)
}

func appendHeader(b []byte, h *pb.Header) []byte {
	b = appendLen(b, headerNumber, sizeHeader(h))
	b = appendText(b, 1, h.MessageId)
	b = appendInt(b, 2, h.TimestampUs)
	b = appendText(b, 3, h.TenantId)
	b = appendText(b, 4, h.ThreadId)
	b = appendInt(b, 5, int64(h.Sequence))
	b = appendInt(b, 6, int64(h.Type))
	b = appendText(b, 7, h.ParentId)
	b = appendInt(b, 8, int64(h.Compression))
	return appendInt(b, 9, int64(h.SchemaVersion))
}

// appendValue writes a choice even where it is zero: that it was made counts.
func appendValue(b []byte, v *pb.AttributeValue) []byte {
	switch w := v.GetValue().(type) {
	case *pb.AttributeValue_StringValue:
		return protowire.AppendString(append(b, 1<<3|byte(protowire.BytesType)), w.StringValue)
	case *pb.AttributeValue_IntValue:
		return protowire.AppendVarint(append(b, 2<<3|byte(protowire.VarintType)), uint64(w.IntValue))
	case *pb.AttributeValue_FloatValue:
		return protowire.AppendFixed64(append(b, 3<<3|byte(protowire.Fixed64Type)), math.Float64bits(w.FloatValue))
	case *pb.AttributeValue_BoolValue:
		return protowire.AppendVarint(append(b, 4<<3|byte(protowire.VarintType)), protowire.EncodeBool(w.BoolValue))
	case *pb.AttributeValue_BytesValue:
		return protowire.AppendBytes(append(b, 5<<3|byte(protowire.BytesType)), w.BytesValue)
	}
	return b
}

func appendLen(b []byte, num protowire.Number, n int) []byte {
	return protowire.AppendVarint(append(b, byte(num<<3)|byte(protowire.BytesType)), uint64(n))
}

func appendInt(b []byte, num protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(append(b, byte(num<<3)|byte(protowire.VarintType)), uint64(v))
}

func appendText[T ~string | ~[]byte](b []byte, num protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	return append(appendLen(b, num, len(v)), v...)
}
