package embedded_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/dashflow/dashstream/internal/embedded"
)

// today is a timestamp that retention leaves alone.
var today = time.Now().UnixMilli()

// recordOf is a record of a batch, with the length it has.
func recordOf(offset int, timestampDelta int64, value string) []byte {
	body := binary.AppendVarint([]byte{0}, timestampDelta)
	body = binary.AppendVarint(body, int64(offset))
	body = append(body, 1) // no key
	body = binary.AppendVarint(body, int64(len(value)))
	body = append(append(body, value...), 0) // no headers
	return framed(int64(len(body)), body)
}

// framed is a record that says it is so long.
func framed(length int64, body []byte) []byte {
	return append(binary.AppendVarint(nil, length), body...)
}

// batchOf is a batch of so many records after a change, with the length and the checksum that it has then.
func batchOf(records []byte, count int32, change func(*kmsg.RecordBatch)) []byte {
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: count - 1, NumRecords: count,
		FirstTimestamp: today, MaxTimestamp: today,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, Records: records,
	}
	if change != nil {
		change(&b)
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	return summed(raw)
}

func summed(raw []byte) []byte {
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// goodBatch has two records.
func goodBatch(change func(*kmsg.RecordBatch)) []byte {
	return batchOf(append(recordOf(0, 0, "first"), recordOf(1, 0, "second")...), 2, change)
}

func changed(raw []byte, change func([]byte)) []byte {
	change(raw)
	return raw
}

// compressed is zstd of a beginning, so many zeros and an end.
func compressed(begin []byte, zeros int, end []byte) []byte {
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z)
	if err != nil {
		panic(err)
	}
	w.Write(begin)
	w.Write(make([]byte, zeros))
	w.Write(end)
	w.Close()
	return z.Bytes()
}

var zstdCodec = func(b *kmsg.RecordBatch) { b.Attributes = int16(kgo.CodecZstd) }

// oneValue is a batch whose only record has so many zeros.
func oneValue(size int) []byte {
	head := []byte{0, 0, 0, 1}
	head = binary.AppendVarint(head, int64(size))
	return batchOf(compressed(framed(int64(len(head)+size+1), head), size, []byte{0}), 1, zstdCodec)
}

// emptyHeaders is a batch whose only record has so many headers without a name and a value.
func emptyHeaders(count int) []byte {
	head := []byte{0, 0, 0, 1, 1}
	head = binary.AppendVarint(head, int64(count))
	return batchOf(compressed(framed(int64(len(head)+2*count), head), 2*count, nil), 1, zstdCodec)
}

