package feed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A batch is a producer's bytes: the broker looks at its header and passes the
// rest on. So what it takes in memory is checked before it is there.

const (
	// memoryFactor bounds what a batch takes in memory with its records and
	// headers, as a multiple of Config.BatchBytes.
	memoryFactor = 4
	// memoryPerByte is the most that a record or a header takes for each byte of
	// a batch, which is when it is empty.
	memoryPerByte = 64
	// minRecordBytes is the size of a record without key, value and headers.
	minRecordBytes = 7
	// decodedRecordBytes is what kgo's Record and ours take, without key and value.
	decodedRecordBytes = 240 + recordOverhead
)

// errUnreadable reports a batch that arrived and cannot be read. It covers the
// offsets up to, not including, End.
type errUnreadable struct {
	End   int64
	cause error
}

func (e *errUnreadable) Error() string {
	return fmt.Sprintf("batch up to offset %d cannot be read: %v", e.End, e.cause)
}

func (e *errUnreadable) Unwrap() error { return e.cause }

// batchHead is what the header of a batch says (Kafka's record batch, magic 2).
// Older message sets tell only their size.
type batchHead struct {
	size  int // with the header
	magic byte
	// end is the offset after the batch; records how many it claims to hold;
	// epoch the leader's that wrote it, -1 where not known.
	end     int64
	records int
	epoch   int32
}

// The layout of a batch, magic 2, in bytes.
const (
	atLength          = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atChecksum        = 17 // of what follows it
	atAttributes      = 21
	atLastOffsetDelta = 23
	atRecordCount     = 57
	batchHeadBytes    = 61
	codecBits         = 7 // of the low byte of the attributes; 0 is none
)

// headOf reads the header of the first batch; ok is false where the batch is not
// whole, as the last one of a response may be.
func headOf(b []byte) (h batchHead, ok bool) {
	if len(b) <= atMagic {
		return h, false
	}
	base := int64(binary.BigEndian.Uint64(b))
	length := int64(int32(binary.BigEndian.Uint32(b[atLength:]))) + atLeaderEpoch
	if length <= atMagic {
		// Not a batch at all; there is no telling where the next one begins.
		return batchHead{size: len(b), magic: b[atMagic], end: -1, epoch: -1}, true
	}
	if length > int64(len(b)) {
		return h, false
	}
	h = batchHead{size: int(length), magic: b[atMagic], end: base + 1, epoch: -1}
	if h.magic == 2 && h.size >= batchHeadBytes {
		h.end = base + int64(int32(binary.BigEndian.Uint32(b[atLastOffsetDelta:]))) + 1
		h.records = int(int32(binary.BigEndian.Uint32(b[atRecordCount:])))
		h.epoch = int32(binary.BigEndian.Uint32(b[atLeaderEpoch:]))
	}
	return h, true
}

// endAfter returns the offset after a batch that holds the offset from. A header
// that may be as bad as the rest is taken at its word only where that is
// plausible.
func (h batchHead) endAfter(from int64, batch []byte) int64 {
	const plausible = 1 << 20 // records in one batch
	if h.end > from && (h.end-from <= plausible || sound(batch)) {
		return h.end
	}
	return from + 1
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sound reports whether a batch is as its producer and the broker wrote it.
func sound(batch []byte) bool {
	return len(batch) >= batchHeadBytes && batch[atMagic] == 2 &&
		crc32.Checksum(batch[atAttributes:], castagnoli) == binary.BigEndian.Uint32(batch[atChecksum:])
}

// bounded decompresses one batch and looks at what came out before records are
// made of it.
type bounded struct {
	inner  kgo.Decompressor // bounds the bytes
	memory int64            // bounds them with their records
	head   batchHead
	size   int
}

func (d *bounded) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	out, err := d.inner.Decompress(src, codec)
	if err != nil {
		return nil, err
	}
	d.size = len(out)
	if d.head.magic == 2 {
		err = affordable(out, d.head.records, d.memory)
	}
	return out, err
}

