package model

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// logged is a record as the oracle read it.
type logged struct {
	offset, timestampMs int64
	number              uint64
}

// partitionLog is one partition in one life of the topic.
type partitionLog struct {
	// records are all that were ever there, in order, retention or not.
	records []logged
	// next is where the oracle reads next, acked the end as far as producers
	// were told.
	next, acked int64
	// sent is how much may be in the log by now: records handed to producers, and
	// markers. It may become longer all the same, see surplus.
	sent int64
	// asked and removed are the log start: before retention runs, and after.
	asked, removed int64
	spoiled        []spoiled
}

var decompressor = kgo.DefaultDecompressor()

// generation is one life of the topic.
type generation struct {
	number int
	mu     sync.Mutex
	logs   map[int32]*partitionLog
	// streamID is what the gateways call it, once one said so.
	streamID string
	// id is the topic's, as Kafka has it.
	id [16]byte

	reader *kgo.Client
	topic  string
	done   sync.WaitGroup
}

// newGeneration begins to read a topic.
func newGeneration(number int, topic string, partitions int, opts []kgo.Opt) (*generation, error) {
	g := &generation{number: number, topic: topic, logs: map[int32]*partitionLog{}}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	g.reader = cl
	g.grow(partitions)
	return g, nil
}

// grow adds partitions up to a number of them.
func (g *generation) grow(partitions int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p := int32(len(g.logs)); p < int32(partitions); p++ {
		g.logs[p] = &partitionLog{}
	}
}

func (g *generation) partitions() int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int32(len(g.logs))
}

// read appends what comes until ctx ends. Nothing here knows of the feed, or
// hurries: each partition is asked for in turn.
func (g *generation) read(ctx context.Context, fail func(string, ...any)) {
	for {
		leaders, err := g.leaders(ctx)
		for p := int32(0); err == nil && p < g.partitions(); p++ {
			for more := true; more; {
				more = g.fetch(ctx, p, leaders[p], fail)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (g *generation) leaders(ctx context.Context) (map[int32]int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &g.topic
	req.Topics = append(req.Topics, t)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := req.RequestWith(ctx, g.reader)
	if err != nil {
		return nil, err
	}
	leaders := map[int32]int32{}
	for _, t := range resp.Topics {
		g.mu.Lock()
		g.id = t.TopicID
		g.mu.Unlock()
		for _, p := range t.Partitions {
			leaders[p.Partition] = p.Leader
		}
	}
	return leaders, nil
}

// fetch asks for what follows in a partition, and says whether something came.
func (g *generation) fetch(ctx context.Context, p, leader int32, fail func(string, ...any)) bool {
	g.mu.Lock()
	from, id := g.logs[p].next, g.id
	g.mu.Unlock()
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = -1, 10, 1, 10<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = g.topic, id
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = p, from, 1<<20
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	kresp, err := g.reader.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return false
	}
	resp := kresp.(*kmsg.FetchResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	more, err := g.logs[p].take(g.topic, from, &resp.Topics[0].Partitions[0])
	if err != nil {
		fail("oracle: partition %d offset %d: %v", p, from, err)
	}
	return more
}

// take appends what an answer to a fetch from an offset holds, and says whether
// the log got longer by it.
func (l *partitionLog) take(topic string, from int64, answer *kmsg.FetchResponseTopicPartition) (more bool, err error) {
	got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: from, Topic: topic, Partition: answer.Partition}, answer, decompressor, nil)
	for _, r := range got.Records {
		it := logged{offset: r.Offset, timestampMs: r.Timestamp.UnixMilli()}
		if len(r.Headers) == 1 {
			it.number = binary.BigEndian.Uint64(r.Headers[0].Value)
		}
		l.records = append(l.records, it)
	}
	l.next = max(next, l.next)
	if next > from { // what stopped it, if anything did, comes first in the next answer
		return true, nil
	}
	if got.Err != nil && !l.passSpoiled(answer) {
		return false, got.Err
	}
	return got.Err != nil, nil
}

// ack notes that a producer was told that a record is in the log.
func (g *generation) ack(p int32, offset int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.logs[p].acked = max(g.logs[p].acked, offset+1)
}

// settled says whether the oracle has read everything that was acknowledged.
func (g *generation) settled() (bool, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, l := range g.logs {
		if l.next < l.acked {
			return false, fmt.Sprintf("partition %d: read to %d of %d", p, l.next, l.acked)
		}
	}
	return true, ""
}

// acked returns, by partition, the end of what was acknowledged so far.
func (g *generation) ackedEnds() map[int32]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	ends := map[int32]int64{}
	for p, l := range g.logs {
		ends[p] = l.acked
	}
	return ends
}

// starts returns, by partition, the log start before and after the removals
// that are under way.
func (g *generation) starts() (removed, asked map[int32]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	removed, asked = map[int32]int64{}, map[int32]int64{}
	for p, l := range g.logs {
		removed[p], asked[p] = l.removed, l.asked
	}
	return removed, asked
}

// since returns the first offset, not before from, with a timestamp of at least
// ms, beyond the end if there is none; and the end of the record before it:
// what lies between holds no record, such as the marker of a transaction.
func (g *generation) since(p int32, from, ms int64) (before, first int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.logs[p].records {
		if r.offset >= from && r.timestampMs >= ms {
			return before, r.offset
		}
		before = r.offset + 1
	}
	return before, math.MaxInt64
}

func (g *generation) close() {
	g.reader.Close()
	g.done.Wait()
}

// sent bounds the end of a partition as it is now.
func (g *generation) sent(p int32) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.logs[p].sent
}

