package wire

import (
	"slices"
	"sync"
	"sync/atomic"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	framePlain = 0x00
	frameZstd  = 0x01
)

// Encoder frames messages. The zero value is ready and safe for concurrent
// use; it exists beside [Append] to count what went wrong with compression.
type Encoder struct {
	failures atomic.Uint64
	// compress stands in for Compress where a test makes it fail.
	compress func(dst, src []byte) ([]byte, error)
}

// CompressionFailures returns how many messages were framed plain because
// compressing them failed.
func (e *Encoder) CompressionFailures() uint64 { return e.failures.Load() }

// Append is [Encoder.Append] without the count.
func Append(dst []byte, m *pb.DashStreamMessage, maxFramed int) ([]byte, error) {
	var e Encoder
	return e.Append(dst, m, maxFramed)
}

// Append appends the frame of m to dst. A plain message above [CompressAbove]
// is compressed where that makes it smaller.
//
// It sets the compression of the header, and of every inner header of a batch,
// to what the frame carries, and leaves it so; nothing else of m is changed.
// Nothing else may use m during the call.
//
// It writes only what [Decode] reads with limits of at least maxFramed and
// [DefaultMaxBytes]. Otherwise it returns dst as it was and an [Error]:
// ReasonMissingHeader for a message or inner event without a header,
// ReasonSchemaVersion, ReasonMalformed for a string that is not UTF-8 or
// nesting beyond [MaxDepth], and ReasonTooLarge if the frame would be larger
// than maxFramed bytes or readers refuse it for its size in memory.
func (e *Encoder) Append(dst []byte, m *pb.DashStreamMessage, maxFramed int) ([]byte, error) {
	if err := checkHeaders(m); err != nil {
		return dst, err
	}
	setCompression(m, pb.CompressionType_COMPRESSION_NONE)
	plain, fast := 0, sizeFast(m)
	if fast >= 0 {
		plain = 1 + protowire.SizeBytes(fast)
	} else {
		// Before Size, which would not end where a value holds itself.
		if err := checkNesting(m); err != nil {
			return dst, err
		}
		plain = proto.Size(m)
	}
	if limit := max(maxFramed, DefaultMaxBytes); plain > limit {
		return dst, tooLarge("message", plain, limit)
	}
	if plain > CompressAbove {
		out, ok, err := e.appendZstd(dst, m, plain)
		if err != nil {
			return dst, err
		}
		if ok {
			return within(dst, out, maxFramed)
		}
		setCompression(m, pb.CompressionType_COMPRESSION_NONE)
	}
	if 1+plain > maxFramed {
		return dst, tooLarge("frame", 1+plain, maxFramed)
	}
	out, err := marshal(append(slices.Grow(dst, 1+plain), framePlain), m, fast)
	if err != nil {
		return dst, err
	}
	if err := checkCost(out[len(dst)+1:], DefaultLimits()); err != nil {
		return dst, err
	}
	return within(dst, out, maxFramed)
}

// marshal is given what sizeFast says of m now.
func marshal(b []byte, m *pb.DashStreamMessage, fast int) ([]byte, error) {
	if fast >= 0 {
		return appendFast(b, m, fast), nil
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		return nil, refuse(ReasonMalformed, "marshal: %v", err)
	}
	return b, nil
}

func within(dst, out []byte, maxFramed int) ([]byte, error) {
	if n := len(out) - len(dst); n > maxFramed {
		return dst, tooLarge("frame", n, maxFramed)
	}
	return out, nil
}

// scratch holds a message between marshalling and compressing. The result is
// copied out of it, so a caller's frame is no larger than its content and
// never shares memory with a later one.
type scratch struct{ plain, packed []byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) release() {
	if cap(s.plain) <= maxPooledBytes && cap(s.packed) <= maxPooledBytes {
		scratches.Put(s)
	}
}

