package feed_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// faulty is a cluster that can be told to fail, with one topic.
type faulty struct {
	*kfake.Cluster
	t     *testing.T
	topic string
	cl    *kgo.Client
}

func newFaulty(t *testing.T, partitions int32, opts ...kfake.Opt) *faulty {
	t.Helper()
	f := &faulty{t: t, topic: "events"}
	f.Cluster = testkafka.NewFake(t, append(opts, kfake.SeedTopics(partitions, f.topic))...)
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(f.topic), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	f.cl = cl
	return f
}

func (f *faulty) produce(partition int32, n int) {
	f.t.Helper()
	f.produceAged(partition, n, 0)
}

// produceAged writes records that were made a while ago.
func (f *faulty) produceAged(partition int32, n int, age time.Duration) {
	f.t.Helper()
	for range n {
		if err := f.cl.ProduceSync(f.t.Context(), &kgo.Record{Partition: partition, Timestamp: time.Now().Add(-age), Key: []byte("k"), Value: frame(f.t, "k", "t", "x")}).FirstErr(); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *faulty) feed(change func(*feed.Config)) *feed.Feed {
	f.t.Helper()
	cfg := feed.DefaultConfig(f.topic)
	cfg.RefreshInterval = 50 * time.Millisecond
	cfg.RequestTimeout = 3 * time.Second
	if change != nil {
		change(&cfg)
	}
	return runFeed(f.t, cfg, f.ListenAddrs())
}

func TestABadPartitionCostsItsNeighboursNothing(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 2)
	f.produce(0, 10)
	f.produce(1, 10)
	fd := f.feed(nil)
	r := newReader(t, fd, feed.Start{Earliest: true})
	r.until("what was there", func() bool { return r.count == 20 && r.caught })

	// Live: partition 0 fails in the same response in which partition 1
	// answers.
	bad := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: f.topic, Partitions: []int32{0}, Err: kerr.KafkaStorageError, Count: -1})
	f.produce(0, 5)
	f.produce(1, 50)
	r.until("the good partition", func() bool { return r.next[1] == 60 })
	if r.next[0] != 10 {
		t.Fatalf("partition 0 is at %d although it cannot be read", r.next[0])
	}
	testkafka.Eventually(t, "partition 0 is reported", func(context.Context) error {
		info, _ := fd.Info()
		if err := info.Partitions[0].Err; err == nil || !strings.Contains(err.Error(), "partition 0 at offset 10") {
			return fmt.Errorf("partition 0 reports %v", err)
		}
		if err := info.Partitions[1].Err; err != nil {
			return fmt.Errorf("partition 1 reports %v", err)
		}
		return nil
	})
	// History, for a client that comes back now: the good partition comes, and
	// caught up is not said of what cannot be read.
	back := newReader(t, fd, feed.Start{Earliest: true})
	back.until("the good partition", func() bool { return back.next[1] == 60 })
	if back.caught {
		t.Error("caught up was said although partition 0 could not be read")
	}
	bad.Remove()
	r.until("the rest", func() bool { return r.next[0] == 15 })
	back.until("the rest", func() bool { return back.next[0] == 15 && back.caught })
}

func TestReadersSurviveMovesOfLeaders(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 3, kfake.NumBrokers(3))
	fd := f.feed(nil)
	r := newReader(t, fd, feed.Start{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 300 {
			if i%20 == 0 {
				f.ShufflePartitionLeaders()
			}
			f.produce(int32(i%3), 1)
		}
	})
	r.until("all", func() bool { return r.count == 300 })
	wg.Wait()
	if len(r.gaps)+len(r.resets) > 0 {
		t.Errorf("gaps %v, resets %v", r.gaps, r.resets)
	}
}

func TestFailuresOfEveryRequestAreRetried(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 2)
	f.produce(0, 30)
	// One in seven requests of each kind fails, whoever asks. At random, since
	// a count may fall in step with the requests of one attempt.
	for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata} {
		f.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: f.topic, Err: kerr.NotLeaderForPartition, Count: -1, When: func(kmsg.Request) bool { return rand.IntN(7) == 0 }})
	}
	fd := f.feed(func(c *feed.Config) { c.TailBytes, c.CacheBytes = 1<<20, 1<<20 })
	r := newReader(t, fd, feed.Start{Earliest: true})
	var wg sync.WaitGroup
	wg.Go(func() { f.produce(1, 100) })
	r.until("all", func() bool { return r.count == 130 && r.caught })
	wg.Wait()
	if len(r.gaps)+len(r.resets) > 0 {
		t.Errorf("gaps %v, resets %v", r.gaps, r.resets)
	}
}

// A broker's disk returns a batch whose checksum does not match: the batch is
// named, what lies around it comes.
func TestAnUnreadableBatchIsAnnouncedAndPassed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := newFaulty(t, 1, kfake.DataDir(dir))
	f.produce(0, 3)
	if err := f.cl.ProduceSync(t.Context(), &kgo.Record{Value: []byte("\x00poison-poison")}, &kgo.Record{Value: []byte("\x00poison-poison")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	f.produce(0, 4)
	damage(t, dir, "poison-poison")
	fd := f.feed(nil)
	r := newReader(t, fd, feed.Start{Earliest: true})
	r.until("all", func() bool { return r.caught })
	if len(r.gaps) != 1 || r.gaps[0] != (feed.Gap{Partition: 0, From: 3, To: 5, Reason: feed.GapUnreadable}) || r.count != 7 {
		t.Errorf("gaps %+v and %d records, want offsets 3 to 5 unreadable and 7 records", r.gaps, r.count)
	}
}

// What a read finds out after a reader has turned to other partitions is learnt all
// the same; it was asked for anew each time, and given up again.
func TestAFailureThatTakesLongToFindOutIsLearnt(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 1)
	f.produce(0, 3)
	f.produceRaw(0, 0, 2, feed.RawRecord(0, nil, 1<<20)[:20])
	f.produce(0, 4)
	fd := f.feed(nil)
	f.ControlKey(kmsg.Fetch.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		f.KeepControl()
		for _, t := range r.(*kmsg.FetchRequest).Topics {
			if t.Partitions[0].FetchOffset == 3 {
				f.SleepControl(func() { <-time.After(1500 * time.Millisecond) }) // longer than a reader waits
			}
		}
		return nil, nil, false
	})
	r := newReader(t, fd, feed.Start{Earliest: true})
	r.until("all", func() bool { return r.caught })
	if len(r.gaps) != 1 || r.count != 7 {
		t.Errorf("gaps %+v and %d records, want one gap and 7 records", r.gaps, r.count)
	}
}

