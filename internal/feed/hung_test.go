package feed_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
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
	cfg := feed.DefaultConfig(f.topic)
	cfg.RefreshInterval, cfg.RequestTimeout = 200*time.Millisecond, 5*time.Second
	fd, hang := f.hangable(cfg)
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
	hang()
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

// hangable runs a feed whose connections to the second broker can be made to hang.
func (f *faulty) hangable(cfg feed.Config) (fd *feed.Feed, hang func()) {
	f.t.Helper()
	addrs := f.ListenAddrs()
	hanging, end := make(chan struct{}), make(chan struct{})
	fd = runFeed(f.t, cfg, addrs[:1], kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		if err != nil || addr != addrs[1] {
			return c, err
		}
		return &hangable{c, hanging, end}, nil
	}))
	f.t.Cleanup(func() { close(end) }) // before the feed is closed: cleanups run last first
	return fd, func() { close(hanging) }
}

// A broker that took requests and answered none showed only when a request had
// timed out, which may be set to minutes, and then once more as long.
func TestAHungBrokerIsNotReadyAndNotDead(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{2 * time.Second, time.Minute} {
		t.Run(timeout.String(), func(t *testing.T) {
			t.Parallel()
			hangOneBroker(t, timeout)
		})
	}
}

func hangOneBroker(t *testing.T, timeout time.Duration) {
	f := newFaulty(t, 2, kfake.NumBrokers(2))
	for p := range int32(2) {
		if err := f.MoveTopicPartition(f.topic, p, p); err != nil {
			t.Fatal(err)
		}
	}
	cfg := feed.DefaultConfig(f.topic)
	cfg.RefreshInterval, cfg.RequestTimeout = 200*time.Millisecond, timeout
	fd, hang := f.hangable(cfg)
	r := newReader(t, fd, feed.Start{})
	f.produce(0, 1)
	f.produce(1, 1)
	r.until("both", func() bool { return r.count == 2 })
	d, ok := fd.Silence()
	if err := fd.Ready(); err != nil || !ok || d > 5*time.Second {
		t.Errorf("ready: %v, silence of %v while all brokers answer", err, d)
	}
	hang()
	began := time.Now()
	testkafka.Eventually(t, "the broker is named", func(context.Context) error {
		if err := fd.Ready(); err == nil || !strings.Contains(err.Error(), "broker 1 has not answered a read for") {
			return fmt.Errorf("ready: %w", err)
		}
		return nil
	})
	if d := time.Since(began); d > 15*time.Second {
		t.Errorf("it took %v to show, want 10 seconds and a poll", d)
	}
	if d, ok := fd.Silence(); !ok || d < 10*time.Second {
		t.Errorf("silence of %v", d)
	}
	f.produce(0, 1)
	r.until("the other broker", func() bool { return r.count == 3 })
	// One that begins now waits for no end of the broker that hangs, time and again,
	// before it takes what comes.
	late := newReader(t, fd, feed.Start{})
	for i := range 20 {
		began := time.Now()
		f.produce(0, 1)
		late.until("the other broker", func() bool { return late.count == i+1 })
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("a record of the other broker took %v", d)
		}
		<-time.After(100 * time.Millisecond)
	}
	if d := time.Since(fd.LastBeat()); d > 8*time.Second {
		t.Errorf("the last beat is %v ago although only a broker hangs", d)
	}
}
