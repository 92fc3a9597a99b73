package gateway

import (
	"testing"

	"github.com/dashflow/dashstream/internal/feed"
)

// An ack of another stream says nothing of this one, and is not kept.
func TestOnlyAcksOfTheStreamCount(t *testing.T) {
	t.Parallel()
	info := feed.Info{StreamID: "this", Partitions: []feed.Partition{{ID: 0, Next: 100}, {ID: 1, Next: 50}}}
	s := &session{}
	foreign := feed.Cursor{StreamID: "another", Offsets: map[int32]int64{}}
	for p := range int32(10_000) {
		foreign.Offsets[p] = 1
	}
	s.ack(foreign, info.StreamID, len(info.Partitions))
	if lag, ok := s.applyLag(info); ok || s.acked != nil {
		t.Errorf("an ack of another stream: lag %d, known %t, kept %v", lag, ok, s.acked)
	}
	mine := feed.Cursor{StreamID: "this", Offsets: map[int32]int64{0: 90, 1: 50, 2: 0, 9999: 7}}
	mine.SetEpoch(0, 3)
	s.ack(mine, info.StreamID, len(info.Partitions))
	if lag, ok := s.applyLag(info); !ok || lag != 10 || len(s.acked.Offsets) != 2 {
		t.Errorf("an ack of 90 of 100 and 50 of 50: lag %d, known %t, kept %v", lag, ok, s.acked)
	}
	s.ack(foreign, info.StreamID, len(info.Partitions))
	if lag, ok := s.applyLag(info); !ok || lag != 10 {
		t.Errorf("an ack of another stream after it: lag %d, known %t", lag, ok)
	}
	info.StreamID = "anew" // the topic was created again
	if lag, ok := s.applyLag(info); ok {
		t.Errorf("an ack of the stream before: lag %d", lag)
	}
}

// The reader is past a large record that waits to be written: its cursor must not
// be told before the record.
func TestNoProgressIsToldBeforeAPendingRecord(t *testing.T) {
	t.Parallel()
	s := &session{pending: &pendingLarge{}, untold: true, reader: &feed.Reader{}}
	s.tellProgress.Store(true)
	defer func() {
		if v := recover(); v != nil {
			t.Errorf("the cursor was asked for while a record is pending: %v", v)
		}
	}()
	var out outbox
	s.progress(&out)
	if out.size != 0 || !s.untold || !s.tellProgress.Load() {
		t.Errorf("%d bytes were told; untold %t, asked for still %t", out.size, s.untold, s.tellProgress.Load())
	}
}
