package feed_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/feed"
)

// hangable is a connection whose answers stop coming when hang is closed, until
// the test ends.
type hangable struct {
	net.Conn
	hang, end <-chan struct{}
}

func (c *hangable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.hang:
		<-c.end
	default:
	}
	return n, err
}

// A broker that takes requests and answers none kept readers from the old
// records of the others: its reads filled all the places there were, and a reader
// waited for it before it turned to what it could have.
func TestAHungBrokerHoldsUpOnlyItsOwnPartitions(t *testing.T) {
	t.Parallel()
	const partitions, records = 12, 20
	f := newFaulty(t, partitions, kfake.NumBrokers(2))
	for p := range int32(partitions) {
		if err := f.MoveTopicPartition(f.topic, p, p%2); err != nil {
			t.Fatal(err)
		}
	}
	for p := range int32(partitions) {
		f.produce(p, records)
	}
	addrs := f.ListenAddrs()
	hang, end := make(chan struct{}), make(chan struct{})
	cfg := feed.DefaultConfig(f.topic)
	cfg.RefreshInterval, cfg.RequestTimeout = 200*time.Millisecond, 5*time.Second
	fd := runFeed(t, cfg, addrs[:1], kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		if err != nil || addr != addrs[1] {
			return c, err
		}
		return &hangable{c, hang, end}, nil
	}))
	t.Cleanup(func() { close(end) }) // before the feed is closed: cleanups run last first
	info, _ := fd.Info()
	// Both the old records of the good broker and of the bad one are wanted.
	all := feed.Cursor{StreamID: info.StreamID, Offsets: map[int32]int64{}}
	for p := range int32(partitions) {
		all.Offsets[p] = 0
	}
	var readers []*check
	for range 20 {
		readers = append(readers, newReader(t, fd, feed.Start{Cursor: &all}))
	}
	close(hang)
	for _, r := range readers {
		r.until("the good broker's partitions", func() bool {
			for p := int32(0); p < partitions; p += 2 {
				if r.next[p] < records {
					return false
				}
			}
			return true
		})
	}
}