// badBatches are what Kafka refuses, with the error, and what takes more memory than it should.
var badBatches = []struct {
	name string
	raw  func() []byte
	want *kerr.Error
}{
	{"nothing", func() []byte { return nil }, kerr.CorruptMessage},
	{"a header cut off", func() []byte { return goodBatch(nil)[:60] }, kerr.CorruptMessage},
	{"an old format", func() []byte { return goodBatch(func(b *kmsg.RecordBatch) { b.Magic = 1 }) }, kerr.InvalidRecord},
	{"a wrong checksum", func() []byte { return changed(goodBatch(nil), func(raw []byte) { raw[len(raw)-2] ^= 1 }) }, kerr.CorruptMessage},
	{"a length below the header's", func() []byte {
		return changed(goodBatch(nil), func(raw []byte) { binary.BigEndian.PutUint32(raw[8:], 3) })
	}, kerr.CorruptMessage},
	{"a length beyond the bytes", func() []byte { return goodBatch(nil)[:70] }, kerr.CorruptMessage},
	{"two batches", func() []byte { return append(goodBatch(nil), goodBatch(nil)...) }, kerr.InvalidRecord},
	{"a base offset", func() []byte { return goodBatch(func(b *kmsg.RecordBatch) { b.FirstOffset = 7 }) }, kerr.InvalidRecord},
	{"no records", func() []byte { return batchOf(nil, 0, nil) }, kerr.InvalidRecord},
	{"fewer records than none", func() []byte { return batchOf(nil, -3, nil) }, kerr.InvalidRecord},
	{"a last offset ahead", func() []byte { return goodBatch(func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 2 }) }, kerr.InvalidRecord},
	{"a control batch", func() []byte { return goodBatch(func(b *kmsg.RecordBatch) { b.Attributes = 0x20 }) }, kerr.InvalidRecord},
	{"an unknown compression", func() []byte { return goodBatch(func(b *kmsg.RecordBatch) { b.Attributes = 5 }) }, kerr.UnsupportedCompressionType},
	{"no compression where it says so", func() []byte { return goodBatch(zstdCodec) }, kerr.InvalidRecord},
	{"a producer without a sequence", func() []byte {
		return goodBatch(func(b *kmsg.RecordBatch) { b.ProducerID, b.ProducerEpoch = 7, 0 })
	}, kerr.InvalidRecord},
	{"a producer without an epoch", func() []byte {
		return goodBatch(func(b *kmsg.RecordBatch) { b.ProducerID, b.FirstSequence = 7, 0 })
	}, kerr.InvalidRecord},
	{"more records than there are", func() []byte { return batchOf(recordOf(0, 0, "x"), 2, nil) }, kerr.InvalidRecord},
	{"fewer records than there are", func() []byte {
		return batchOf(append(recordOf(0, 0, "x"), recordOf(1, 0, "y")...), 1, nil)
	}, kerr.InvalidRecord},
	{"an offset twice", func() []byte {
		return batchOf(append(recordOf(0, 0, "x"), recordOf(0, 0, "y")...), 2, nil)
	}, kerr.InvalidRecord},
	{"a record of negative length", func() []byte {
		return batchOf(framed(-3, []byte{0, 0, 0, 2, 'k', 2, 'v', 0}), 1, func(b *kmsg.RecordBatch) { b.MaxTimestamp += 4000 })
	}, kerr.InvalidRecord},
	{"a record longer than the batch", func() []byte {
		return batchOf(framed(1<<30, []byte{0, 0, 0, 2, 'k', 2, 'v', 0}), 1, func(b *kmsg.RecordBatch) { b.MaxTimestamp += 4000 })
	}, kerr.InvalidRecord},
	{"a length of 64 bits", func() []byte { return batchOf(framed(1<<33, []byte{0, 0, 0, 2, 'k', 2, 'v', 0}), 1, nil) }, kerr.InvalidRecord},
	{"a record with bytes left over", func() []byte { return batchOf(framed(7, []byte{0, 0, 0, 1, 1, 0, 0}), 1, nil) }, kerr.InvalidRecord},
	{"a value longer than its record", func() []byte { return batchOf(framed(6, []byte{0, 0, 0, 1, 2, 0}), 1, nil) }, kerr.InvalidRecord},
	{"a key shorter than none", func() []byte { return batchOf(framed(6, []byte{0, 0, 0, 3, 1, 0}), 1, nil) }, kerr.InvalidRecord},
	{"headers fewer than none", func() []byte { return batchOf(framed(6, []byte{0, 0, 0, 1, 1, 1}), 1, nil) }, kerr.InvalidRecord},
	{"a header without a name", func() []byte { return batchOf(framed(8, []byte{0, 0, 0, 1, 1, 2, 1, 1}), 1, nil) }, kerr.InvalidRecord},
	{"too much when decompressed", func() []byte { return oneValue(64 << 20) }, kerr.MessageTooLarge},
	{"too many headers", func() []byte { return emptyHeaders(10 << 20) }, kerr.MessageTooLarge},
}

