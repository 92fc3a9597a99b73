package model

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
)

// TestEventIDsAreRead: the model's reading of event ids is its own, and agrees with what a gateway writes. After a reset one may
// hold no position at all.
func TestEventIDsAreRead(t *testing.T) {
	t.Parallel()
	for _, c := range []feed.Cursor{
		{StreamID: "s"},
		{StreamID: "s", Offsets: map[int32]int64{0: 5}},
		{StreamID: "s", Offsets: map[int32]int64{0: 5, 3: 0}, Epochs: map[int32]int32{3: 0}},
	} {
		cur, err := parseEventID(c.String())
		if err != nil || len(cur.GetPartitions()) != len(c.Offsets) {
			t.Errorf("%q is read as %v, %v", c, cur, err)
			continue
		}
		if again, err := parseEventID(eventID(cur)); err != nil || !proto.Equal(again, cur) {
			t.Errorf("%v became %v, %v", cur, again, err)
		}
		for _, p := range cur.GetPartitions() {
			if o := c.Offsets[p.GetPartition()]; o != p.GetNextOffset() || c.Epoch(p.GetPartition()) != epochOf(p) {
				t.Errorf("%q is read as %v", c, cur)
			}
		}
	}
}

func epochOf(p *streampb.PartitionOffset) int32 {
	if p.LeaderEpoch == nil {
		return -1
	}
	return p.GetLeaderEpoch()
}
