package feed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime/metrics"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/wire"
)

// fuzzBatchBytes is the bound on a batch, as Config.BatchBytes.
const fuzzBatchBytes = 64 << 10

// Invariants, of whatever a broker answers, since what is in a batch are a
// producer's bytes: no panic; memory within the bound, whatever the batch says of
// itself; the answer covers a range that begins where it was asked for, with the
// records in it, in order, each once; where it cannot be read, what is skipped lies
// after that offset; asked again from its end it goes on, and never stands still
// without an error.
func FuzzBatches(f *testing.F) {
	small := RawRecord(0, []byte("value"), 1)
	add := func(batches ...[]byte) { f.Add(bytes.Join(batches, nil), int64(0), false) }
	for codec, c := range map[int16]kgo.CompressionCodec{1: kgo.GzipCompression(), 2: kgo.SnappyCompression(), 3: kgo.Lz4Compression(), 4: kgo.ZstdCompression()} {
		compressor, err := kgo.DefaultCompressor(c)
		if err != nil {
			f.Fatal(err)
		}
		packed, _ := compressor.Compress(new(bytes.Buffer), small)
		add(RawBatch(0, codec, 1, packed), RawBatch(1, codec, 1, packed))
		bomb, _ := compressor.Compress(new(bytes.Buffer), RawRecord(0, make([]byte, 4*fuzzBatchBytes), 0))
		add(RawBatch(0, codec, 1, bomb))
		many, _ := compressor.Compress(new(bytes.Buffer), bytes.Repeat(RawRecord(0, nil, 0), 8000))
		add(RawBatch(0, codec, 8000, many))
	}
	add(RawBatch(0, 0, 1, small), RawBatch(1, 0, 2, append(RawRecord(0, nil, 0), RawRecord(1, nil, 3)...)), RawBatch(3, 0, 1, small)[:70])
	add(RawBatch(0, 0, 1<<20, small))
	add(RawBatch(5, 0, 1, RawRecord(1<<30, nil, 0)))
	add(RawBatch(0, 7, 1, small))
	add([]byte("no batch at all, but long enough to have a header in it, as it were"))
	f.Add(RawBatch(1<<40, 0, 1, small), int64(1<<40), true)
	cl, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"), kgo.MaxDecompressBatchBytes(fuzzBatchBytes))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(cl.Close)
	decompressor := cl.OptValue(kgo.WithDecompressor).(kgo.Decompressor)

	f.Fuzz(func(t *testing.T, batches []byte, from int64, sealed bool) {
		if from < 0 || from > 1<<60 {
			return
		}
		if sealed {
			seal(batches) // a producer's checksum is right
		}
		g := &generation{topic: "t", decompressor: decompressor, batchMemory: memoryFactor * fuzzBatchBytes}
		for range 20 {
			p := kmsg.NewFetchResponseTopicPartition()
			p.HighWatermark, p.RecordBatches = 1<<62, bytes.Clone(batches)
			room := int64(fuzzBatchBytes)
			s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
			metrics.Read(s)
			before := s[0].Value.Uint64()
			got := g.read(&p, from, &room)
			metrics.Read(s)
			// A batch within the bound may be grown into, and comes after the room was
			// nearly taken; the rest is what readers and windows have of their own.
			if n := s[0].Value.Uint64() - before; n > uint64(2*len(batches)+16*memoryFactor*fuzzBatchBytes+24<<20) {
				t.Fatalf("%d bytes had %d allocated", len(batches), n)
			}
			if got.from != from || got.next < from {
				t.Fatalf("asked for %d, got %d to %d", from, got.from, got.next)
			}
			at := from
			for _, r := range got.records {
				if r.Offset < at || r.Offset >= got.next {
					t.Fatalf("offset %d where %d is next, in %d to %d", r.Offset, at, from, got.next)
				}
				at = r.Offset + 1
			}
			var b segmenter
			b.add(got)
			covered := from
			var peeker wire.Peeker
			for _, seg := range b.segments() {
				if seg.Moves[0].From != covered {
					t.Fatalf("a segment from %d where %d is next", seg.Moves[0].From, covered)
				}
				covered = seg.Moves[0].Next
				for i := range seg.Records {
					indexRecord(&peeker, &seg.Records[i], 0)
				}
			}
			if covered != got.next {
				t.Fatalf("segments to %d of an answer to %d", covered, got.next)
			}
			if bad, ok := errors.AsType[*errUnreadable](got.err); ok {
				if got.next != from || bad.End <= from || len(bad.Error()) > 4096 {
					t.Fatalf("from %d: %d records to %d and %.200q, to %d", from, len(got.records), got.next, bad.Error(), bad.End)
				}
				from = bad.End
				continue
			}
			if got.next == from {
				return // to be asked again, with errNoProgress where something came
			}
			from = got.next
		}
	})
}

// seal gives the first batch the checksum of what it holds.
func seal(b []byte) {
	if h, ok := headOf(b); ok && h.magic == 2 && h.size >= batchHeadBytes {
		sealed := crc32.Checksum(b[atAttributes:h.size], castagnoli)
		binary.BigEndian.PutUint32(b[atChecksum:], sealed)
	}
}