// TestBatchesThatKafkaRefuses: a batch without records, or with fewer, gave offsets twice and was cut off as damage at the
// next start, with what came after it; one whose records are not what they say ended the process when a client asked for
// an offset by time, and again each time it did.
func TestBatchesThatKafkaRefuses(t *testing.T) {
	t.Parallel()
	opts := embedded.Options{DataDir: t.TempDir()}
	b := start(t, opts)
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	p := newRawProducerAs(t, cl, "topic", -1, -1)
	at := p.send(t, "before", -1)
	for _, tc := range badBatches {
		got := p.sendBatches(t, tc.raw())[0]
		if got.ErrorCode != tc.want.Code {
			t.Errorf("%s: answered %v, want %v", tc.name, kerr.ErrorForCode(got.ErrorCode), tc.want)
		}
		if got.ErrorCode != 0 && (got.ErrorMessage == nil || *got.ErrorMessage == "") {
			t.Errorf("%s: no message", tc.name)
		}
		next := p.send(t, "after "+tc.name, -1)
		if next != at+1 {
			t.Errorf("%s: the next record got offset %d, want %d", tc.name, next, at+1)
		}
		at = next
	}
	if _, err := kadm.NewClient(cl).ListOffsetsAfterMilli(within(t), today+2000, "topic"); err != nil {
		t.Error(err)
	}
	before := clusterID(t, opts.DataDir)
	stop(t, b)
	b = start(t, opts)
	if n := len(readAll(t, b.Addr(), "topic")); n != int(at)+1 {
		t.Errorf("read %d records after a restart, want %d", n, at+1)
	}
	if clusterID(t, opts.DataDir) != before {
		t.Error("the start found damage")
	}
}

// TestBatchesAreSetRight: kfake kept the bit that says that the broker set the timestamps, set them, and left the checksum,
// so that the batch was damaged. A greatest timestamp that no record has led readers by time past the records.
func TestBatchesAreSetRight(t *testing.T) {
	t.Parallel()
	opts := embedded.Options{DataDir: t.TempDir()}
	b := start(t, opts)
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	p := newRawProducerAs(t, cl, "topic", -1, -1)
	odd := []func(*kmsg.RecordBatch){
		nil,
		func(b *kmsg.RecordBatch) { b.Attributes = 0x08 },
		func(b *kmsg.RecordBatch) { b.Attributes = 0x7fc8 },
		func(b *kmsg.RecordBatch) { b.Attributes = -0x8000 },
		func(b *kmsg.RecordBatch) { b.MaxTimestamp = 1 << 62 },
		func(b *kmsg.RecordBatch) { b.MaxTimestamp = -1 },
	}
	for i, change := range odd {
		records := append(recordOf(0, int64(10*i), "x"), recordOf(1, int64(10*i+5), "y")...)
		if got := p.sendBatches(t, batchOf(records, 2, change))[0]; got.ErrorCode != 0 || got.BaseOffset != int64(2*i) {
			t.Fatalf("batch %d: offset %d, %v", i, got.BaseOffset, kerr.ErrorForCode(got.ErrorCode))
		}
	}
	before := clusterID(t, opts.DataDir)
	b = start(t, embedded.Options{DataDir: crashed(t, opts.DataDir)})
	if clusterID(t, opts.DataDir) != before {
		t.Error("the start found damage")
	}
	got := readAll(t, b.Addr(), "topic")
	if len(got) != 2*len(odd) {
		t.Fatalf("read %d records, want %d", len(got), 2*len(odd))
	}
	for i, r := range got {
		if want := today + int64(5*i); r.Timestamp.UnixMilli() != want || r.Attrs.TimestampType() != 0 {
			t.Errorf("record %d has timestamp %d of type %d, want %d of type 0", i, r.Timestamp.UnixMilli(), r.Attrs.TimestampType(), want)
		}
		listed, err := kadm.NewClient(client(t, b.Addr())).ListOffsetsAfterMilli(within(t), today+int64(5*i), "topic")
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := listed.Lookup("topic", 0); o.Offset != int64(i) {
			t.Errorf("the first record from timestamp %d on is said to be %d, want %d", 5*i, o.Offset, i)
		}
	}
}