// damage changes a byte of the text in the broker's files, as a bad disk does.
func damage(t *testing.T, dir, text string) {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		i := strings.Index(string(b), text)
		if i < 0 {
			return nil
		}
		found = true
		file, err := os.OpenFile(p, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		_, err = file.WriteAt([]byte("P"), int64(i))
		return err
	})
	if err != nil || !found {
		t.Fatalf("damage: found %v, error %v", found, err)
	}
}

// A leader that does not know its end for a moment must not make a good cursor
// look like one of a log that was cut.
func TestAnEndThatIsShortForAMomentResetsNobody(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 1)
	f.produce(0, 20)
	fd := f.feed(nil)
	id := newReader(t, fd, feed.Start{}).r.StreamID()
	f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: f.topic, Err: kerr.OffsetNotAvailable, Count: 4})
	r := newReader(t, fd, feed.Start{Cursor: &feed.Cursor{StreamID: id, Offsets: map[int32]int64{0: 20}}})
	f.produce(0, 1)
	r.until("the new record", func() bool { return r.count == 1 })
	if len(r.resets) > 0 {
		t.Errorf("resets %v", r.resets)
	}
	r.until("caught up", func() bool { return r.caught })
}

func TestRetentionUnderAReaderIsAnnounced(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 1)
	f.produce(0, 50)
	// The feed starts at the end and its reads are slow to begin: the head of
	// the log goes while the reader is in it.
	fd := f.feed(func(c *feed.Config) { c.TailBytes, c.CacheBytes = 1<<20, 1<<20 })
	r := newReader(t, fd, feed.Start{Earliest: true})
	adm := kadm.NewClient(f.cl)
	if _, err := adm.DeleteRecords(t.Context(), kadm.Offsets{f.topic: {0: {Topic: f.topic, Partition: 0, At: 30}}}); err != nil {
		t.Fatal(err)
	}
	r.until("caught up", func() bool { return r.caught })
	if len(r.gaps) != 1 || r.gaps[0].From != 0 || r.gaps[0].To != 30 || r.count != 20 {
		t.Errorf("gaps %+v and %d records, want offsets 0 to 30 gone and 20 records", r.gaps, r.count)
	}
}

// Retention that overtakes the live reader, while it cannot read, is told to
// those who wait for what is new.
func TestRetentionAheadOfTheLiveReaderIsAnnounced(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 1)
	f.produce(0, 10)
	fd := f.feed(nil)
	r := newReader(t, fd, feed.Start{})
	r.until("caught up", func() bool { return r.caught })
	bad := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: f.topic, Err: kerr.KafkaStorageError, Count: -1})
	testkafka.Eventually(t, "the live reader fails", func(context.Context) error {
		if info, _ := fd.Info(); info.Partitions[0].Err == nil {
			return errors.New("it does not")
		}
		return nil
	})
	f.produce(0, 50)
	adm := kadm.NewClient(f.cl)
	if _, err := adm.DeleteRecords(t.Context(), kadm.Offsets{f.topic: {0: {Topic: f.topic, Partition: 0, At: 40}}}); err != nil {
		t.Fatal(err)
	}
	bad.Remove()
	r.until("the rest", func() bool { return r.next[0] == 60 })
	if len(r.gaps) != 1 || r.gaps[0].From != 10 || r.gaps[0].To != 40 || r.gaps[0].Reason != feed.GapRetention || r.count != 20 {
		t.Errorf("gaps %+v and %d records, want offsets 10 to 40 gone and 20 records", r.gaps, r.count)
	}
}

// A broker finds no time in a partition whose first batch it cannot read. A
// partition that was added is read from its start all the same.
func TestANewPartitionIsReadWhereNoTimeIsFound(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 1)
	f.produce(0, 5)
	fd := f.feed(nil)
	r := newReader(t, fd, feed.Start{})
	r.until("caught up", func() bool { return r.caught })
	f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: f.topic, Partitions: []int32{1}, Err: kerr.CorruptMessage, Count: -1, When: func(req kmsg.Request) bool {
		return req.(*kmsg.ListOffsetsRequest).Topics[0].Partitions[0].Timestamp >= 0
	}})
	adm := kadm.NewClient(f.cl)
	if _, err := adm.UpdatePartitions(t.Context(), 2, f.topic); err != nil {
		t.Fatal(err)
	}
	f.cl.ForceMetadataRefresh()
	testkafka.Eventually(t, "the producer knows the partition", func(ctx context.Context) error {
		return f.cl.ProduceSync(ctx, &kgo.Record{Partition: 1, Key: []byte("k"), Value: frame(t, "k", "t", "x")}).FirstErr()
	})
	f.produce(1, 9)
	r.until("the new partition", func() bool { return r.next[1] == 10 })
	if r.count != 10 {
		t.Errorf("%d records of 10", r.count)
	}
}
