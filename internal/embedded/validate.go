package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kfake takes a batch by its header and never looks at the records, unless a client asks for offsets by time; then it
// trusts them. So what Kafka's leader checks of a batch before it appends it is checked here, before kfake has it: a batch
// that is taken can be read, says of itself what is so, and is none that recovery calls damaged.

const (
	// maxDecompressed bounds what a batch decompresses to, as the readers of this program do where nobody sets theirs. kfake
	// decompresses a batch as a whole to find an offset by time.
	maxDecompressed = 64 << 20
	// maxRecordMemory bounds what a batch takes with its records and headers in a reader, which is the most per byte where
	// they are empty.
	maxRecordMemory = 4 * maxDecompressed
	recordMemory    = 400
	headerMemory    = 48
	// maxRequestDecompressed bounds the batches of one request together: other clients wait while they are looked at.
	// Clients do not send as much, as they bound their requests before they compress.
	maxRequestDecompressed = 2 * maxDecompressed
	// keptDecompressed is the largest buffer that is used again.
	keptDecompressed = 4 << 20
)

const (
	batchMagic = 16
	batchCRC   = 17
	batchMaxTS = 35

	codecBits         = 0x07
	transactionalBit  = 0x10
	controlBit        = 0x20
	attributesOfAPeer = codecBits | transactionalBit | controlBit // the rest is the broker's to say, or nobody's yet
)

// validator looks at the batches of one request.
type validator struct {
	decompressor kgo.Decompressor
	left         int // of maxRequestDecompressed
}

func newValidator() *validator {
	return &validator{decompressor: boundedDecompressor(), left: maxRequestDecompressed}
}

// boundedDecompressor is the one that kfake uses, with a bound. It comes with a client only, which is not used.
var boundedDecompressor = sync.OnceValue(func() kgo.Decompressor {
	cl, err := kgo.NewClient(kgo.MaxDecompressBatchBytes(maxDecompressed), kgo.WithPools(buffers{}))
	if err != nil {
		panic(err) // the options are constant
	}
	defer cl.Close()
	return cl.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
})

// buffers is what the decompressor writes to: the bytes are only looked at.
type buffers struct{}

var bufferPool sync.Pool // of *[]byte

// GetDecompressBytes returns a buffer that is likely to be large enough.
func (buffers) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if b, ok := bufferPool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 0, min(4*len(compressed)+64<<10, keptDecompressed))
}

// PutDecompressBytes takes a buffer back.
func (buffers) PutDecompressBytes(b []byte) {
	if cap(b) <= keptDecompressed {
		bufferPool.Put(&b)
	}
}

// refusal is an error whose message is for whoever wrote the client.
func refusal(as *kerr.Error, format string, args ...any) *kerr.Error {
	return &kerr.Error{Code: as.Code, Retriable: as.Retriable, Message: fmt.Sprintf(format, args...), Description: as.Message}
}

// batch returns why a batch of a client is refused, nil if it is taken. Like Kafka it puts right what is the broker's to
// say: the greatest timestamp, the type of the timestamps and the bits without a meaning.
func (v *validator) batch(raw []byte) *kerr.Error {
	if len(raw) <= batchMagic {
		return refusal(kerr.CorruptMessage, "a record batch of %d bytes", len(raw))
	}
	if raw[batchMagic] != 2 {
		return refusal(kerr.InvalidRecord, "a record batch of message format %d; only 2 is taken", int8(raw[batchMagic]))
	}
	be := binary.BigEndian
	length := int64(int32(be.Uint32(raw[8:]))) + batchLengthEnd
	switch {
	case len(raw) < batchHeaderBytes || length < batchHeaderBytes || length > int64(len(raw)):
		return refusal(kerr.CorruptMessage, "a record batch of %d bytes that says it has %d", len(raw), length)
	case length < int64(len(raw)):
		return refusal(kerr.InvalidRecord, "%d bytes after the record batch; one batch a partition is taken", int64(len(raw))-length)
	case crc32.Checksum(raw[batchCRCStart:], crc32c) != be.Uint32(raw[batchCRC:]):
		return refusal(kerr.CorruptMessage, "the checksum of the record batch is wrong")
	}
	// From here on the bytes are the ones that the client meant.
	b, _ := parseBatch(raw)
	attributes := uint16(b.attributes)
	codec := kgo.CompressionCodecType(attributes & codecBits)
	switch {
	case b.base != 0:
		return refusal(kerr.InvalidRecord, "the record batch has base offset %d; a client's has 0", b.base)
	case b.records < 1:
		return refusal(kerr.InvalidRecord, "the record batch says it has %d records", b.records)
	case b.lastDelta != b.records-1:
		return refusal(kerr.InvalidRecord, "the record batch has %d records and last offset delta %d", b.records, b.lastDelta)
	case attributes&controlBit != 0:
		return refusal(kerr.InvalidRecord, "a control batch, which clients may not write")
	case codec > kgo.CodecZstd:
		return refusal(kerr.UnsupportedCompressionType, "compression %d is unknown; 0 to %d are taken", codec, kgo.CodecZstd)
	case b.producerID >= 0 && (b.sequence < 0 || b.epoch < 0):
		return refusal(kerr.InvalidRecord, "producer %d with epoch %d and sequence %d; neither may be negative", b.producerID, b.epoch, b.sequence)
	}
	records, refused := v.decompress(raw[batchHeaderBytes:], codec)
	if refused != nil {
		return refused
	}
	latest, refused := checkRecords(records, b.records, int64(be.Uint64(raw[27:])))
	if codec != kgo.CodecNone {
		buffers{}.PutDecompressBytes(records)
	}
	if refused != nil {
		return refused
	}
	if kept := attributes & attributesOfAPeer; kept != attributes || latest != b.maxTimestamp {
		be.PutUint16(raw[batchCRCStart:], kept)
		be.PutUint64(raw[batchMaxTS:], uint64(latest))
		be.PutUint32(raw[batchCRC:], crc32.Checksum(raw[batchCRCStart:], crc32c))
	}
	return nil
}

