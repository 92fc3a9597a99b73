package feed

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// RawRecord encodes one record of a batch as Kafka lays it out.
func RawRecord(delta int64, value []byte, headers int) []byte {
	b := []byte{0}                    // attributes
	b = binary.AppendVarint(b, 0)     // timestamp
	b = binary.AppendVarint(b, delta) // offset
	b = binary.AppendVarint(b, -1)    // no key
	b = binary.AppendVarint(b, int64(len(value)))
	b = append(b, value...)
	b = binary.AppendVarint(b, int64(headers))
	b = append(b, make([]byte, 2*headers)...) // empty key and value
	return append(binary.AppendVarint(nil, int64(len(b))), b...)
}

// RawBatch encodes a batch, whatever its payload is.
func RawBatch(base int64, codec int16, records int, payload []byte) []byte {
	batch := kmsg.RecordBatch{
		FirstOffset: base, PartitionLeaderEpoch: -1, Magic: 2, Attributes: codec, LastOffsetDelta: int32(records - 1), FirstTimestamp: 1, MaxTimestamp: 1,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(records), Records: payload,
	}
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli))
	return raw
}

// The batches of one answer, each within the bound, do not add up without one.
func TestAnAnswerIsDecodedInParts(t *testing.T) {
	t.Parallel()
	c, err := kgo.DefaultCompressor(kgo.ZstdCompression())
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := c.Compress(new(bytes.Buffer), RawRecord(0, make([]byte, 1<<20), 0))
	p := kmsg.NewFetchResponseTopicPartition()
	p.HighWatermark = 20
	for i := range int64(20) {
		p.RecordBatches = append(p.RecordBatches, RawBatch(i, 4, 1, payload)...)
	}
	g := &generation{topic: "t", decompressor: kgo.DefaultDecompressor(), batchMemory: 64 << 20}
	room := int64(4 << 20)
	if f := g.read(&p, 0, &room); f.err != nil || f.next != 4 || len(f.records) != 4 {
		t.Errorf("next %d, %d records, error %v: want the first 4 MiB", f.next, len(f.records), f.err)
	}
	if f := g.read(&p, 0, &room); f.err != nil || f.next != 0 {
		t.Errorf("next %d, error %v: want nothing where there is no room left", f.next, f.err)
	}
	room = 1
	if f := g.read(&p, 19, &room); f.err != nil || f.next != 20 {
		t.Errorf("next %d, error %v: want one batch whatever the room, and those before it not decoded", f.next, f.err)
	}
}
