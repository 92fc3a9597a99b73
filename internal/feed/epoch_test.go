package feed_test

import (
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
)

// answerEpochs makes the cluster say that every epoch ends at an offset, and
// counts the questions.
func (f *faulty) answerEpochs(end int64) *atomic.Int64 {
	asked := new(atomic.Int64)
	f.ControlKey(kmsg.OffsetForLeaderEpoch.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		f.KeepControl()
		asked.Add(1)
		req := r.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, p.LeaderEpoch, end
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	return asked
}

// A leader that lacks what was read goes on with other records at the same
// offsets; once its log was as long again, nothing showed.
func TestALogThatWasCutAndGrewAgainIsAReset(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]int64{"cut": 7, "whole": 10, "unknown": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, 1, kfake.NumBrokers(2))
			if err := f.MoveTopicPartition(f.topic, 0, 0); err != nil {
				t.Fatal(err)
			}
			fd := f.feed(nil)
			r := newReader(t, fd, feed.Start{})
			f.produce(0, 10)
			r.until("what was there", func() bool { return r.count == 10 })
			asked := f.answerEpochs(end)
			if err := f.MoveTopicPartition(f.topic, 0, 1); err != nil {
				t.Fatal(err)
			}
			f.produce(0, 5)
			if name == "cut" {
				r.until("a reset", func() bool { return len(r.resets) > 0 })
				if r.resets[0].Reason != feed.ResetTruncated || r.count != 10 {
					t.Errorf("resets %v after %d records, want one for a cut log before any later record", r.resets, r.count)
				}
				r.until("the log from its start", func() bool { return r.count == 25 })
				return
			}
			r.until("the rest", func() bool { return r.count == 15 })
			if len(r.resets) > 0 || asked.Load() == 0 {
				t.Errorf("resets %v after %d questions, want none, and a question", r.resets, asked.Load())
			}
		})
	}
}
