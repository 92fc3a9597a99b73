package feed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchPosition is one partition of a fetch request.
type fetchPosition struct {
	partition   int32
	offset      int64
	leaderEpoch int32
}

// fetched is the broker's answer for one partition. Errors are per partition:
// one that fails takes nothing from the others of the same response.
type fetched struct {
	partition int32
	from      int64
	// next is the offset after everything that the response covered, records
	// or not.
	next    int64
	records []*kgo.Record
	// highWatermark and logStart are -1 where the broker did not say.
	highWatermark, logStart int64
	err                     error
}

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

// errNoProgress reports a response without a whole batch although the log goes
// on.
var errNoProgress = errors.New("the broker returned no whole batch")

type fetchRequest struct {
	broker    int32
	positions []fetchPosition
	minBytes  int32
	maxBytes  int32
	// partitionBytes bounds one partition; the broker still returns at least
	// one batch.
	partitionBytes int32
	maxWait        time.Duration
}

// fetch sends one Fetch request to one broker. It uses the protocol directly
// rather than kgo's consumer, because the consumer hides what the promise of
// this package hangs on: the offsets that a response covers when it holds no
// record for them, and errors that belong to one partition alone.
func (g *generation) fetch(ctx context.Context, cl *kgo.Client, rq fetchRequest) ([]fetched, error) {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = -1
	req.MaxWaitMillis = int32(rq.maxWait.Milliseconds())
	req.MinBytes = rq.minBytes
	req.MaxBytes = rq.maxBytes
	req.SessionID = 0
	req.SessionEpoch = -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = g.topic
	rt.TopicID = g.topicID
	asked := make(map[int32]int64, len(rq.positions))
	for _, pos := range rq.positions {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition = pos.partition
		rp.FetchOffset = pos.offset
		rp.CurrentLeaderEpoch = pos.leaderEpoch
		rp.PartitionMaxBytes = rq.partitionBytes
		rt.Partitions = append(rt.Partitions, rp)
		asked[pos.partition] = pos.offset
	}
	req.Topics = append(req.Topics, rt)

	kresp, err := cl.Broker(int(rq.broker)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("fetch from broker %d: %w", rq.broker, err)
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetch from broker %d: %w", rq.broker, err)
	}
	var out []fetched
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic != "" && t.Topic != g.topic {
			continue
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			from, ok := asked[p.Partition]
			if !ok {
				continue
			}
			delete(asked, p.Partition)
			out = append(out, g.read(p, from))
		}
	}
	return out, nil
}

// read turns the broker's answer for one partition into records.
func (g *generation) read(p *kmsg.FetchResponseTopicPartition, from int64) fetched {
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset:    from,
		Topic:     g.topic,
		Partition: p.Partition,
	}, p, g.decompressor, nil)
	f := fetched{
		partition: p.Partition, from: from, next: next, records: fp.Records,
		highWatermark: p.HighWatermark, logStart: p.LogStartOffset, err: fp.Err,
	}
	if p.ErrorCode != 0 {
		return f
	}
	if f.err != nil {
		if len(f.records) > 0 {
			// What came before the bad batch is good; the bad one comes first
			// in the next request.
			f.err = nil
			return f
		}
		f.next = from
		f.err = &errUnreadable{End: batchEnd(p.RecordBatches, from), cause: f.err}
		return f
	}
	if len(f.records) == 0 && f.next <= from && from < f.highWatermark && len(p.RecordBatches) > 0 {
		f.err = errNoProgress
	}
	return f
}

// batchEnd returns the offset after the first batch in a response, read from
// the batch's own header (Kafka's record batch, magic 2: base offset in bytes
// 0–7, last offset delta in bytes 23–26). The header is covered by the checksum
// that failed, so its word is taken only where it is plausible.
func batchEnd(b []byte, from int64) int64 {
	const plausible = 1 << 20 // records in one batch
	if len(b) >= 27 {
		base := int64(binary.BigEndian.Uint64(b))
		delta := int64(int32(binary.BigEndian.Uint32(b[23:])))
		if end := base + delta + 1; delta >= 0 && delta < plausible && base <= from && end > from {
			return end
		}
	}
	return from + 1
}
