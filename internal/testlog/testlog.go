// Package testlog reads the whole log for tests, with a reader that shares no code with the feed: what it says is what
// clients are compared with. Only _test files import it.
package testlog

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/wire"
)

// patience bounds every wait.
const patience = 60 * time.Second

// epochHeader names the sequence space of a thread, see docs/producer.md.
const epochHeader = "dashstream-epoch"

// Log is all records of a topic, by partition and offset. Partitions begin at offset 0.
type Log [][]Entry

// Entry is what the log says of a record.
type Entry struct {
	Thread   string
	Sequence uint64
	// Epoch is empty where the record has none.
	Epoch string
	Value string
}

// Read reads the topic from its beginning to its ends. It fails the test where an offset is missing or comes twice, the
// checksum of a batch is wrong, or a record is no message.
func Read(t testing.TB, kafka, topic string) Log {
	t.Helper()
	return ReadAgain(t, kafka, topic, nil)
}

// ReadAgain is Read for a log of which a part was read before: all of it is read, but what is the same is not decoded again.
func ReadAgain(t testing.TB, kafka, topic string, before Log) Log {
	t.Helper()
	log := ReadValues(t, kafka, topic)
	for p := range log {
		for o := range log[p] {
			e := &log[p][o]
			if was := before.At(int32(p), int64(o)); was.Value == e.Value {
				e.Value, e.Thread, e.Sequence = was.Value, was.Thread, was.Sequence
				continue
			}
			m, err := wire.Decode([]byte(e.Value), wire.DefaultLimits())
			if err != nil {
				t.Fatalf("partition %d offset %d: %v", p, o, err)
			}
			e.Thread, e.Sequence = wire.HeaderOf(m).GetThreadId(), wire.HeaderOf(m).GetSequence()
		}
	}
	return log
}

// ReadValues is Read for records that need not be messages: entries have no thread and no sequence.
func ReadValues(t testing.TB, kafka, topic string) Log {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatalf("ends of the log: %v", err)
	}
	left := 0
	log := make(Log, len(ends[topic]))
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		left += int(o.Offset)
		from[o.Partition] = kgo.NewOffset().At(0)
		log[o.Partition] = make([]Entry, 0, o.Offset)
	})
	// Checksums are looked at by the client, unless it is told not to.
	reader, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for left > 0 {
		fs := reader.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("read the log: %v, %d records are missing", err, left)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(len(log[r.Partition])) {
				t.Fatalf("partition %d: offset %d where %d is next", r.Partition, r.Offset, len(log[r.Partition]))
			}
			if r.Offset < ends[topic][r.Partition].Offset {
				left--
			}
			e := Entry{Value: string(r.Value)}
			for _, h := range r.Headers {
				if h.Key == epochHeader {
					e.Epoch = string(h.Value)
				}
			}
			log[r.Partition] = append(log[r.Partition], e)
		})
	}
	return log
}

// At returns a record; the zero Entry where there is none.
func (l Log) At(partition int32, offset int64) Entry {
	if int(partition) >= len(l) || offset < 0 || offset >= int64(len(l[partition])) {
		return Entry{}
	}
	return l[partition][offset]
}

// Counts gives the number of records by partition.
func (l Log) Counts() []int64 {
	out := make([]int64, len(l))
	for p := range l {
		out[p] = int64(len(l[p]))
	}
	return out
}

// Len gives the number of records.
func (l Log) Len() int {
	n := 0
	for p := range l {
		n += len(l[p])
	}
	return n
}

// Missing returns how many sequence numbers are left out, in all threads whose id counts, each epoch of a thread counted
// from 1. A number that comes again, or too late, is an error.
func (l Log) Missing(counts func(thread string) bool) (uint64, error) {
	type space struct {
		epoch string
		last  uint64
	}
	missing := uint64(0)
	for p := range l {
		spaces := map[string]space{}
		for o, e := range l[p] {
			if !counts(e.Thread) {
				continue
			}
			s := spaces[e.Thread]
			if e.Epoch != "" && e.Epoch != s.epoch {
				s = space{epoch: e.Epoch}
			}
			if e.Sequence <= s.last {
				return 0, fmt.Errorf("partition %d offset %d: thread %s has sequence %d after %d", p, o, e.Thread, e.Sequence, s.last)
			}
			missing += e.Sequence - s.last - 1
			s.last = e.Sequence
			spaces[e.Thread] = s
		}
	}
	return missing, nil
}
