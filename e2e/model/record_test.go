package model

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// item is what a record holds, made from its number alone, so that the oracle
// knows from the number what a filter must do with it. It is encoded here, with
// none of the product's code.
type item struct {
	number uint64
	// headers are those that a filter looks at: the record's own, then those of
	// the events of a batch.
	headers []itemHeader
	garbage bool
	padding int
}

type itemHeader struct {
	thread, tenant string
	typ            pb.MessageType
}

// numberHeader is the Kafka header that carries an item's number.
const numberHeader = "number"

const (
	modelThreads = 7
	modelTenants = 2
)

func threadName(n uint64) string { return fmt.Sprintf("thread-%d", n%modelThreads) }
func tenantName(n uint64) string { return []string{"red", "blue"}[n%modelTenants] }

// mix spreads a number's bits: neighbours differ in everything.
func mix(n uint64) uint64 {
	n ^= n >> 33
	n *= 0xff51afd7ed558ccd
	n ^= n >> 33
	n *= 0xc4ceb9fe1a85ec53
	return n ^ n>>33
}

func makeItem(number uint64) item {
	m := mix(number)
	it := item{number: number, padding: int(m >> 40 % 200)}
	own := itemHeader{thread: threadName(m), tenant: tenantName(m >> 8), typ: pb.MessageType_MESSAGE_TYPE_EVENT}
	switch m >> 16 % 16 {
	case 0:
		it.garbage, own.tenant, own.typ = true, "", pb.MessageType_MESSAGE_TYPE_UNSPECIFIED
	case 1, 2:
		own.typ = pb.MessageType_MESSAGE_TYPE_EVENT_BATCH
	case 3, 4, 5, 6, 7, 8, 9:
		own.typ = pb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK
	}
	switch m >> 32 % 1000 {
	case 0:
		it.padding = 100_000 // larger than a segment of the hot tail
	case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10:
		it.padding = 2_000 // large enough to be compressed
	}
	it.headers = []itemHeader{own}
	if own.typ == pb.MessageType_MESSAGE_TYPE_EVENT_BATCH {
		for i := range m >> 24 % 4 {
			it.headers = append(it.headers, itemHeader{thread: threadName(m>>48 + i), tenant: tenantName(m>>9 + i), typ: pb.MessageType_MESSAGE_TYPE_EVENT})
		}
	}
	return it
}

func messageID(number uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 8), number)
}

var compressor = sync.OnceValues(func() (*zstd.Encoder, error) { return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)) })

// value encodes the record's value: framing byte and message.
func (it item) value() ([]byte, error) {
	if it.garbage {
		return append([]byte{0x00, 0xff, 0xff}, messageID(it.number)...), nil
	}
	// Half random, so that compression has something to do and does not do it all.
	text := strings.Repeat("x", it.padding/2)
	for n := it.number; len(text) < it.padding; n = mix(n + 1) {
		text += fmt.Sprintf("%x", n)
	}
	header := func(h itemHeader) *pb.Header {
		return &pb.Header{MessageId: messageID(it.number), ThreadId: h.thread, TenantId: h.tenant, Type: h.typ, Sequence: it.number, SchemaVersion: 1}
	}
	own := it.headers[0]
	m := &pb.DashStreamMessage{}
	var all []*pb.Header
	event := func(h itemHeader) *pb.Event {
		e := &pb.Event{Header: header(h), EventType: pb.EventType_EVENT_TYPE_NODE_PROGRESS, NodeId: text}
		all = append(all, e.Header)
		return e
	}
	switch own.typ {
	case pb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK:
		c := &pb.TokenChunk{Header: header(own), Text: text}
		all = append(all, c.Header)
		m.Message = &pb.DashStreamMessage_TokenChunk{TokenChunk: c}
	case pb.MessageType_MESSAGE_TYPE_EVENT_BATCH:
		b := &pb.EventBatch{Header: header(own)}
		b.Header.Sequence = 0
		all = append(all, b.Header)
		for _, h := range it.headers[1:] {
			b.Events = append(b.Events, event(h))
		}
		m.Message = &pb.DashStreamMessage_EventBatch{EventBatch: b}
	default:
		m.Message = &pb.DashStreamMessage_Event{Event: event(own)}
	}
	raw, err := proto.Marshal(m)
	if err != nil || it.number%3 != 0 || len(raw) <= 512 {
		return append([]byte{0x00}, raw...), err
	}
	for _, h := range all {
		h.Compression = pb.CompressionType_COMPRESSION_ZSTD
	}
	if raw, err = proto.Marshal(m); err != nil {
		return nil, err
	}
	enc, err := compressor()
	if err != nil {
		return nil, err
	}
	return enc.EncodeAll(raw, []byte{0x01}), nil
}

func (it item) record(topic string, partition int32) (*kgo.Record, error) {
	v, err := it.value()
	if err != nil {
		return nil, err
	}
	return &kgo.Record{
		Topic: topic, Partition: partition, Key: []byte(it.headers[0].thread), Value: v,
		Headers: []kgo.RecordHeader{{Key: numberHeader, Value: binary.BigEndian.AppendUint64(nil, it.number)}},
	}, nil
}

// filter is what a client asks for.
type filter struct {
	Threads []string         `json:"threads,omitempty"`
	Tenants []string         `json:"tenants,omitempty"`
	Types   []pb.MessageType `json:"types,omitempty"`
}

// matches says what docs/protocol.md promises: a batch matches as one, or as the
// events in it, by its own thread and tenant or by theirs.
func (f filter) matches(it item) bool {
	own := it.headers[0].typ
	for i, h := range it.headers {
		if (len(f.Threads) == 0 || slices.Contains(f.Threads, h.thread)) &&
			(len(f.Tenants) == 0 || slices.Contains(f.Tenants, h.tenant)) &&
			(len(f.Types) == 0 || slices.Contains(f.Types, own) || i > 0 && slices.Contains(f.Types, h.typ)) {
			return true
		}
	}
	return false
}
