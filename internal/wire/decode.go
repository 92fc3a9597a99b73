package wire

import (
	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/proto"
)

// Framing is how a message was laid in its value.
type Framing uint8

const (
	FramingPlain       Framing = iota // byte 0x00, protobuf
	FramingZstd                       // byte 0x01, one zstd frame
	FramingLegacyPlain                // protobuf, no framing byte
	FramingLegacyZstd                 // one zstd frame, no framing byte
)

// String returns a stable word for labels and output.
func (f Framing) String() string {
	switch f {
	case FramingPlain:
		return "plain"
	case FramingZstd:
		return "zstd"
	case FramingLegacyPlain:
		return "legacy_plain"
	case FramingLegacyZstd:
		return "legacy_zstd"
	}
	return "unknown"
}

// Legacy reports whether the value had no framing byte.
func (f Framing) Legacy() bool { return f == FramingLegacyPlain || f == FramingLegacyZstd }

// Compressed reports whether the message was compressed.
func (f Framing) Compressed() bool { return f == FramingZstd || f == FramingLegacyZstd }

// Decode reads one frame. The message shares no memory with it.
//
// What it returns has a header (in a batch, so has every event), of a known
// schema version, which reads 1 where the producer left 0; its strings are
// UTF-8. A sequence of 0 means missing. The header's compression is as the
// producer wrote it: the frame decided how the message was read. Ids, JSON and
// encodings are not looked at, see [CheckIDs] and [Validate].
//
// Errors are an [Error] of every reason but those two functions'.
func Decode(frame []byte, l Limits) (*pb.DashStreamMessage, error) {
	m, _, err := decode(frame, l, false)
	return m, err
}

// DecodeLegacy is [Decode] for logs that hold values from before framing: it
// also takes a bare zstd frame, or bare protobuf. It must be asked for by the
// operator, since bytes that are no message at all can pass for protobuf;
// callers count what [Framing.Legacy] reports.
func DecodeLegacy(value []byte, l Limits) (*pb.DashStreamMessage, Framing, error) {
	return decode(value, l, true)
}

func decode(value []byte, l Limits, legacy bool) (*pb.DashStreamMessage, Framing, error) {
	body, framing, err := unframe(value, l, legacy)
	if err != nil {
		return nil, framing, err
	}
	if !framing.Compressed() {
		m, err := unmarshal(body, l)
		return m, framing, err
	}
	// The message copies what it keeps, so the plain bytes can be pooled.
	s := scratches.Get().(*scratch)
	defer s.release()
	s.plain, err = Decompress(s.plain[:0], body, l.Decoded)
	if err != nil {
		return nil, framing, err
	}
	m, err := unmarshal(s.plain, l)
	return m, framing, err
}

// unframe tells the framing and returns what follows it, checked against the
// limits as far as its length tells.
func unframe(value []byte, l Limits, legacy bool) ([]byte, Framing, error) {
	if len(value) == 0 {
		return nil, FramingPlain, refuse(ReasonEmpty, "the value has no bytes")
	}
	if len(value) > l.Framed {
		return nil, FramingPlain, tooLarge("value", len(value), l.Framed)
	}
	body, framing := value[1:], FramingPlain
	switch {
	case value[0] == framePlain:
	case value[0] == frameZstd:
		framing = FramingZstd
	case !legacy:
		return nil, FramingPlain, refuse(ReasonUnknownFraming, "first byte 0x%02x, allowed are 0x00 and 0x01", value[0])
	case isZstd(value):
		body, framing = value, FramingLegacyZstd
	default:
		body, framing = value, FramingLegacyPlain
	}
	if !framing.Compressed() && len(body) > l.Decoded {
		return nil, framing, tooLarge("message", len(body), l.Decoded)
	}
	return body, framing, nil
}

func unmarshal(body []byte, l Limits) (*pb.DashStreamMessage, error) {
	if err := checkCost(body, l); err != nil {
		return nil, err
	}
	m := new(pb.DashStreamMessage)
	if err := (proto.UnmarshalOptions{RecursionLimit: MaxDepth}).Unmarshal(body, m); err != nil {
		return nil, refuse(ReasonMalformed, "message of %d bytes: %v", len(body), err)
	}
	if err := checkHeaders(m); err != nil {
		return nil, err
	}
	normaliseVersion(HeaderOf(m))
	for _, ev := range batchEvents(m) {
		normaliseVersion(ev.Header)
	}
	return m, nil
}

func normaliseVersion(h *pb.Header) {
	if h.SchemaVersion == 0 {
		h.SchemaVersion = 1
	}
}
