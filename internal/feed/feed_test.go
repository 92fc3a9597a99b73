package feed_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

const patience = 30 * time.Second

// startFeed runs a feed on a topic until the test ends.
func startFeed(t *testing.T, c *testkafka.Cluster, topic string, change func(*feed.Config)) *feed.Feed {
	t.Helper()
	cfg := feed.DefaultConfig(topic)
	cfg.RefreshInterval = 100 * time.Millisecond
	if change != nil {
		change(&cfg)
	}
	return runFeed(t, cfg, c.Brokers())
}

func runFeed(t *testing.T, cfg feed.Config, brokers []string, more ...kgo.Opt) *feed.Feed {
	t.Helper()
	return runWith(t, cfg, feed.Deps{Options: append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, more...)})
}

func runWith(t *testing.T, cfg feed.Config, deps feed.Deps) *feed.Feed {
	t.Helper()
	f, err := feed.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		f.Close()
	})
	select {
	case <-f.Started():
	case <-time.After(patience):
		t.Fatalf("the feed did not start: %v", f.Ready())
	}
	return f
}

// frame makes a stored value for a thread.
func frame(t testing.TB, thread, tenant, text string) []byte {
	t.Helper()
	b, err := wire.Append(nil, &dashstreampb.DashStreamMessage{Message: &dashstreampb.DashStreamMessage_TokenChunk{TokenChunk: &dashstreampb.TokenChunk{
		Header: &dashstreampb.Header{MessageId: make([]byte, 16), ThreadId: thread, TenantId: tenant, Sequence: 1, TimestampUs: time.Now().UnixMicro(), Type: dashstreampb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK},
		Text:   text,
	}}}, wire.MaxProducerBytes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type producer struct {
	cl    *kgo.Client
	topic string
}

func newProducer(t *testing.T, c *testkafka.Cluster, topic string) *producer {
	return &producer{cl: c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic)), topic: topic}
}

// produce writes n records to a partition, in one batch as far as they fit.
func (p *producer) produce(t *testing.T, partition int32, n int, size int) {
	t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		thread := fmt.Sprintf("thread-%d-%d", partition, i%7)
		text := make([]byte, size)
		for j := range text {
			text[j] = byte('a' + rand.IntN(26))
		}
		records[i] = &kgo.Record{Partition: partition, Key: []byte(thread), Value: frame(t, thread, "tenant", string(text))}
	}
	if err := p.cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// check follows a reader and holds it to the promise of the package.
type check struct {
	t      *testing.T
	r      *feed.Reader
	next   map[int32]int64
	count  int
	gaps   []feed.Gap
	resets []feed.Reset
	growth int
	caught bool
}

func follow(t *testing.T, r *feed.Reader) *check {
	return &check{t: t, r: r, next: r.Cursor().Offsets}
}

// step takes one step and checks it.
func (c *check) step(ctx context.Context) feed.Step {
	c.t.Helper()
	s, err := c.r.Next(ctx)
	if err != nil {
		c.t.Fatalf("next: %v (at %v)", err, c.r.Cursor())
	}
	switch {
	case s.Segment != nil:
		for _, r := range s.Segment.Records {
			if r.Offset != c.next[r.Partition] {
				c.t.Fatalf("partition %d: record %d came where %d is next", r.Partition, r.Offset, c.next[r.Partition])
			}
			c.next[r.Partition]++
			c.count++
		}
	case s.Gap != nil:
		if s.Gap.From != c.next[s.Gap.Partition] || s.Gap.To <= s.Gap.From {
			c.t.Fatalf("gap %+v where %d is next", *s.Gap, c.next[s.Gap.Partition])
		}
		c.next[s.Gap.Partition] = s.Gap.To
		c.gaps = append(c.gaps, *s.Gap)
	case s.Growth != nil:
		c.growth++
		for p, o := range s.Growth.Start {
			if _, known := c.next[p]; !known {
				c.next[p] = o
			}
		}
	case s.Reset != nil:
		c.resets = append(c.resets, *s.Reset)
		c.next = c.r.Cursor().Offsets
	case s.CaughtUp:
		c.caught = true
	}
	for p, o := range c.r.Cursor().Offsets {
		if c.next[p] != o {
			c.t.Fatalf("partition %d: the cursor says %d, the records end before %d", p, o, c.next[p])
		}
	}
	return s
}

// until steps until a condition holds.
func (c *check) until(what string, done func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeoutCause(c.t.Context(), patience, fmt.Errorf("waiting for %s; so far %d records, gaps %v", what, c.count, c.gaps))
	defer cancel()
	for !done() {
		c.step(ctx)
	}
}

