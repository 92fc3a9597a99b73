package gateway

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
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
	"github.com/dashflow/dashstream/internal/wire"
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

// frame encodes a frame for the socket.
func (e encoding) frame(f *streampb.ServerFrame) []byte {
	if e == encodingProto {
		n := proto.Size(f)
		b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(appendWSHeader(make([]byte, 0, n+10), opBinary, n), f)
		if err != nil {
			// Only a string that is not UTF-8 gets here, and all of ours are.
			return e.frame(internalError())
		}
		return b
	}
	body, err := marshalJSON(f)
	if err != nil {
		return e.frame(internalError())
	}
	if e == encodingJSON {
		return append(appendWSHeader(make([]byte, 0, len(body)+10), opText, len(body)), body...)
	}
	return sseEvent(eventName(f), body)
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

// encoder makes the frames of segments.
type encoder struct {
	limits wire.Limits
}

// segment encodes the records that the filter selects, or nil when there is
// nothing to tell. Without a filter a segment that has no records still tells
// how far it goes.
func (c encoder) segment(enc encoding, streamID string) func(*feed.Segment, *feed.Filter) ([]byte, int) {
	return func(s *feed.Segment, f *feed.Filter) ([]byte, int) {
		var records []*feed.Record
		s.Matching(f, func(r *feed.Record) { records = append(records, r) })
		if len(records) == 0 {
			if f != nil {
				return nil, 0
			}
			return enc.frame(&streampb.ServerFrame{Frame: &streampb.ServerFrame_Progress{Progress: &streampb.Progress{Cursor: movesPB(streamID, s.Moves)}}}), 0
		}
		if enc == encodingProto && !slices.ContainsFunc(records, c.tooLarge) {
			return appendProtoBatch(records, streamID, s.Moves), len(records)
		}
		batch := &streampb.Batch{Cursor: movesPB(streamID, s.Moves), Records: make([]*streampb.Record, len(records))}
		for i, r := range records {
			if enc == encodingProto {
				batch.Records[i] = c.stored(r)
			} else {
				batch.Records[i] = c.decoded(r)
			}
		}
		frame := &streampb.ServerFrame{Frame: &streampb.ServerFrame_Batch{Batch: batch}}
		b := enc.frame(frame)
		// Numbers and names take more than what was counted before.
		if limit := jsonLimit(c.limits); enc != encodingProto && len(records) == 1 && batch.Records[0].Message != nil && len(b) > limit+frameSpare(records[0]) {
			batch.Records[0].Message, batch.Records[0].Error = nil, jsonError(records[0], limit)
			b = enc.frame(frame)
		}
		return b, len(records)
	}
}

// frameSpare is more than a JSON frame of one record takes beside its message and
// the cursor of the few partitions that move with it.
func frameSpare(r *feed.Record) int {
	n := 64<<10 + len(r.Key)*2
	for _, h := range r.Headers {
		n += 6*len(h.Key) + 2*len(h.Value) + 64
	}
	return n
}

func (c encoder) tooLarge(r *feed.Record) bool { return len(r.Value) > c.limits.Framed }

// place gives a record without its value.
func place(r *feed.Record) *streampb.Record {
	out := &streampb.Record{Partition: proto.Int32(r.Partition), Offset: proto.Int64(r.Offset), TimestampMs: proto.Int64(r.Timestamp), Key: r.Key}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, &streampb.RecordHeader{Key: strings.ToValidUTF8(h.Key, "\uFFFD"), Value: h.Value})
	}
	return out
}

// stored gives a record with its value as it is, unless that is above the
// limit.
func (c encoder) stored(r *feed.Record) *streampb.Record {
	out := place(r)
	if c.tooLarge(r) {
		_, err := wire.Decode(r.Value, c.limits)
		out.Error = recordError(r, err)
		return out
	}
	out.Value = r.Value
	return out
}

func recordError(r *feed.Record, err error) *streampb.RecordError {
	return &streampb.RecordError{Reason: string(wire.ReasonOf(err)), Detail: clip(err.Error(), 512), ValueBytes: int64(len(r.Value))}
}

// decoded gives a record with its message, or with the reason why there is
// none.
func (c encoder) decoded(r *feed.Record) *streampb.Record {
	out := place(r)
	m, err := wire.Decode(r.Value, c.limits)
	if err != nil {
		out.Error = recordError(r, err)
		return out
	}
	if limit := jsonLimit(c.limits); len(r.Value) > 0 && wire.DecodedSize(r.Value, c.limits.Decoded) > limit/8 && jsonExceeds(m.ProtoReflect(), limit) {
		out.Error = jsonError(r, limit)
		return out
	}
	out.Message = m
	return out
}

// jsonError says that a record is too large on JSON alone.
func jsonError(r *feed.Record, limit int) *streampb.RecordError {
	return &streampb.RecordError{
		Reason:     string(wire.ReasonTooLarge),
		Detail:     fmt.Sprintf("as JSON the message takes more than %d bytes, the limit; the subprotocol %s carries it", limit, protocolProto),
		ValueBytes: int64(len(r.Value)),
	}
}

func movesPB(streamID string, moves []feed.Move) *streampb.Cursor {
	c := &streampb.Cursor{StreamId: streamID, Partitions: make([]*streampb.PartitionOffset, len(moves))}
	for i, m := range moves {
		c.Partitions[i] = &streampb.PartitionOffset{Partition: proto.Int32(m.Partition), NextOffset: proto.Int64(m.Next)}
	}
	return c
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
	return sizeVarintField(fieldPartition, uint64(m.Partition)) + sizeVarintField(fieldOffset, uint64(m.Next))
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
