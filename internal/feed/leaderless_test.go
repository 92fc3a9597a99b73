package feed_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// leaderless takes the leader from a partition until the function that it returns
// is called.
func (f *faulty) leaderless(partition int32) (elect func()) {
	f.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(f.topic)
	req.Topics = append(req.Topics, t)
	now, err := req.RequestWith(f.t.Context(), f.cl)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range now.Topics[0].Partitions {
		if p := &now.Topics[0].Partitions[i]; p.Partition == partition {
			p.Leader, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
		}
	}
	var elected atomic.Bool
	f.ControlKey(kmsg.Metadata.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		f.KeepControl()
		if elected.Load() {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.MetadataResponse)
		version := resp.Version
		*resp = *now
		resp.Version = version
		return resp, nil, true
	})
	f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets, kmsg.Fetch}, Topic: f.topic, Partitions: []int32{partition}, Err: kerr.NotLeaderForPartition, Count: -1, When: func(kmsg.Request) bool { return !elected.Load() }})
	return func() { elected.Store(true) }
}

// One partition without a leader kept the feed from beginning, and then every
// client from resuming.
func TestAPartitionWithoutALeaderKeepsNobodyFromTheOthers(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 3)
	for p := range int32(3) {
		f.produceAged(p, 10, time.Hour)
	}
	id := newReader(t, f.feed(nil), feed.Start{}).r.StreamID()
	elect := f.leaderless(1)
	fd := f.feed(nil)
	info, _ := fd.Info()
	if p := info.Partitions[1]; p.Oldest != -1 || p.Latest != -1 || p.Err == nil {
		t.Errorf("the partition without a leader is told as %+v, want nothing but an error", p)
	}
	began := time.Now()
	readers := map[string]*check{
		"latest":   newReader(t, fd, feed.Start{}),
		"earliest": newReader(t, fd, feed.Start{Earliest: true}),
		"cursor":   newReader(t, fd, feed.Start{Cursor: &feed.Cursor{StreamID: id, Offsets: map[int32]int64{0: 4, 1: 4}}}),
		"since":    newReader(t, fd, feed.Start{SinceMS: new(int64)}),
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("the readers took %v to begin", d)
	}
	before := map[string]int{"latest": 5, "earliest": 25, "cursor": 21, "since": 25}
	f.produceAnew(0, 5)
	for name, r := range readers {
		r.until("what the others have", func() bool { return r.count == before[name] })
		if _, told := r.r.Cursor().Offsets[1]; told && name != "cursor" {
			t.Errorf("%s: a position is told of the partition without a leader", name)
		}
		if r.caught {
			t.Errorf("%s: caught up was said", name)
		}
	}
	// A producer had this one since before the feed began.
	f.produceAged(1, 1, time.Minute)
	elect()
	f.produce(1, 1)
	after := map[string]int{"latest": 2, "earliest": 12, "cursor": 8, "since": 12}
	for name, r := range readers {
		r.until(name+": all", func() bool { return r.count == before[name]+after[name] && r.caught })
		if len(r.gaps)+len(r.resets) > 0 {
			t.Errorf("%s: gaps %v, resets %v", name, r.gaps, r.resets)
		}
	}
	testkafka.Eventually(t, "the feed is ready", func(context.Context) error { return fd.Ready() })
}

// A cursor past the end of a partition without a leader is found out once there is
// one.
func TestACursorPastAnEndThatWasNotKnownIsAReset(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 2)
	f.produce(0, 10)
	f.produce(1, 10)
	id := newReader(t, f.feed(nil), feed.Start{}).r.StreamID()
	elect := f.leaderless(1)
	r := newReader(t, f.feed(nil), feed.Start{Cursor: &feed.Cursor{StreamID: id, Offsets: map[int32]int64{0: 4, 1: 20}}})
	r.until("what the other has", func() bool { return r.count == 6 })
	elect()
	r.until("a reset", func() bool { return len(r.resets) == 1 && r.resets[0].Reason == feed.ResetTruncated })
	r.until("all from the start", func() bool { return r.count == 26 && r.caught })
}

// A partition without a leader among new ones does not keep the others from being
// read.
func TestANewPartitionWithoutALeaderHidesNoOther(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 1)
	fd := f.feed(nil)
	r := newReader(t, fd, feed.Start{})
	f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: f.topic, Partitions: []int32{1}, Err: kerr.NotLeaderForPartition, Count: 12})
	f.grow(3)
	f.produceAnew(2, 5)
	r.until("the one that answers", func() bool { return r.next[2] == 5 })
	f.produceAnew(1, 5)
	r.until("the other", func() bool { return r.next[1] == 5 })
	if len(r.gaps)+len(r.resets) > 0 {
		t.Errorf("gaps %v, resets %v", r.gaps, r.resets)
	}
}