// TestBadBatchBesideGoodOnes: what is refused in one partition is written in the others, unless most of the request is bad.
func TestBadBatchBesideGoodOnes(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Options{DataDir: t.TempDir()})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 40, nil)
	p := newRawProducerAs(t, cl, "topic", -1, -1)
	bad := func() []byte { return batchOf(nil, 0, nil) }
	codes := func(batches ...[]byte) (codes []int16, bases []int64) {
		for _, got := range p.sendBatches(t, batches...) {
			codes, bases = append(codes, got.ErrorCode), append(bases, got.BaseOffset)
		}
		return codes, bases
	}
	got, bases := codes(goodBatch(nil), bad(), goodBatch(nil), goodBatch(nil)[:70])
	if want := []int16{0, kerr.InvalidRecord.Code, 0, kerr.CorruptMessage.Code}; !slices.Equal(got, want) {
		t.Errorf("answers %v, want %v", got, want)
	}
	if bases[0] != 0 || bases[2] != 0 {
		t.Errorf("base offsets %v", bases)
	}
	// Older clients say the name of the topic and not its id.
	named := newRawProducerAs(t, client(t, b.Addr(), kgo.MaxVersions(kversion.V2_8_0())), "topic", -1, -1)
	older := named.sendBatches(t, bad(), goodBatch(nil))
	if older[0].ErrorCode != kerr.InvalidRecord.Code || older[1].ErrorCode != 0 || older[1].BaseOffset != 0 {
		t.Errorf("an older client: %v", older)
	}
	// A refusal is for its request alone, and also when kfake did not come to it.
	p.topicID[0] ^= 1
	if got, _ := codes(bad()); got[0] != kerr.UnknownTopicID.Code {
		t.Errorf("unknown topic: %v", got)
	}
	p.topicID[0] ^= 1
	if got, bases = codes(goodBatch(nil)); got[0] != 0 || bases[0] != 2 {
		t.Errorf("after a refusal: code %d, offset %d", got[0], bases[0])
	}
	many := [][]byte{goodBatch(nil)}
	for range 30 {
		many = append(many, bad())
	}
	got, _ = codes(many...)
	if slices.ContainsFunc(got, func(code int16) bool { return code != kerr.InvalidRecord.Code }) {
		t.Errorf("a request of 30 bad batches: %v", got)
	}
	if got, bases = codes(goodBatch(nil)); got[0] != 0 || bases[0] != 4 {
		t.Errorf("after the refusal of a request: code %d, offset %d", got[0], bases[0])
	}
	// A request may not hold the broker up for long: here two are decompressed, in vain, and no third.
	bomb := oneValue(64 << 20)
	small := goodBatch(func(b *kmsg.RecordBatch) { zstdCodec(b); b.Records = compressed(b.Records, 0, nil) })
	got, _ = codes(slices.Clone(bomb), slices.Clone(bomb), small, goodBatch(nil))
	if large := kerr.MessageTooLarge.Code; !slices.Equal(got, []int16{large, large, large, 0}) {
		t.Errorf("two batches that decompress to too much, one that does not and one without compression: %v", got)
	}
	if got, _ = codes(small, small, small); slices.Max(got) != 0 {
		t.Errorf("batches with compression: %v", got)
	}
}

// TestBatchesOfEachCompression: each of them is taken, also with headers and records without a value.
func TestBatchesOfEachCompression(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Options{DataDir: t.TempDir()})
	createTopic(t, client(t, b.Addr()), "topic", 1, nil)
	for i, codec := range []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	} {
		cl := client(t, b.Addr(), kgo.ProducerBatchCompression(codec))
		records := make([]*kgo.Record, 100)
		for j := range records {
			records[j] = &kgo.Record{Topic: "topic", Key: []byte("key"), Headers: []kgo.RecordHeader{{Key: "name", Value: []byte("value")}, {Key: ""}}}
			if j%3 > 0 {
				records[j].Value = bytes.Repeat(numbered(j), 20)
			}
		}
		if err := cl.ProduceSync(within(t), records...).FirstErr(); err != nil {
			t.Errorf("codec %d: %v", i, err)
		}
	}
	if n := len(readAll(t, b.Addr(), "topic")); n != 500 {
		t.Errorf("read %d records, want 500", n)
	}
}