// affordable reports why the records of a batch would take too much memory.
func affordable(raw []byte, records int, limit int64) error {
	if records > len(raw)/minRecordBytes {
		return fmt.Errorf("%d records in %d bytes", records, len(raw))
	}
	if int64(len(raw)) <= limit/memoryPerByte {
		return nil
	}
	memory := int64(len(raw)) + int64(records)*decodedRecordBytes
	for range records {
		length, n := binary.Varint(raw)
		if n <= 0 || length < 0 || length > int64(len(raw)-n) {
			break // the decoder says what is wrong
		}
		memory += headerCount(raw[n:n+int(length)]) * headerOverhead
		if memory > limit {
			return fmt.Errorf("its records would take more than %d bytes of memory", limit)
		}
		raw = raw[n+int(length):]
	}
	return nil
}

// headerCount returns how many headers a record claims, 0 where it is not well
// formed.
func headerCount(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	b = b[1:]                                                // attributes
	for _, sized := range []bool{false, false, true, true} { // timestamp, offset, key, value
		v, n := binary.Varint(b)
		if n <= 0 {
			return 0
		}
		b = b[n:]
		if sized && v > 0 {
			if v > int64(len(b)) {
				return 0
			}
			b = b[v:]
		}
	}
	v, n := binary.Varint(b)
	if n <= 0 || v > int64(len(b)) {
		return 0
	}
	return max(0, v)
}

// read turns the broker's answer for one partition into records. It goes on from
// batch to batch until they took the room, which all partitions of a response
// share; what is left comes with the next request.
func (g *generation) read(p *kmsg.FetchResponseTopicPartition, from int64, room *int64) fetched {
	f := fetched{
		partition: p.Partition, from: from, next: from, epoch: -1,
		highWatermark: p.HighWatermark, logStart: p.LogStartOffset, sent: len(p.RecordBatches),
	}
	if p.ErrorCode != 0 {
		fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: from, Topic: g.topic, Partition: p.Partition}, p, g.decompressor, nil)
		f.err = fp.Err
		return f
	}
	one := *p
	for in := p.RecordBatches; len(in) > 0; {
		if *room <= 0 {
			return f
		}
		head, whole := headOf(in)
		if !whole {
			break
		}
		one.RecordBatches, in = in[:head.size], in[head.size:]
		if head.magic == 2 && head.end >= 0 && head.end <= f.next {
			continue // a batch that ends before what was asked for
		}
		if !g.readBatch(&f, &one, head, room) {
			return f
		}
	}
	if f.next <= from && from < f.highWatermark && len(p.RecordBatches) > 0 {
		f.err = errNoProgress
	}
	return f
}

// readBatch adds the records of one batch. It returns false where the answer ends:
// what came before a bad batch is good, and the bad one comes first in the next
// request.
func (g *generation) readBatch(f *fetched, one *kmsg.FetchResponseTopicPartition, head batchHead, room *int64) bool {
	began := f.next
	unreadable := func(cause error) bool {
		if began == f.from {
			f.err = &errUnreadable{End: head.endAfter(began, one.RecordBatches), cause: cause}
		}
		return false
	}
	d := &bounded{inner: g.decompressor, memory: g.batchMemory, head: head, size: head.size}
	if head.magic == 2 && head.size >= batchHeadBytes && one.RecordBatches[atAttributes+1]&codecBits == 0 {
		if err := affordable(one.RecordBatches[batchHeadBytes:], head.records, g.batchMemory); err != nil {
			return unreadable(err)
		}
	}
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: began, Topic: g.topic, Partition: f.partition}, one, d, nil)
	*room -= int64(d.size)
	switch n := len(fp.Records); {
	case fp.Err != nil:
		return unreadable(fp.Err)
	case head.magic == 2 && n > 0 && fp.Records[n-1].Offset >= head.end:
		return unreadable(fmt.Errorf("record %d of a batch that ends before offset %d", fp.Records[n-1].Offset, head.end))
	case head.magic == 2 && next < head.end && n == 0:
		return unreadable(errors.New("its records are not whole"))
	}
	if f.records == nil {
		f.records = fp.Records
	} else {
		f.records = append(f.records, fp.Records...)
	}
	f.next, f.epoch = next, max(f.epoch, head.epoch)
	return head.magic != 2 || next >= head.end
}

// BatchEnd returns the offset after the first batch of a broker's answer for one partition, for a reader that has to pass
// one that it cannot read at offset from; false where there is no whole batch.
func BatchEnd(batches []byte, from int64) (int64, bool) {
	head, whole := headOf(batches)
	if !whole {
		return 0, false
	}
	return head.endAfter(from, batches[:min(head.size, len(batches))]), true
}
