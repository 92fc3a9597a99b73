package feed_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
)

// produceRaw has the broker store a batch that no client library would build.
func (f *faulty) produceRaw(partition int32, codec int16, records int, payload []byte) {
	f.t.Helper()
	raw := feed.RawBatch(0, codec, records, payload)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 5000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = f.topic, f.TopicInfo(f.topic).TopicID
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, raw
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(f.t.Context(), f.cl)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); err != nil {
		f.t.Fatal(err)
	}
}

func compress(t *testing.T, codec kgo.CompressionCodec, b []byte) []byte {
	t.Helper()
	c, err := kgo.DefaultCompressor(codec)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := c.Compress(new(bytes.Buffer), b)
	return bytes.Clone(out)
}

// xerial frames snappy blocks as the Java client does.
func xerial(b []byte) []byte {
	out := []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")
	for len(b) > 0 {
		n := min(len(b), 32<<10)
		block := s2.EncodeSnappy(nil, b[:n])
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
		b = b[n:]
	}
	return out
}

// A batch that would take too much memory is announced as unreadable, exactly,
// and what lies around it comes; live and from the log.
func TestABombIsAnnouncedAndPassed(t *testing.T) {
	t.Parallel()
	large := feed.RawRecord(0, make([]byte, 2<<20), 0)
	many := bytes.Repeat(feed.RawRecord(0, nil, 0), 1<<18)
	headers := feed.RawRecord(0, nil, 1<<18)
	for _, c := range []struct {
		name    string
		codec   int16
		records int
		payload func(*testing.T) []byte
	}{
		{"gzip", 1, 1, func(t *testing.T) []byte { return compress(t, kgo.GzipCompression(), large) }},
		{"snappy", 2, 1, func(t *testing.T) []byte { return compress(t, kgo.SnappyCompression(), large) }},
		{"snappy framed", 2, 1, func(*testing.T) []byte { return xerial(large) }},
		{"snappy lying about its size", 2, 1, func(*testing.T) []byte { return []byte("\xff\xff\xff\xff\x07\x00") }},
		{"lz4", 3, 1, func(t *testing.T) []byte { return compress(t, kgo.Lz4Compression(), large) }},
		{"zstd", 4, 1, func(t *testing.T) []byte { return compress(t, kgo.ZstdCompression(), large) }},
		{"millions of records", 4, 1 << 18, func(t *testing.T) []byte { return compress(t, kgo.ZstdCompression(), many) }},
		{"millions of headers", 4, 1, func(t *testing.T) []byte { return compress(t, kgo.ZstdCompression(), headers) }},
		{"more records than bytes", 0, 1 << 20, func(*testing.T) []byte { return feed.RawRecord(0, nil, 0) }},
		{"fewer records than it says", 0, 2, func(*testing.T) []byte { return feed.RawRecord(0, make([]byte, 100), 0) }},
		{"a record beyond the batch", 0, 2, func(*testing.T) []byte { return append(feed.RawRecord(0, nil, 0), feed.RawRecord(1<<30, nil, 0)...) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, 2)
			small := func(c *feed.Config) { c.BatchBytes = 1 << 20 }
			fd := f.feed(small)
			live := newReader(t, fd, feed.Start{})
			f.produce(0, 3)
			f.produceRaw(0, c.codec, c.records, c.payload(t))
			f.produce(0, 2)
			f.produce(1, 5)
			end := int64(3 + c.records + 2)
			live.until("what lies around it", func() bool { return live.next[0] == end && live.next[1] == 5 })
			late := newReader(t, f.feed(small), feed.Start{Earliest: true})
			late.until("caught up", func() bool { return late.caught })
			for name, r := range map[string]*check{"live": live, "late": late} {
				n := 10
				if c.name == "fewer records than it says" {
					n++ // the one that is there
				}
				if len(r.gaps) != 1 || r.gaps[0].To != end-2 || r.gaps[0].Reason != feed.GapUnreadable || r.count != n {
					t.Errorf("%s: gaps %+v and %d records, want one up to offset %d and %d records", name, r.gaps, r.count, end-2, n)
				}
			}
		})
	}
}
