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

// A gateway may be asked by a client of the new topic before it has seen that
// there is one.
func TestACursorOfANewerTopicIsNotVoid(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	// Without answers to its fetches the feed does not notice by itself.
	var drop atomic.Bool
	slow := runFeed(t, func() feed.Config {
		cfg := feed.DefaultConfig(topic)
		cfg.RefreshInterval = time.Hour
		return cfg
	}(), c.Brokers(), kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return &withoutFetches{Conn: conn, drop: &drop}, nil
	}))
	old := newReader(t, slow, feed.Start{}).r.StreamID()
	drop.Store(true)
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
	drop.Store(false)
	if r.r.StreamID() != cursor.StreamID {
		t.Errorf("a cursor of stream %s is answered from %s, which is no more", cursor.StreamID, r.r.StreamID())
	}
	p.produce(t, 0, 2, 50)
	r.until("what followed", func() bool { return r.count == 2 })
	if len(r.resets) != 0 {
		t.Errorf("resets %v, want none", r.resets)
	}
}

// withoutFetches loses fetch requests on the way.
type withoutFetches struct {
	net.Conn
	drop *atomic.Bool
}

func (c *withoutFetches) Write(b []byte) (int, error) {
	const apiKeyAt = 4 // after the size
	if c.drop.Load() && len(b) > apiKeyAt+1 && binary.BigEndian.Uint16(b[apiKeyAt:]) == uint16(kmsg.Fetch) {
		return len(b), nil
	}
	return c.Conn.Write(b)
}
