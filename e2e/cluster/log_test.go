package cluster

import (
	"context"
	"encoding/hex"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/wire"
)

// entry is what the log says of a record.
type entry struct {
	partition int32
	offset    int64
	// id is that of the message, which no two have.
	id       string
	thread   string
	kind     pb.MessageType
	sequence uint64
}

// log is what a plain Kafka client finds in the topic.
type log struct {
	// partitions hold the entries, in order.
	partitions map[int32][]entry
	// ends are where the partitions end.
	ends map[int32]int64
	byID map[string][]entry
}

func messageID(m *pb.DashStreamMessage) string {
	return hex.EncodeToString(wire.HeaderOf(m).GetMessageId())
}

// readLog reads the whole topic.
func (w *world) readLog() *log {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	l := &log{partitions: map[int32][]entry{}, ends: map[int32]int64{}, byID: map[string][]entry{}}
	ends, err := w.c.Admin(w.t).ListEndOffsets(ctx, w.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		w.t.Fatalf("list the ends of the log: %v", err)
	}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		l.ends[o.Partition] = o.Offset
		if o.Offset > 0 {
			from[o.Partition] = kgo.NewOffset().AtStart()
		}
	})
	cl := w.c.Client(w.t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.topic: from}))
	defer cl.Close()
	for left := len(from); left > 0; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			w.t.Fatalf("read the log: %v", err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset >= l.ends[r.Partition] {
				return // it came since
			}
			l.add(w, r)
			if r.Offset == l.ends[r.Partition]-1 {
				left--
			}
		})
	}
	return l
}

func (l *log) add(w *world, r *kgo.Record) {
	m, err := wire.Decode(r.Value, wire.DefaultLimits())
	if err != nil {
		w.t.Fatalf("the log at partition %d offset %d: %v", r.Partition, r.Offset, err)
	}
	h := wire.HeaderOf(m)
	if string(r.Key) != h.GetThreadId() {
		w.t.Errorf("partition %d offset %d: the record of thread %q has the key %q", r.Partition, r.Offset, h.GetThreadId(), r.Key)
	}
	e := entry{partition: r.Partition, offset: r.Offset, id: messageID(m), thread: h.GetThreadId(), kind: wire.KindOf(m), sequence: h.GetSequence()}
	l.partitions[r.Partition] = append(l.partitions[r.Partition], e)
	l.byID[e.id] = append(l.byID[e.id], e)
}
