package gateway

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
)

// encoding is how a session's frames look on the socket.
type encoding uint8

const (
	// encodingProto: one binary WebSocket message is one protobuf ServerFrame.
	encodingProto encoding = iota
	// encodingJSON: one text WebSocket message is one ProtoJSON ServerFrame.
	encodingJSON
	// encodingSSE: one event is one ProtoJSON ServerFrame. The id line, which
	// is the session's own, follows the shared bytes.
	encodingSSE
)

func (e encoding) String() string {
	return [...]string{"proto", "json", "sse"}[e]
}

// WebSocket opcodes, RFC 6455 section 5.2.
const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// appendWSHeader appends the header of an unmasked final frame, RFC 6455
// section 5.2.
func appendWSHeader(b []byte, opcode byte, n int) []byte {
	b = append(b, 0x80|opcode)
	switch {
	case n < 126:
		return append(b, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
}

// frame encodes a frame of the gateway's own for the socket.
func (e encoding) frame(f *streampb.ServerFrame) []byte {
	b, err := e.encode(f)
	if err != nil {
		// Only a string that is not UTF-8 gets here, and all of ours are.
		b, _ = e.encode(internalError())
	}
	return b
}

// encode encodes a frame for the socket. It fails where a string is not UTF-8.
func (e encoding) encode(f *streampb.ServerFrame) ([]byte, error) {
	if e == encodingProto {
		n := proto.Size(f)
		return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(appendWSHeader(make([]byte, 0, n+10), opBinary, n), f)
	}
	body, err := marshalJSON(f)
	if err != nil {
		return nil, err
	}
	if e == encodingJSON {
		return append(appendWSHeader(make([]byte, 0, len(body)+10), opText, len(body)), body...), nil
	}
	return sseEvent(eventName(f), body), nil
}

func internalError() *streampb.ServerFrame {
	return &streampb.ServerFrame{Frame: &streampb.ServerFrame_Error{Error: &streampb.Error{Code: "internal", Message: "the frame could not be encoded"}}}
}

// marshalJSON gives ProtoJSON without the spaces that protojson puts in at
// random.
func marshalJSON(m proto.Message) ([]byte, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	v := jsontext.Value(b)
	if err := v.Compact(); err != nil {
		return nil, err
	}
	return v, nil
}

// sseEvent gives the lines of an event but for its id and the empty line that
// ends it. ProtoJSON has no line breaks in it.
func sseEvent(name string, body []byte) []byte {
	b := make([]byte, 0, len(body)+len(name)+16)
	b = append(b, "event: "...)
	b = append(b, name...)
	b = append(b, "\ndata: "...)
	b = append(b, body...)
	return append(b, '\n')
}

func eventName(f *streampb.ServerFrame) string {
	switch f.GetFrame().(type) {
	case *streampb.ServerFrame_Hello:
		return "hello"
	case *streampb.ServerFrame_Subscribed:
		return "subscribed"
	case *streampb.ServerFrame_Batch:
		return "batch"
	case *streampb.ServerFrame_Progress:
		return "progress"
	case *streampb.ServerFrame_CaughtUp:
		return "caught_up"
	case *streampb.ServerFrame_Gap:
		return "gap"
	case *streampb.ServerFrame_Reset_:
		return "reset"
	case *streampb.ServerFrame_Partitions:
		return "partitions"
	default:
		return "error"
	}
}

// Field numbers of stream.proto that appendProtoBatch writes by hand.
const (
	fieldServerBatch     = 3
	fieldBatchRecords    = 1
	fieldBatchCursor     = 2
	fieldCursorStream    = 1
	fieldCursorPartition = 2
	fieldPartition       = 1
	fieldOffset          = 2
	fieldLeaderEpoch     = 3
	fieldTimestamp       = 3
	fieldKey             = 4
	fieldValue           = 5
	fieldHeaders         = 8
	fieldHeaderKey       = 1
	fieldHeaderValue     = 2
)

// appendProtoBatch writes a batch frame straight from the stored bytes, each
// record copied once. The result equals what the generated code would give; a
// test holds it to that.
func appendProtoBatch(records []*feed.Record, streamID string, moves []feed.Move) []byte {
	cursor := sizeCursor(streamID, moves)
	body := protowire.SizeTag(fieldBatchCursor) + protowire.SizeBytes(cursor)
	for _, r := range records {
		body += protowire.SizeTag(fieldBatchRecords) + protowire.SizeBytes(sizeRecord(r))
	}
	total := protowire.SizeTag(fieldServerBatch) + protowire.SizeBytes(body)
	b := appendWSHeader(make([]byte, 0, total+10), opBinary, total)
	b = protowire.AppendTag(b, fieldServerBatch, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(body))
	for _, r := range records {
		b = protowire.AppendTag(b, fieldBatchRecords, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeRecord(r)))
		b = appendVarintField(b, fieldPartition, uint64(r.Partition))
		b = appendVarintField(b, fieldOffset, uint64(r.Offset))
		b = appendVarintField(b, fieldTimestamp, uint64(r.Timestamp))
		b = appendBytesField(b, fieldKey, r.Key)
		b = appendBytesField(b, fieldValue, r.Value)
		for _, h := range r.Headers {
			key := strings.ToValidUTF8(h.Key, "\uFFFD")
			b = protowire.AppendTag(b, fieldHeaders, protowire.BytesType)
			b = protowire.AppendVarint(b, uint64(sizeHeader(key, h.Value)))
			b = appendBytesField(b, fieldHeaderKey, []byte(key))
			b = appendBytesField(b, fieldHeaderValue, h.Value)
		}
	}
	b = protowire.AppendTag(b, fieldBatchCursor, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(cursor))
	b = protowire.AppendTag(b, fieldCursorStream, protowire.BytesType)
	b = protowire.AppendString(b, streamID)
	for _, m := range moves {
		b = protowire.AppendTag(b, fieldCursorPartition, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeMove(m)))
		b = appendVarintField(b, fieldPartition, uint64(m.Partition))
		b = appendVarintField(b, fieldOffset, uint64(m.Next))
		if m.Epoch >= 0 {
			b = appendVarintField(b, fieldLeaderEpoch, uint64(m.Epoch))
		}
	}
	return b
}