func newReader(t *testing.T, f *feed.Feed, start feed.Start) *check {
	t.Helper()
	r, err := f.NewReader(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	return follow(t, r)
}

func TestReadersFromEverywhereSeeEachRecordOnceInOrder(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	p := newProducer(t, c, topic)
	for i := range int32(3) {
		p.produce(t, i, 500, 300)
	}
	// A tail of 1 MiB holds about a third of what follows, so that readers
	// leave it and come back to it.
	f := startFeed(t, c, topic, func(cfg *feed.Config) { cfg.TailBytes, cfg.CacheBytes = 1<<20, 1<<20 })

	const more = 2000
	early := newReader(t, f, feed.Start{Earliest: true})
	late := newReader(t, f, feed.Start{})
	middle := newReader(t, f, feed.Start{Cursor: &feed.Cursor{StreamID: early.r.StreamID(), Offsets: map[int32]int64{0: 499, 1: 250}}})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 40 {
			p.produce(t, int32(i%3), more/40, 400)
		}
	})
	early.until("all", func() bool { return early.count == 1500+more })
	middle.until("the rest", func() bool { return middle.count == 1+250+500+more })
	wg.Wait()
	// This one slept until everything had passed the tail.
	late.until("what came since", func() bool { return late.count == more })
	for name, c := range map[string]*check{"early": early, "middle": middle, "late": late} {
		if !c.caught || len(c.gaps) > 0 || len(c.resets) > 0 {
			t.Errorf("%s: caught up %v, gaps %v, resets %v", name, c.caught, c.gaps, c.resets)
		}
	}
}

// However the records lie in segments, caught_up comes after the last of them:
// here each is one of its own.
func TestCaughtUpComesAfterTheLastRecord(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	p := newProducer(t, c, topic)
	f := startFeed(t, c, topic, nil)
	p.produce(t, 0, 5, 70_000)
	p.produce(t, 1, 5, 70_000)
	testkafka.Eventually(t, "all is in the hot tail", func(context.Context) error {
		if info, _ := f.Info(); info.Partitions[0].Next != 5 || info.Partitions[1].Next != 5 {
			return fmt.Errorf("the live reader is at %+v", info.Partitions)
		}
		return nil
	})
	r := newReader(t, f, feed.Start{Earliest: true})
	r.until("caught up", func() bool { return r.caught })
	if r.count != 10 {
		t.Errorf("caught up after %d records of 10", r.count)
	}
}

func TestRetentionIsAnnouncedWithItsRange(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	p := newProducer(t, c, topic)
	p.produce(t, 0, 100, 50)
	p.produce(t, 1, 100, 50)
	f := startFeed(t, c, topic, nil)
	stream := newReader(t, f, feed.Start{}).r.StreamID()
	c.DeleteRecords(t, topic, 0, 60)
	testkafka.Eventually(t, "the feed knows of it", func(context.Context) error {
		if info, _ := f.Info(); info.Partitions[0].Oldest != 60 {
			return fmt.Errorf("it takes %d for the oldest offset", info.Partitions[0].Oldest)
		}
		return nil
	})

	// Behind the log's start by one, at it, and starting anew.
	for _, tc := range []struct {
		name string
		at   int64
		gap  int64
	}{{"from 0", 0, 60}, {"one short", 59, 1}, {"at the start", 60, 0}} {
		r := newReader(t, f, feed.Start{Cursor: &feed.Cursor{StreamID: stream, Offsets: map[int32]int64{0: tc.at, 1: 100}}})
		r.until(tc.name, func() bool { return r.caught })
		missing := int64(0)
		for _, g := range r.gaps {
			missing += g.To - g.From
			if g.Reason != feed.GapRetention {
				t.Errorf("%s: reason %v", tc.name, g.Reason)
			}
		}
		if missing != tc.gap || r.count != 40 {
			t.Errorf("%s: %d missing and %d records, want %d and 40", tc.name, missing, r.count, tc.gap)
		}
	}
	r := newReader(t, f, feed.Start{Earliest: true})
	r.until("earliest", func() bool { return r.caught })
	if len(r.gaps) > 0 || r.count != 140 {
		t.Errorf("earliest: gaps %v and %d records, want none and 140", r.gaps, r.count)
	}
}

func TestNewPartitionsAreReadFromTheirFirstRecord(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	f := startFeed(t, c, topic, nil)
	r := newReader(t, f, feed.Start{})
	c.Grow(t, topic, 3)
	p := newProducer(t, c, topic)
	for i := range int32(3) {
		p.produce(t, i, 20, 50)
	}
	r.until("records of all partitions", func() bool { return r.count == 60 })
	if r.growth == 0 || len(r.next) != 3 {
		t.Errorf("%d growth steps and %d partitions, want at least 1 and 3", r.growth, len(r.next))
	}
	// A cursor from before the growth gets the new partitions whole.
	old := newReader(t, f, feed.Start{Cursor: &feed.Cursor{StreamID: r.r.StreamID(), Offsets: map[int32]int64{0: 20}}})
	old.until("new partitions", func() bool { return old.caught })
	if old.count != 40 {
		t.Errorf("an old cursor got %d records, want the 40 of the new partitions", old.count)
	}
}