// Partitions come to be known while many clients ask for one that the feed has not
// seen yet, each of which makes it look.
func TestPartitionsAreLearntByManyAtOnce(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 1)
	fd := f.feed(func(c *feed.Config) { c.RefreshInterval = 10 * time.Millisecond })
	follower := newReader(t, fd, feed.Start{})
	id := follower.r.StreamID()
	var wg sync.WaitGroup
	for n := int32(2); n <= 12; n++ {
		f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: f.topic, Partitions: []int32{n - 2}, Err: kerr.NotLeaderForPartition, Count: 2})
		f.grow(n)
		for range 4 {
			wg.Go(func() {
				_, err := fd.NewReader(t.Context(), feed.Start{Cursor: &feed.Cursor{StreamID: id, Offsets: map[int32]int64{n - 1: 0}}})
				if err != nil {
					t.Errorf("partition %d: %v", n-1, err)
				}
			})
		}
	}
	wg.Wait()
	for p := range int32(12) {
		f.produceAnew(p, 1)
	}
	follower.until("all", func() bool { return follower.count == 12 })
}

// produceAnew produces with a client that looks the topic up for itself.
func (f *faulty) produceAnew(partition int32, n int) {
	f.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(f.topic), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		f.t.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		if err := cl.ProduceSync(f.t.Context(), &kgo.Record{Partition: partition, Key: []byte("k"), Value: frame(f.t, "k", "t", fmt.Sprint(i))}).FirstErr(); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *faulty) grow(partitions int32) {
	f.t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = f.topic, partitions
	req.Topics = append(req.Topics, t)
	req.TimeoutMillis = 5000
	resp, err := req.RequestWith(f.t.Context(), f.cl)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		f.t.Fatal(err)
	}
}

// lag makes the leader of a partition tell nothing of the end of its log, as Kafka's
// do when they are new and too few replicas are in sync.
func (f *faulty) lag(partition int32) (inSync func()) {
	fault := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: f.topic, Partitions: []int32{partition}, Err: kerr.OffsetNotAvailable, Count: -1, When: func(r kmsg.Request) bool {
		for _, t := range r.(*kmsg.ListOffsetsRequest).Topics {
			for _, p := range t.Partitions {
				if p.Timestamp == -2 { // the oldest record is told
					return false
				}
			}
		}
		return true
	}})
	return fault.Remove
}

// What a new leader lets be read was read by no feed that began, or that learnt of
// the leader, while too few replicas were in sync, for as long as that lasted.
func TestAPartitionWhoseEndIsNotToldIsRead(t *testing.T) {
	t.Parallel()
	for name, leader := range map[string]bool{"from the start of the feed": true, "learnt later": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, 2)
			f.produce(0, 10)
			f.produce(1, 10)
			elect := func() {}
			if !leader {
				elect = f.leaderless(1)
			}
			inSync := f.lag(1)
			fd := f.feed(nil)
			earliest := newReader(t, fd, feed.Start{Earliest: true})
			elect()
			testkafka.Eventually(t, "the feed reads both", func(context.Context) error {
				if info, _ := fd.Info(); info.Partitions[1].Next < 0 {
					return fmt.Errorf("of partition 1 nothing is known: %w", info.Partitions[1].Err)
				}
				return nil
			})
			latest := newReader(t, fd, feed.Start{})
			earliest.until("all that can be read", func() bool { return earliest.count == 20 })
			f.produce(0, 5)
			f.produce(1, 5)
			earliest.until("what comes", func() bool { return earliest.count == 30 })
			latest.until("what comes", func() bool { return latest.next[0] == 15 && latest.next[1] == 15 })
			if earliest.caught || latest.caught {
				t.Error("caught up was said, although nobody tells where partition 1 ends")
			}
			inSync()
			f.produce(0, 1) // so that there is something to wait for
			earliest.until("caught up", func() bool { return earliest.caught })
			latest.until("caught up", func() bool { return latest.caught })
			for _, r := range []*check{earliest, latest} {
				if len(r.gaps)+len(r.resets) > 0 {
					t.Errorf("gaps %v, resets %v, want none", r.gaps, r.resets)
				}
			}
		})
	}
}
