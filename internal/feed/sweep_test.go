package feed_test

import (
	"sync"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// TestReadersFromManyPlacesShareOneSweep: the cache holds a fifth of the log. A
// reader that ran ahead of one that takes its time would have that one read all of
// it again.
func TestReadersFromManyPlacesShareOneSweep(t *testing.T) {
	t.Parallel()
	const records, readers = 40_000, 8
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	for range 4 {
		p.produce(t, 0, records/4, 300)
	}
	small := func(cfg *feed.Config) { cfg.CacheBytes, cfg.TailBytes = 8<<20, 1<<20 }
	f := startFeed(t, c, topic, small)
	one := newReader(t, f, feed.Start{Earliest: true})
	one.until("all", func() bool { return one.count == records && one.caught })
	once := feed.HistoryReads(f)

	f = startFeed(t, c, topic, small)
	var wg sync.WaitGroup
	for i := range readers {
		from := int64(records * i / readers)
		r := newReader(t, f, feed.Start{Cursor: &feed.Cursor{StreamID: one.r.StreamID(), Offsets: map[int32]int64{0: from}}})
		wg.Go(func() {
			// Three take a segment every few milliseconds, each at its own pace, the
			// others all they get.
			calm := time.NewTicker(time.Duration(8+4*i) * time.Millisecond)
			defer calm.Stop()
			r.until("all", func() bool {
				if i < 3 {
					<-calm.C
				}
				return r.count == int(records-from) && r.caught
			})
		})
	}
	wg.Wait()
	n := feed.HistoryReads(f)
	t.Logf("one reader cost %d reads, %d readers %d", once, readers, n)
	if n > 2*once {
		t.Errorf("%d readers cost %d reads of Kafka, one costs %d", readers, n, once)
	}
}
