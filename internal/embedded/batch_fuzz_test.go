package embedded_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/embedded"
)

// FuzzBatch makes a batch, with the right length and checksum, of any header and any records. Invariants: one that is
// taken is whole for recovery, a client reads as many records from it as it says, one behind the other and none later than
// the greatest timestamp, and kfake's walk over the records, which ends the process where they are not as they should be,
// comes to their end.
func FuzzBatch(f *testing.F) {
	for _, raw := range [][]byte{goodBatch(nil), goodBatch(zstdCodec), oneValue(1000), emptyHeaders(100)} {
		f.Add(raw[21:])
	}
	for _, bad := range badBatches {
		if raw := bad.raw(); len(raw) > 61 && len(raw) < 1<<20 {
			f.Add(raw[21:])
		}
	}
	f.Fuzz(func(t *testing.T, from21 []byte) {
		raw := append(make([]byte, 21), from21...)
		raw[16] = 2
		binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
		raw = summed(raw)
		if embedded.AdmitBatch(raw) != nil {
			return
		}
		var b kmsg.RecordBatch
		if err := b.ReadFrom(raw); err != nil {
			t.Fatal(err)
		}
		if valid, next := embedded.Recovered(raw); valid != int64(len(raw)) || next != int64(b.NumRecords) {
			t.Errorf("recovery keeps %d of %d bytes and goes on at %d, want %d", valid, len(raw), next, b.NumRecords)
		}
		walked, err := kfake.BatchRecords(b)
		if err != nil || len(walked) != int(b.NumRecords) {
			t.Errorf("kfake finds %d of %d records: %v", len(walked), b.NumRecords, err)
		}
		resp := kmsg.NewFetchResponseTopicPartition()
		resp.RecordBatches = raw
		resp.HighWatermark = int64(b.NumRecords)
		got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "topic"}, &resp, kgo.DefaultDecompressor(), nil)
		if got.Err != nil || len(got.Records) != int(b.NumRecords) || next != int64(b.NumRecords) {
			t.Fatalf("a client reads %d of %d records and goes on at %d: %v", len(got.Records), b.NumRecords, next, got.Err)
		}
		stamps := []int64{-1}
		for i, r := range walked {
			if got.Records[i].Offset != int64(i) {
				t.Errorf("record %d has offset %d", i, got.Records[i].Offset)
			}
			stamps = append(stamps, b.FirstTimestamp+r.TimestampDelta64)
		}
		if latest := slices.Max(stamps); latest != b.MaxTimestamp {
			t.Errorf("the greatest timestamp is %d, and the batch says %d", latest, b.MaxTimestamp)
		}
		if embedded.AdmitBatch(raw) != nil {
			t.Error("what was taken is refused the second time")
		}
	})
}
