package feed_test

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// blind runs a feed that does not notice by itself that its topic was created
// anew: it never looks, and after shut its fetches are not answered until open.
func blind(t *testing.T, c *testkafka.Cluster, topic string) (f *feed.Feed, shut, open func()) {
	t.Helper()
	var drop atomic.Bool
	dropped := make(chan struct{}, 100)
	cfg := feed.DefaultConfig(topic)
	cfg.RefreshInterval = time.Hour
	f = runFeed(t, cfg, c.Brokers(), kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return &withoutFetches{Conn: conn, drop: &drop, dropped: dropped}, nil
	}))
	shut = func() {
		drop.Store(true)
		select {
		case <-dropped: // no fetch is under way any more
		case <-time.After(patience):
			t.Fatal("the feed does not fetch")
		}
	}
	return f, shut, func() { drop.Store(false) }
}

// A gateway may be asked by a client of the new topic before it has seen that
// there is one.
func TestACursorOfANewerTopicIsNotVoid(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	slow, shut, open := blind(t, c, topic)
	old := newReader(t, slow, feed.Start{}).r.StreamID()
	shut()
	c.Recreate(t, topic, 1)
	quick := startFeed(t, c, topic, nil)
	p := newProducer(t, c, topic)
	p.produce(t, 0, 5, 50)
	first := newReader(t, quick, feed.Start{Earliest: true})
	first.until("the new topic", func() bool { return first.count == 5 })
	cursor := first.r.Cursor()
	if cursor.StreamID == old {
		t.Fatal("the new topic has the old stream id")
	}
	r := newReader(t, slow, feed.Start{Cursor: &cursor})
	open()
	if r.r.StreamID() != cursor.StreamID {
		t.Errorf("a cursor of stream %s is answered from %s, which is no more", cursor.StreamID, r.r.StreamID())
	}
	p.produce(t, 0, 2, 50)
	r.until("what followed", func() bool { return r.count == 2 })
	if len(r.resets) != 0 {
		t.Errorf("resets %v, want none", r.resets)
	}
}

// Kafka lists offsets by the topic's name. What it says of the new topic must
// not be taken for what became of the old one.
func TestANewTopicIsNotTakenForAnOldOneThatWasCut(t *testing.T) {
	t.Parallel()
	for name, cursor := range map[string]map[int32]int64{
		"an offset past what was seen":   {0: 8},
		"a partition that was not seen":  {0: 1, 2: 0},
		"an offset within the new topic": {0: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testkafka.Start(t, testkafka.Options{})
			topic := c.Topic(t, 2)
			newProducer(t, c, topic).produce(t, 0, 5, 50)
			newProducer(t, c, topic).produce(t, 1, 5, 50)
			slow, shut, open := blind(t, c, topic)
			old := newReader(t, slow, feed.Start{}).r.StreamID()
			shut()
			// What the client saw elsewhere, and this feed did not.
			c.Grow(t, topic, 3)
			newProducer(t, c, topic).produce(t, 0, 3, 50)
			c.Recreate(t, topic, 1)
			newProducer(t, c, topic).produce(t, 0, 2, 50)
			r := newReader(t, slow, feed.Start{Cursor: &feed.Cursor{StreamID: old, Offsets: cursor}})
			open()
			r.until("the new topic", func() bool { return r.count == 2 && r.caught })
			if len(r.resets) != 1 || r.resets[0].Reason == feed.ResetTruncated || r.resets[0].Previous != old || r.r.StreamID() == old {
				t.Errorf("resets %v to stream %s, want one that says that %s is another topic's", r.resets, r.r.StreamID(), old)
			}
		})
	}
}

// withoutFetches loses fetch requests on the way.
type withoutFetches struct {
	net.Conn
	drop    *atomic.Bool
	dropped chan<- struct{}
}

func (c *withoutFetches) Write(b []byte) (int, error) {
	const apiKeyAt = 4 // after the size
	if c.drop.Load() && len(b) > apiKeyAt+1 && binary.BigEndian.Uint16(b[apiKeyAt:]) == uint16(kmsg.Fetch) {
		select {
		case c.dropped <- struct{}{}:
		default:
		}
		return len(b), nil
	}
	return c.Conn.Write(b)
}