// appendZstd reports false, and dst as it was, if m is better framed plain.
func (e *Encoder) appendZstd(dst []byte, m *pb.DashStreamMessage, plain int) ([]byte, bool, error) {
	s := scratches.Get().(*scratch)
	defer s.release()

	setCompression(m, pb.CompressionType_COMPRESSION_ZSTD)
	body, err := marshal(s.plain[:0], m, sizeFast(m))
	if err != nil {
		return dst, false, err
	}
	s.plain = body
	if err := checkCost(body, DefaultLimits()); err != nil {
		return dst, false, err
	}
	compress := e.compress
	if compress == nil {
		compress = Compress
	}
	s.packed, err = compress(s.packed[:0], s.plain)
	if err != nil {
		e.failures.Add(1)
		return dst, false, nil
	}
	if len(s.packed) >= plain {
		return dst, false, nil
	}
	dst = append(slices.Grow(dst, 1+len(s.packed)), frameZstd)
	return append(dst, s.packed...), true, nil
}

func setCompression(m *pb.DashStreamMessage, c pb.CompressionType) {
	HeaderOf(m).Compression = c
	for _, ev := range batchEvents(m) {
		ev.Header.Compression = c
	}
}

// checkHeaders holds the rules of headers that make a message readable at all:
// each is there, and of a schema version that is known.
func checkHeaders(m *pb.DashStreamMessage) *Error {
	h := HeaderOf(m)
	if h == nil {
		if KindOf(m) == pb.MessageType_MESSAGE_TYPE_UNSPECIFIED {
			return refuse(ReasonMissingHeader, "the message is of no known kind")
		}
		return refuse(ReasonMissingHeader, "%s without a header", TypeName(KindOf(m)))
	}
	if h.SchemaVersion > SchemaVersion {
		return newerSchema(h.SchemaVersion, TypeName(KindOf(m)))
	}
	for i, ev := range batchEvents(m) {
		h := ev.GetHeader()
		if h == nil {
			return refuse(ReasonMissingHeader, "event %d of the batch without a header", i)
		}
		if h.SchemaVersion > SchemaVersion {
			return newerSchema(h.SchemaVersion, "event of the batch")
		}
	}
	return nil
}

func newerSchema(v uint32, what string) *Error {
	e := refuse(ReasonSchemaVersion, "%s of schema version %d, the newest known is %d", what, v, SchemaVersion)
	e.Version = v
	return e
}

// CheckNesting returns an [Error] for attribute values that nest beyond
// [MaxDepth], that hold themselves, or that are too many. Copying or measuring
// such a message need not end.
func CheckNesting(m *pb.DashStreamMessage) error {
	if err := checkNesting(m); err != nil {
		return err
	}
	return nil
}

// checkNesting bounds how deep attribute values nest, as [Decode] does, and how
// many there are: a value may hold itself, or one value many times over.
func checkNesting(m *pb.DashStreamMessage) *Error {
	// Each value takes two bytes or more.
	n := nesting{left: DefaultMaxBytes / 2}
	switch w := m.GetMessage().(type) {
	case *pb.DashStreamMessage_Event:
		// Above an attribute's value: the message, the event, the map entry.
		return n.attributes(w.Event.GetAttributes(), 3)
	case *pb.DashStreamMessage_EventBatch:
		for _, ev := range w.EventBatch.GetEvents() {
			if err := n.attributes(ev.GetAttributes(), 4); err != nil {
				return err
			}
		}
	}
	return nil
}

type nesting struct{ left int }

// attributes is given how many messages nest above the values of attrs.
func (n *nesting) attributes(attrs map[string]*pb.AttributeValue, above int) *Error {
	for _, v := range attrs {
		if err := n.value(v, above+1); err != nil {
			return err
		}
	}
	return nil
}

func (n *nesting) value(v *pb.AttributeValue, depth int) *Error {
	if n.left--; n.left < 0 {
		return tooLarge("message", DefaultMaxBytes+1, DefaultMaxBytes)
	}
	switch w := v.GetValue().(type) {
	case *pb.AttributeValue_ArrayValue:
		depth++
		if depth <= MaxDepth {
			for _, item := range w.ArrayValue.GetValues() {
				if err := n.value(item, depth+1); err != nil {
					return err
				}
			}
		}
	case *pb.AttributeValue_MapValue:
		depth++
		if depth <= MaxDepth {
			if err := n.attributes(w.MapValue.GetValues(), depth+1); err != nil {
				return err
			}
		}
	}
	if depth > MaxDepth {
		return refuse(ReasonMalformed, "attribute values nest deeper than %d messages", MaxDepth)
	}
	return nil
}