// A client comes from a gateway that has seen the topic grow to one that has
// not.
func TestACursorMayKnowAPartitionFirst(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	f := startFeed(t, c, topic, func(cfg *feed.Config) { cfg.RefreshInterval = time.Hour })
	id := newReader(t, f, feed.Start{}).r.StreamID()
	c.Grow(t, topic, 2)
	newProducer(t, c, topic).produce(t, 1, 10, 50)
	r := newReader(t, f, feed.Start{Cursor: &feed.Cursor{StreamID: id, Offsets: map[int32]int64{0: 0, 1: 4}}})
	r.until("the rest of the new partition", func() bool { return r.count == 6 && r.caught })
}

func TestARecreatedTopicResetsReaders(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	p := newProducer(t, c, topic)
	p.produce(t, 0, 50, 50)
	f := startFeed(t, c, topic, nil)
	r := newReader(t, f, feed.Start{Earliest: true})
	r.until("old records", func() bool { return r.caught })
	before := r.r.Cursor()

	c.Recreate(t, topic, 2)
	p = newProducer(t, c, topic)
	p.produce(t, 1, 10, 50)
	r.until("reset", func() bool { return len(r.resets) > 0 })
	if got := r.resets[0]; got.Reason != feed.ResetTopicRecreated || got.Previous != before.StreamID {
		t.Errorf("reset %+v, want a re-created topic after stream %s", got, before.StreamID)
	}
	r.count = 0
	r.until("new records", func() bool { return r.count == 10 })

	old := newReader(t, f, feed.Start{Cursor: &before})
	old.until("caught up", func() bool { return old.caught })
	if len(old.resets) != 1 || old.resets[0].Reason != feed.ResetOtherStream || old.count != 10 {
		t.Errorf("an old cursor: resets %v and %d records, want one of another stream and 10", old.resets, old.count)
	}
}

func TestACursorPastTheEndIsAReset(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	p.produce(t, 0, 5, 50)
	f := startFeed(t, c, topic, nil)
	id := newReader(t, f, feed.Start{}).r.StreamID()
	r := newReader(t, f, feed.Start{Cursor: &feed.Cursor{StreamID: id, Offsets: map[int32]int64{0: 6}}})
	r.until("caught up", func() bool { return r.caught })
	if len(r.resets) != 1 || r.resets[0].Reason != feed.ResetTruncated || r.count != 5 {
		t.Errorf("resets %v and %d records, want one for a truncated log and 5", r.resets, r.count)
	}
	_, err := f.NewReader(t.Context(), feed.Start{Cursor: &feed.Cursor{StreamID: id, Offsets: map[int32]int64{7: 0}}})
	var bad *feed.CursorError
	if !errors.As(err, &bad) {
		t.Errorf("a cursor with partition 7 of 1: error %v, want a CursorError", err)
	}
}

func TestSinceStartsAtTheTimestamp(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	cl := c.Client(t)
	base := time.UnixMilli(1_700_000_000_000)
	for i := range 10 {
		rec := &kgo.Record{Topic: topic, Value: frame(t, "a", "b", "c"), Timestamp: base.Add(time.Duration(i) * time.Minute)}
		if err := cl.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	f := startFeed(t, c, topic, nil)
	ms := base.Add(7 * time.Minute).UnixMilli()
	r := newReader(t, f, feed.Start{SinceMS: &ms})
	r.until("caught up", func() bool { return r.caught })
	if r.count != 3 {
		t.Errorf("%d records since minute 7 of 10, want 3", r.count)
	}
	ms = base.Add(time.Hour).UnixMilli()
	r = newReader(t, f, feed.Start{SinceMS: &ms})
	r.until("caught up", func() bool { return r.caught })
	if r.count != 0 {
		t.Errorf("%d records since a time after all, want none", r.count)
	}
}

func TestManyReadersThatResumeTogetherCostOneRead(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	newProducer(t, c, topic).produce(t, 0, 3000, 300)
	f := startFeed(t, c, topic, nil)
	var wg sync.WaitGroup
	for range 50 {
		r := newReader(t, f, feed.Start{Earliest: true})
		wg.Go(func() { r.until("all", func() bool { return r.count == 3000 && r.caught }) })
	}
	wg.Wait()
	// 3,000 records of some 400 bytes are 1.2 MB; a read brings up to 1 MiB.
	if n := feed.HistoryReads(f); n > 4 {
		t.Errorf("50 readers of the same 3,000 records cost %d reads of Kafka, want at most 4", n)
	}
}
