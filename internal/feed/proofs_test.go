package feed_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
)

// cursorOf reads what is there of two partitions, led by one broker, and returns
// the place after it.
func cursorOf(t *testing.T, f *faulty) feed.Cursor {
	t.Helper()
	for p := range int32(2) {
		if err := f.MoveTopicPartition(f.topic, p, 0); err != nil {
			t.Fatal(err)
		}
		f.produce(p, 10)
	}
	var c feed.Cursor
	t.Run("a gateway that ends", func(t *testing.T) {
		r := newReader(t, runFeed(t, feed.DefaultConfig(f.topic), f.ListenAddrs()), feed.Start{Earliest: true})
		r.until("what was there", func() bool { return r.count == 20 && r.caught })
		c = r.r.Cursor()
	})
	if len(c.Epochs) != 2 {
		t.Fatalf("cursor %v, want an epoch of each partition", c)
	}
	return c
}

// A client that was away while the log was cut and grew again comes back to other
// records at its offsets: only the epoch of what it read tells.
func TestACursorFromBeforeTheLogWasCut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end    int64
		reset  bool
		forget bool // a client that knows no epochs
	}{
		"cut":                         {end: 7, reset: true},
		"whole":                       {end: 10},
		"unknown":                     {end: -1},
		"cut, by a client of offsets": {end: 7, forget: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, 2, kfake.NumBrokers(2))
			c := cursorOf(t, f)
			if err := f.MoveTopicPartition(f.topic, 0, 1); err != nil {
				t.Fatal(err)
			}
			asked := f.answerEpochs(tc.end)
			f.produce(0, 5)
			f.produce(1, 5)
			if tc.forget {
				c.Epochs = nil
			}
			fd := f.feed(nil)
			r := newReader(t, fd, feed.Start{Cursor: &c})
			if tc.reset {
				r.until("a reset", func() bool { return len(r.resets) > 0 })
				if r.resets[0].Reason != feed.ResetTruncated || r.count != 0 {
					t.Errorf("resets %v after %d records, want one for a cut log before any record", r.resets, r.count)
				}
				r.until("the log from its start", func() bool { return r.count == 30 && r.caught })
				return
			}
			r.until("the rest", func() bool { return r.count == 10 && r.caught })
			if len(r.resets) > 0 {
				t.Errorf("resets %v, want none", r.resets)
			}
			// Many clients come back: what one leader said of a past epoch holds for all.
			for range 20 {
				newReader(t, fd, feed.Start{Cursor: &c}).until("the rest", func() bool { return true })
			}
			if n := asked.Load(); tc.forget != (n == 0) || n > 1 {
				t.Errorf("%d questions for 21 clients, want one, or none where there is no epoch", n)
			}
		})
	}
}

// Without an election there is nothing to ask.
func TestACursorOfTheSameLeaderAsksNothing(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 2, kfake.NumBrokers(2))
	c := cursorOf(t, f)
	asked := f.answerEpochs(1)
	f.produce(0, 5)
	r := newReader(t, f.feed(nil), feed.Start{Cursor: &c})
	r.until("the rest", func() bool { return r.count == 5 && r.caught })
	if len(r.resets) > 0 || asked.Load() != 0 {
		t.Errorf("resets %v after %d questions, want none of both", r.resets, asked.Load())
	}
}

// As long as nobody tells whether the log holds what a client has, the partition is
// not read for it; the others are, and it has not caught up.
func TestACursorThatNobodyProvesWaits(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 2, kfake.NumBrokers(2))
	c := cursorOf(t, f)
	if err := f.MoveTopicPartition(f.topic, 0, 1); err != nil {
		t.Fatal(err)
	}
	silent := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetForLeaderEpoch}, Topic: f.topic, Err: kerr.NotLeaderForPartition, Count: -1})
	f.produce(0, 5) // to be read from the log, and below, as it comes
	fd := f.feed(nil)
	r := newReader(t, fd, feed.Start{Cursor: &c})
	f.produce(0, 5)
	f.produce(1, 5)
	r.until("the other partition", func() bool { return r.next[1] == 15 })
	if r.caught || r.next[0] > 10 {
		t.Errorf("caught up: %v, partition 0 at %d; nobody told whether its log holds what was read", r.caught, r.next[0])
	}
	if got := r.r.Cursor(); got.Offsets[0] != 10 || got.Epochs[0] != c.Epochs[0] {
		t.Errorf("cursor %v, want partition 0 where it was in %v", got, c)
	}
	silent.Remove()
	r.until("the rest", func() bool { return r.count == 15 && r.caught })
	if len(r.resets)+len(r.gaps) > 0 {
		t.Errorf("resets %v, gaps %v, want none", r.resets, r.gaps)
	}
}

// A client may know more of a partition than the gateway that it comes to, which has
// trouble with it. What that finds out about the next leader is not about the rest.
func TestACursorAheadOfTheGatewayIsJudgedWhenThatComesThere(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end   int64
		reset bool
	}{"cut above what the gateway has read": {25, true}, "whole": {30, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, 2, kfake.NumBrokers(2))
			c := cursorOf(t, f)
			fd := f.feed(nil)
			newReader(t, fd, feed.Start{Cursor: &c}).until("the end", func() bool { return true })
			blind := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: f.topic, Partitions: []int32{0}, Err: kerr.KafkaStorageError, Count: -1})
			f.produce(0, 20)
			c.Offsets[0] = 30 // as from another gateway
			r := newReader(t, fd, feed.Start{Cursor: &c})
			r.until("caught up", func() bool { return r.caught })
			f.answerEpochs(tc.end)
			if err := f.MoveTopicPartition(f.topic, 0, 1); err != nil {
				t.Fatal(err)
			}
			f.produce(0, 5)
			blind.Remove()
			if tc.reset {
				r.until("a reset", func() bool { return len(r.resets) > 0 })
				if r.resets[0].Reason != feed.ResetTruncated || r.count != 0 {
					t.Errorf("resets %v after %d records, want one for a cut log before any record", r.resets, r.count)
				}
				return
			}
			r.until("the rest", func() bool { return r.count == 5 })
			if len(r.resets) > 0 {
				t.Errorf("resets %v, want none", r.resets)
			}
		})
	}
}
