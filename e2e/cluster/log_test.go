package cluster

import (
	"encoding/hex"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testlog"
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

// readLog reads the whole topic. All brokers have to be there.
func (w *world) readLog() *log {
	w.t.Helper()
	l := &log{partitions: map[int32][]entry{}, ends: map[int32]int64{}, byID: map[string][]entry{}}
	for p, records := range testlog.ReadValues(w.t, w.c.Brokers()[0], w.topic) {
		l.ends[int32(p)] = int64(len(records))
		for o, r := range records {
			m, err := wire.Decode([]byte(r.Value), wire.DefaultLimits())
			if err != nil {
				w.t.Fatalf("the log at partition %d offset %d: %v", p, o, err)
			}
			h := wire.HeaderOf(m)
			e := entry{partition: int32(p), offset: int64(o), id: messageID(m), thread: h.GetThreadId(), kind: wire.KindOf(m), sequence: h.GetSequence()}
			l.partitions[e.partition] = append(l.partitions[e.partition], e)
			l.byID[e.id] = append(l.byID[e.id], e)
		}
	}
	return l
}
