package feed_test

import (
	"sync"
	"testing"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// Readers that resume together from different places cost little more than one
// pass over the log, although the cache holds only a part of it.
func TestReadersThatResumeFromEverywhereShareReads(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	const records, readers = 40_000, 40
	p := newProducer(t, c, topic)
	for range 10 {
		p.produce(t, 0, records/10, 400)
	}
	f := startFeed(t, c, topic, func(cfg *feed.Config) { cfg.CacheBytes = 4 << 20 })
	id := newReader(t, f, feed.Start{}).r.StreamID()
	all := make([]*check, readers)
	for i := range all {
		start := int64(i * records / readers)
		all[i] = newReader(t, f, feed.Start{Cursor: &feed.Cursor{StreamID: id, Offsets: map[int32]int64{0: start}}})
	}
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(func() { r.until("all", func() bool { return r.caught }) })
	}
	wg.Wait()
	// A read brings up to 1 MiB. Each reader may have begun with one of its
	// own; alone, they would make about 400.
	pass := int64(records * 500 >> 20)
	if n := feed.HistoryReads(f); n > readers+3*pass {
		t.Errorf("%d readers cost %d reads; one pass over the log takes about %d", readers, n, pass)
	}
}
