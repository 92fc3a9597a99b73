package model

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/streampb"
)

const noGzip = "this was never compressed"

// spoiled is a range of offsets whose records no reader can have: a batch that
// the broker took and that cannot be decompressed.
type spoiled struct{ from, to int64 }

// spoil writes a batch of n records that nobody can read. The broker looks at
// its header and its checksum only.
func (d *driver) spoil(p int32, n int) {
	g := d.w.current()
	g.send(p, n)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 5000
	t := kmsg.NewProduceRequestTopic()
	info := d.w.cluster.TopicInfo(topic)
	t.Topic, t.TopicID = topic, info.TopicID
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = p, spoiledBatch(n)
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// The answer may be lost while the batch is in the log: the oracle knows it by
	// what it holds. It is not sent again, or it might be there twice.
	kresp, err := d.producer.Broker(int(d.w.cluster.LeaderFor(topic, p))).Request(ctx, req)
	if err != nil {
		return
	}
	resp := kresp.(*kmsg.ProduceResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		return
	}
	g.ack(p, resp.Topics[0].Partitions[0].BaseOffset+int64(n)-1)
}

// spoiledBatch says that it is compressed with gzip, and is not. (Not zstd: kgo's
// decoders for it hold channels of the bubble and are closed outside of it.)
func spoiledBatch(n int) []byte {
	const gzip = 1
	now := time.Now().UnixMilli()
	return checked(kmsg.RecordBatch{
		Attributes: gzip, LastOffsetDelta: int32(n - 1), FirstTimestamp: now, MaxTimestamp: now, NumRecords: int32(n), Records: []byte(noGzip),
	})
}

// checked returns a batch of no producer in particular, as it is on the wire, with
// its length and checksum.
func checked(b kmsg.RecordBatch) []byte {
	b.PartitionLeaderEpoch, b.Magic, b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, 2, -1, -1, -1
	const lengthAt, checksumAt, checkedAt = 8, 17, 21
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[lengthAt:], uint32(len(raw)-lengthAt-4))
	binary.BigEndian.PutUint32(raw[checksumAt:], crc32.Checksum(raw[checkedAt:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// passSpoiled looks whether the first batch of an answer that could not be read
// is a spoiled one, and has the oracle go on after it. The caller holds g.mu.
func (l *partitionLog) passSpoiled(answer *kmsg.FetchResponseTopicPartition) bool {
	for in := answer.RecordBatches; len(in) > 0; {
		var b kmsg.RecordBatch
		const lengthEnd = 12 // of what the length counts not
		if len(in) < lengthEnd {
			return false
		}
		one := in[:min(len(in), lengthEnd+int(binary.BigEndian.Uint32(in[lengthEnd-4:])))]
		if err := b.ReadFrom(one); err != nil {
			return false
		}
		end := b.FirstOffset + int64(b.LastOffsetDelta) + 1
		if end > l.next {
			if string(b.Records) != noGzip {
				return false
			}
			l.spoiled = append(l.spoiled, spoiled{b.FirstOffset, end})
			l.next = end
			return true
		}
		in = in[len(one):]
	}
	return false
}

// TestTheOraclePassesAMarkerBeforeASpoiledBatch: the two may come in one answer,
// of which no record can be had.
func TestTheOraclePassesAMarkerBeforeASpoiledBatch(t *testing.T) {
	t.Parallel()
	const control = 1 << 5
	abort := (&kmsg.Record{Length: 10, Key: []byte{0, 0, 0, 0}}).AppendTo(nil)
	answer := &kmsg.FetchResponseTopicPartition{RecordBatches: slices.Concat(
		checked(kmsg.RecordBatch{Attributes: control, NumRecords: 1, Records: abort}),
		at(1, spoiledBatch(3)),
		at(4, checked(kmsg.RecordBatch{Attributes: control, NumRecords: 1, Records: abort})),
	)}
	var l partitionLog
	for l.next < 5 {
		more, err := l.take(topic, l.next, answer)
		if err != nil || !more {
			t.Fatalf("offset %d: more: %v, error: %v", l.next, more, err)
		}
	}
	if want := []spoiled{{1, 4}}; !slices.Equal(l.spoiled, want) {
		t.Errorf("spoiled: %v, want %v", l.spoiled, want)
	}
}

// TestTheOracleKnowsALogThatIsLongerThanWhatWasSent, since a record is there twice.
func TestTheOracleKnowsALogThatIsLongerThanWhatWasSent(t *testing.T) {
	t.Parallel()
	batch := func(offset, number uint64) []byte {
		r := kmsg.Record{Headers: []kmsg.Header{{Key: numberHeader, Value: binary.BigEndian.AppendUint64(nil, number)}}}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // of what follows it
		return at(offset, checked(kmsg.RecordBatch{NumRecords: 1, Records: r.AppendTo(nil)}))
	}
	g := &generation{logs: map[int32]*partitionLog{0: {}}}
	g.send(0, 2)
	answer := &kmsg.FetchResponseTopicPartition{RecordBatches: slices.Concat(batch(0, 7), batch(1, 8), batch(2, 7))}
	if _, err := g.logs[0].take(topic, 0, answer); err != nil {
		t.Fatal(err)
	}
	held := life{seen: map[int32][]seen{0: {{0, 7}, {1, 8}, {2, 7}}}}
	if !g.reaches(map[int32]int64{0: 3}) || g.reaches(map[int32]int64{0: 4}) || g.surplus(0) != 1 {
		t.Errorf("of a log that ends at 3: surplus %d, to 3: %v, to 4: %v", g.surplus(0), g.reaches(map[int32]int64{0: 3}), g.reaches(map[int32]int64{0: 4}))
	}
	if msg := g.verify(0, held, 3, filter{}); msg != "" {
		t.Errorf("a client that has all three: %s", msg)
	}
	if msg := g.verify(0, held, 4, filter{}); msg == "" {
		t.Error("a client beyond what was written passed")
	}
}

// at returns a batch with its place in the log, which no checksum covers.
func at(offset uint64, batch []byte) []byte {
	binary.BigEndian.PutUint64(batch, offset)
	return batch
}

// verifySpoiled says what is wrong with how a client was told of offsets that
// nobody can read, or "".
func (l *partitionLog) verifySpoiled(start, at int64, gaps []*streampb.Gap) string {
	for _, g := range gaps {
		within := func(s spoiled) bool { return s.from <= g.GetFrom() && g.GetTo() <= s.to }
		if g.GetReason() == streampb.Gap_REASON_UNREADABLE && !slices.ContainsFunc(l.spoiled, within) {
			return fmt.Sprintf("%v, but what cannot be read is %v", g, l.spoiled)
		}
	}
	for _, s := range l.spoiled {
		told := max(s.from, start)
		for _, g := range gaps {
			if g.GetFrom() <= told {
				told = max(told, g.GetTo())
			}
		}
		if told < min(s.to, at) {
			return fmt.Sprintf("offset %d cannot be read, and no gap names it (start %d, cursor %d)", told, start, at)
		}
	}
	return ""
}
