package feed

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A record has the timestamp that the log has, also where nanoseconds would wrap.
func TestTimestampsAreThoseOfTheLog(t *testing.T) {
	t.Parallel()
	const first = 21 + 6 // attributes, last offset delta
	for _, ms := range []int64{0, -1, -5, 1, 1_700_000_000_123, 9_223_372_036_854, 9_223_372_036_855, -9_223_372_036_855, 253_402_300_800_000, 1<<57 - 1, -1 << 57} {
		b := RawBatch(0, 0, 1, RawRecord(0, []byte("x"), 0))
		binary.BigEndian.PutUint64(b[first:], uint64(ms))
		binary.BigEndian.PutUint64(b[first+8:], uint64(ms))
		binary.BigEndian.PutUint32(b[atChecksum:], crc32.Checksum(b[atAttributes:], castagnoli))
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.RecordBatches = 1, b
		g := &generation{topic: "t", decompressor: kgo.DefaultDecompressor(), batchMemory: 64 << 20}
		room := int64(1 << 20)
		var out segmenter
		out.add(g.read(&p, 0, &room))
		segs := out.segments()
		if len(segs) != 1 || len(segs[0].Records) != 1 {
			t.Fatalf("timestamp %d: %d segments", ms, len(segs))
		}
		if got := segs[0].Records[0].Timestamp; got != ms {
			t.Errorf("the log has timestamp %d, the record %d", ms, got)
		}
	}
}