func (v *validator) decompress(raw []byte, codec kgo.CompressionCodecType) ([]byte, *kerr.Error) {
	if codec == kgo.CodecNone {
		return raw, nil
	}
	if v.left <= 0 {
		return nil, refusal(kerr.MessageTooLarge, "the record batches of the request decompress to more than %d bytes", maxRequestDecompressed)
	}
	out, err := v.decompressor.Decompress(raw, codec)
	switch {
	case errors.Is(err, kgo.ErrMaxDecompress):
		v.left -= maxDecompressed // so much had to be done to find that out
		return nil, refusal(kerr.MessageTooLarge, "the record batch decompresses to more than %d bytes", maxDecompressed)
	case err != nil:
		v.left -= maxDecompressed
		return nil, refusal(kerr.InvalidRecord, "the record batch cannot be decompressed: %v", err)
	}
	v.left -= len(out)
	return out, nil
}

// checkRecords walks over the records of a batch, of which there have to be so many, one behind the other and nothing
// else, and returns their greatest timestamp.
func checkRecords(raw []byte, records int32, firstTimestamp int64) (latest int64, _ *kerr.Error) {
	latest = -1 // none
	memory := int64(len(raw)) + int64(records)*recordMemory
	in := fields{rest: raw}
	for i := range records {
		r := fields{rest: in.sized(false)}
		r.skip(1) // attributes
		timestamp := firstTimestamp + r.long()
		offset := r.int()
		r.sized(true) // key
		r.sized(true) // value
		headers := r.int()
		if in.bad || r.bad || headers < 0 || headers > int64(len(r.rest))/2 {
			return latest, refusal(kerr.InvalidRecord, "record %d of %d in the batch is not whole", i, records)
		}
		if offset != int64(i) {
			return latest, refusal(kerr.InvalidRecord, "record %d of the batch has offset delta %d", i, offset)
		}
		if memory += headers * headerMemory; memory > maxRecordMemory {
			return latest, refusal(kerr.MessageTooLarge, "the %d records of the batch and their headers would take more than %d bytes of memory", records, maxRecordMemory)
		}
		for range headers {
			r.sized(false)
			r.sized(true)
		}
		if r.bad || len(r.rest) > 0 {
			return latest, refusal(kerr.InvalidRecord, "record %d of %d in the batch is not as long as it says", i, records)
		}
		latest = max(latest, timestamp)
	}
	if len(in.rest) > 0 {
		return latest, refusal(kerr.InvalidRecord, "%d bytes after the %d records of the batch", len(in.rest), records)
	}
	return latest, nil
}

// fields reads the parts of a record. At what is not one it turns bad, and stays so.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) fail() { f.rest, f.bad = nil, true }

func (f *fields) long() int64 {
	v, n := binary.Varint(f.rest)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

// int reads a number of 32 bits. Readers take five bytes for one and no more.
func (f *fields) int() int64 {
	before := len(f.rest)
	v := f.long()
	if before-len(f.rest) > binary.MaxVarintLen32 && !f.bad || v != int64(int32(v)) {
		f.fail()
		return 0
	}
	return v
}

func (f *fields) skip(n int64) []byte {
	if n < 0 || n > int64(len(f.rest)) {
		f.fail()
		return nil
	}
	var skipped []byte
	skipped, f.rest = f.rest[:n], f.rest[n:]
	return skipped
}

// sized skips a length and as many bytes; -1 stands for none where that is allowed.
func (f *fields) sized(null bool) []byte {
	n := f.int()
	if null && n == -1 {
		return nil
	}
	return f.skip(n)
}
