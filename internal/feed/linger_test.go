package feed_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// TestAFullSegmentIsNotWaitedFor: records are collected so that frames get fuller,
// and those that fill one have nothing to wait for.
func TestAFullSegmentIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	asked, goOn := make(chan struct{}), make(chan struct{})
	linger := func(readers int) time.Duration {
		if readers != 1 {
			t.Errorf("asked for %d readers, want 1", readers)
		}
		select {
		case asked <- struct{}{}:
			<-goOn
		case <-t.Context().Done():
		}
		return time.Millisecond
	}
	r := newReader(t, startFeed(t, c, topic, func(cfg *feed.Config) { cfg.Linger = linger }), feed.Start{})

	p.produce(t, 0, 1, 10)
	<-asked
	// These come while the feed collects.
	for range 5 {
		p.produce(t, 0, 1, 10)
	}
	goOn <- struct{}{}
	var sizes []int
	for r.count < 6 {
		if s := r.step(t.Context()); s.Segment != nil {
			sizes = append(sizes, len(s.Segment.Records))
		}
	}
	if want := []int{1, 5}; !slices.Equal(sizes, want) {
		t.Errorf("segments of %v records, want %v", sizes, want)
	}
	<-asked
	p.produce(t, 0, 1000, 300)
	goOn <- struct{}{}
	r.until("a full answer", func() bool { return r.count == 1006 })
	p.produce(t, 0, 1, 10)
	r.until("another, with nobody waiting before it", func() bool { return r.count == 1007 })
	<-asked
	goOn <- struct{}{}
}