// surplus is by how much a log turned out longer than what producers were given: one
// that gave up records begins a new epoch, and may send again what was not answered;
// and a transaction that nobody could end has a marker of the broker. The caller holds
// the generation's lock.
func (l *partitionLog) surplus() int64 { return max(0, l.next-l.sent) }

// surplus is that of a partition.
func (g *generation) surplus(p int32) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.logs[p].surplus()
}

// reaches reports whether positions lie within what producers were given, or what was
// read by now.
func (g *generation) reaches(at map[int32]int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, o := range at {
		if l := g.logs[p]; l != nil && o > l.sent+l.surplus() {
			return false
		}
	}
	return true
}

// send notes that records or a marker are on their way.
func (g *generation) send(p int32, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.logs[p].sent += int64(n)
}

// at returns the record of an offset, or nil where the oracle has not read it.
func (l *partitionLog) at(offset int64) *logged {
	i, ok := slices.BinarySearchFunc(l.records, offset, func(r logged, o int64) int { return cmp.Compare(r.offset, o) })
	if !ok {
		return nil
	}
	return &l.records[i]
}

// verify says what is wrong with what a client holds of a partition up to its
// cursor, or "". The caller holds g.mu.
func (g *generation) verify(p int32, l life, at int64, f filter) string {
	log := g.logs[p]
	if log == nil {
		return "there is no such partition"
	}
	if at > log.sent+log.surplus() {
		return fmt.Sprintf("the cursor is at %d, at most %d were written; %d were read, to %d", at, log.sent, len(log.records), log.next)
	}
	got, gaps := l.seen[p], l.gaps[p]
	for _, r := range log.records {
		if r.offset < l.start[p] || r.offset >= at {
			continue
		}
		for len(gaps) > 0 && gaps[0].GetTo() <= r.offset {
			gaps = gaps[1:]
		}
		lost := len(gaps) > 0 && gaps[0].GetFrom() <= r.offset
		came := len(got) > 0 && got[0].offset == r.offset
		want := f.matches(makeItem(r.number))
		switch {
		case came && got[0].number != r.number:
			return fmt.Sprintf("offset %d came as record %d, the log holds %d", r.offset, got[0].number, r.number)
		case came && lost:
			return fmt.Sprintf("offset %d came, and was in a gap", r.offset)
		case came && !want:
			return fmt.Sprintf("offset %d came and does not match the filter", r.offset)
		case !came && want && !lost:
			return fmt.Sprintf("offset %d neither came nor was named in a gap (start %d, cursor %d, log start %d)", r.offset, l.start[p], at, log.removed)
		}
		if came {
			got = got[1:]
		}
	}
	if msg := log.verifySpoiled(l.start[p], at, l.gaps[p]); msg != "" {
		return msg
	}
	if len(got) > 0 {
		return fmt.Sprintf("offset %d came, and the log holds no such record", got[0].offset)
	}
	return ""
}
