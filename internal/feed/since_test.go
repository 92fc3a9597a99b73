package feed_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
)

// A broker that has more than the one which told the end, or that is behind the
// cut of a log, names an offset above that end: a reader that began there would
// pass over what comes next.
func TestSinceBeginsAtTheEndAtMost(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 1, kfake.NumBrokers(1))
	f.produce(0, 10)
	f.ControlKey(kmsg.ListOffsets.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		f.KeepControl()
		req := r.(*kmsg.ListOffsetsRequest)
		if req.Topics[0].Partitions[0].Timestamp < 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = f.topic
		rp := kmsg.NewListOffsetsResponseTopicPartition()
		rp.Offset, rp.Timestamp = 15, req.Topics[0].Partitions[0].Timestamp
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	fd := f.feed(nil)
	now := time.Now().UnixMilli()
	r, err := fd.NewReader(t.Context(), feed.Start{SinceMS: &now})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Cursor().Offsets[0]; got != 10 {
		t.Errorf("the reader begins at offset %d of a log that ends at 10", got)
	}
}
