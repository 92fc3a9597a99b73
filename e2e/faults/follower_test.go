package faults

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testlog"
	"github.com/dashflow/dashstream/internal/testprocess"
	"github.com/dashflow/dashstream/internal/wire"
)

// kinds are the clients that there are.
var kinds = []string{"dashstream.v1+proto", "dashstream.v1+json", "sse"}

// follower is a client that comes back with the cursor that it wrote down, whatever happens, and keeps what it applied.
type follower struct {
	t    *testing.T
	kind string
	// seen is all that it applied, of each record what can be compared. Whoever runs it owns it.
	seen    []seen
	last    *testclient.Client
	applied atomic.Int64
	// resumed counts the sessions after the first.
	resumed atomic.Int64
	// lastError is why the last session ended.
	lastError error
}

// seen is a record as a client got it: the stored bytes, or the message.
type seen struct {
	place    *streampb.Record
	value    [sha256.Size]byte
	thread   string
	sequence uint64
}

func (f *follower) apply(r *streampb.Record) {
	s := seen{place: &streampb.Record{Partition: r.Partition, Offset: r.Offset}}
	if f.kind == kinds[0] {
		s.value = sha256.Sum256(r.GetValue())
	} else {
		h := wire.HeaderOf(r.GetMessage())
		s.thread, s.sequence = h.GetThreadId(), h.GetSequence()
	}
	f.seen = append(f.seen, s)
	f.applied.Add(1)
}

// connect begins a session where the last one ended.
func (f *follower) connect(url string) (*testclient.Client, error) {
	if f.kind == "sse" {
		if f.last == nil {
			return testclient.TrySSE(f.t, url, "?from=earliest", "")
		}
		return testclient.TrySSE(f.t, url, "", f.last.LastEventID)
	}
	c, err := testclient.TryDial(f.t, url, f.kind, nil)
	if err != nil {
		return nil, err
	}
	start := testclient.Earliest()
	if f.last != nil {
		start = f.last.Resume()
	}
	if err := c.TrySubscribe(start, nil); err != nil {
		return nil, err
	}
	return c, nil
}

// session reads until ctx or the session ends.
func (f *follower) session(ctx context.Context, url string) error {
	c, err := f.connect(url)
	if err != nil {
		return err
	}
	defer c.Close()
	if f.last != nil {
		f.resumed.Add(1)
	}
	for {
		if err := c.Step(ctx); err != nil {
			return err
		}
		if len(c.Gaps)+len(c.Resets)+len(c.Errors) > 0 {
			f.t.Fatalf("%s: gaps %v, resets %v, errors %v", f.kind, c.Gaps, c.Resets, c.Errors)
		}
		for _, r := range c.Records {
			f.apply(r)
		}
		c.Records = nil
		if len(c.Positions) > 0 {
			f.last = c // what it came with has been applied
		}
	}
}

// followers is one of each kind, running.
type followers struct {
	t    *testing.T
	url  string
	all  []*follower
	stop context.CancelFunc
	done sync.WaitGroup
}

// follow begins to follow a server at an address, where it may come and go.
func follow(t *testing.T, url string) *followers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	fs := &followers{t: t, url: url, stop: cancel}
	for _, kind := range kinds {
		f := &follower{t: t, kind: kind}
		fs.all = append(fs.all, f)
		fs.done.Go(func() {
			for ctx.Err() == nil {
				f.lastError = f.session(ctx, url)
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); fs.done.Wait() })
	return fs
}

// applied is how many records each has.
func (fs *followers) applied() []int64 {
	var out []int64
	for _, f := range fs.all {
		out = append(out, f.applied.Load())
	}
	return out
}

// moving waits until each has more records than it had.
func (fs *followers) moving(what string) {
	fs.t.Helper()
	before := fs.applied()
	testprocess.Eventually(fs.t, what, func() error {
		for i, f := range fs.all {
			if f.applied.Load() <= before[i] {
				return fmt.Errorf("%s has still %d records", f.kind, before[i])
			}
		}
		return nil
	})
}

// complete waits until each has as many records as the log, ends them, and fails unless they are those of the log, each
// once and in order.
func (fs *followers) complete(log testlog.Log) {
	fs.t.Helper()
	testprocess.Eventually(fs.t, "the clients have all", func() error {
		for _, f := range fs.all {
			if n := f.applied.Load(); n < int64(log.Len()) {
				return fmt.Errorf("%s has %d records of %d", f.kind, n, log.Len())
			}
		}
		return nil
	})
	fs.stop()
	fs.done.Wait()
	for _, f := range fs.all {
		places := make([]*streampb.Record, len(f.seen))
		for i, s := range f.seen {
			places[i] = s.place
			e := log.At(s.place.GetPartition(), s.place.GetOffset())
			if f.kind == kinds[0] && s.value != sha256.Sum256([]byte(e.Value)) || f.kind != kinds[0] && (s.thread != e.Thread || s.sequence != e.Sequence) {
				fs.t.Fatalf("%s: partition %d offset %d is not what the log has", f.kind, s.place.GetPartition(), s.place.GetOffset())
			}
		}
		testclient.Complete(fs.t, places, log.Counts()...)
	}
}

// resumed counts sessions after the first.
func (fs *followers) resumed() (n int) {
	for _, f := range fs.all {
		n += int(f.resumed.Load())
	}
	return n
}
