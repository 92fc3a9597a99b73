package feed_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
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
	for name, end := range map[string]int64{"cut": 7, "cut to nothing": 0, "whole": 10, "unknown": -1} {
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
			if end >= 0 && end < 10 {
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

// A broker may say that an epoch ends at 0 in a log of which retention took all.
// Where the log begins was last heard before the election, so it has to be asked.
func TestALogThatRetentionEmptiedBeforeAnElectionWasNotCut(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 1, kfake.NumBrokers(2))
	if err := f.MoveTopicPartition(f.topic, 0, 0); err != nil {
		t.Fatal(err)
	}
	fd := f.feed(nil)
	r := newReader(t, fd, feed.Start{})
	f.produce(0, 10)
	r.until("what was there", func() bool { return r.count == 10 })
	deaf := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: f.topic, Err: kerr.KafkaStorageError, Count: -1})
	testkafka.Eventually(t, "no answer says where the log begins", func(context.Context) error {
		if info, _ := fd.Info(); info.Partitions[0].Err == nil {
			return errors.New("partition 0 is read")
		}
		return nil
	})
	asked := f.answerEpochs(0)
	if err := f.DeleteRecords(f.topic, 0, 10); err != nil {
		t.Fatal(err)
	}
	if err := f.MoveTopicPartition(f.topic, 0, 1); err != nil {
		t.Fatal(err)
	}
	testkafka.Eventually(t, "the new leader is asked", func(context.Context) error {
		if asked.Load() == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	deaf.Remove()
	f.produce(0, 5)
	r.until("the rest", func() bool { return r.count >= 15 || len(r.resets) > 0 })
	if len(r.resets)+len(r.gaps) > 0 || r.count != 15 {
		t.Errorf("resets %v, gaps %v, %d records; want none, and 15 records", r.resets, r.gaps, r.count)
	}
}