func sizeCursor(streamID string, moves []feed.Move) int {
	n := protowire.SizeTag(fieldCursorStream) + protowire.SizeBytes(len(streamID))
	for _, m := range moves {
		n += protowire.SizeTag(fieldCursorPartition) + protowire.SizeBytes(sizeMove(m))
	}
	return n
}

func sizeMove(m feed.Move) int {
	n := sizeVarintField(fieldPartition, uint64(m.Partition)) + sizeVarintField(fieldOffset, uint64(m.Next))
	if m.Epoch >= 0 {
		n += sizeVarintField(fieldLeaderEpoch, uint64(m.Epoch))
	}
	return n
}

func sizeRecord(r *feed.Record) int {
	n := sizeVarintField(fieldPartition, uint64(r.Partition)) + sizeVarintField(fieldOffset, uint64(r.Offset)) +
		sizeVarintField(fieldTimestamp, uint64(r.Timestamp)) + sizeBytesField(fieldKey, r.Key) + sizeBytesField(fieldValue, r.Value)
	for _, h := range r.Headers {
		n += protowire.SizeTag(fieldHeaders) + protowire.SizeBytes(sizeHeader(strings.ToValidUTF8(h.Key, "\uFFFD"), h.Value))
	}
	return n
}

func sizeHeader(key string, value []byte) int {
	return sizeBytesField(fieldHeaderKey, []byte(key)) + sizeBytesField(fieldHeaderValue, value)
}

func sizeVarintField(num protowire.Number, v uint64) int {
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

func sizeBytesField(num protowire.Number, v []byte) int {
	if len(v) == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(len(v))
}

func appendVarintField(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendBytesField(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

// clip bounds untrusted text, on a rune boundary, and keeps it on one line.
func clip(s string, limit int) string {
	if len(s) > limit {
		n := limit
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	if !utf8.ValidString(s) {
		s = string(bytes.ToValidUTF8([]byte(s), []byte("\uFFFD")))
	}
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, []byte(s)))
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
