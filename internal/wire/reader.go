package wire

import (
	pb "github.com/dashflow/dashstream/dashstreampb"
)

// Reader decodes one frame after another for a program that looks into every message. It refuses what [Decode] refuses, for
// the same reasons. The zero value is ready; it is not safe for concurrent use.
type Reader struct {
	// Legacy makes it take what [DecodeLegacy] takes.
	Legacy bool

	events []EventView
}

// Message is what a [Reader] read. It is valid until the next call.
type Message struct {
	// Kind is which message it is, whatever its header claims.
	Kind    pb.MessageType
	Framing Framing
	// Header of the message; of a batch that of the envelope.
	Header PeekedHeader
	// Full is the message where it is neither an event nor a batch.
	Full *pb.DashStreamMessage
	// Events are the event, or those of the batch.
	Events []EventView
}

// EventView is an event as its message has it.
type EventView struct {
	PeekedHeader

	EventType    pb.EventType
	NodeID       []byte
	DurationUS   int64 // math.MaxInt64 is beyond the range
	LLMRequestID []byte

	attributes map[string]*pb.AttributeValue
}

// AttrKind is which value an attribute has.
type AttrKind uint8

// The kinds of values.
const (
	AttrNone AttrKind = iota // the attribute is there and has no value
	AttrString
	AttrInt
	AttrFloat
	AttrBool
	AttrBytes
	AttrOther // an array or a map
)

// AttrView is the value of an attribute.
type AttrView struct {
	Kind   AttrKind
	String []byte // of AttrString and AttrBytes
	Int    int64
	Float  float64
	Bool   bool
}

// Attr returns the value of an attribute; false where the event does not have it.
func (e *EventView) Attr(key string) (AttrView, bool) {
	v, ok := e.attributes[key]
	if !ok {
		return AttrView{}, false
	}
	switch w := v.GetValue().(type) {
	case *pb.AttributeValue_StringValue:
		return AttrView{Kind: AttrString, String: []byte(w.StringValue)}, true
	case *pb.AttributeValue_IntValue:
		return AttrView{Kind: AttrInt, Int: w.IntValue}, true
	case *pb.AttributeValue_FloatValue:
		return AttrView{Kind: AttrFloat, Float: w.FloatValue}, true
	case *pb.AttributeValue_BoolValue:
		return AttrView{Kind: AttrBool, Bool: w.BoolValue}, true
	case *pb.AttributeValue_BytesValue:
		return AttrView{Kind: AttrBytes, String: w.BytesValue}, true
	case nil:
		return AttrView{}, true
	default:
		return AttrView{Kind: AttrOther}, true
	}
}

// Read decodes a frame.
func (r *Reader) Read(frame []byte, l Limits) (Message, error) {
	m, framing, err := decode(frame, l, r.Legacy)
	if err != nil {
		return Message{Framing: framing}, err
	}
	out := Message{Kind: KindOf(m), Framing: framing, Header: viewHeader(HeaderOf(m))}
	r.events = r.events[:0]
	switch {
	case m.GetEvent() != nil:
		r.events = append(r.events, viewEvent(m.GetEvent()))
	case m.GetEventBatch() != nil:
		for _, e := range m.GetEventBatch().GetEvents() {
			r.events = append(r.events, viewEvent(e))
		}
	default:
		out.Full = m
	}
	out.Events = r.events
	return out, nil
}

func viewHeader(h *pb.Header) PeekedHeader {
	return PeekedHeader{
		Present: true, Type: h.GetType(), Compression: h.GetCompression(), SchemaVersion: h.GetSchemaVersion(), MessageID: h.GetMessageId(),
		ParentID: h.GetParentId(), TenantID: []byte(h.GetTenantId()), ThreadID: []byte(h.GetThreadId()), Sequence: h.GetSequence(), TimestampUS: h.GetTimestampUs(),
	}
}

func viewEvent(e *pb.Event) EventView {
	return EventView{
		PeekedHeader: viewHeader(e.GetHeader()), EventType: e.GetEventType(), NodeID: []byte(e.GetNodeId()), DurationUS: e.GetDurationUs(),
		LLMRequestID: []byte(e.GetLlmRequestId()), attributes: e.GetAttributes(),
	}
}
