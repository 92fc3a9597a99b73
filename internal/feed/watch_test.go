package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// An outage is said once a minute, a failure that comes back within seconds is the
// same outage, and its end is said once, with how long it was.
func TestALongOutageIsSaidAgainAndEndsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log lockedLog
		f := &Feed{log: slog.New(slog.NewTextHandler(&log, nil)), explain: func(err error) error { return err }}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.watch(ctx)
		}()
		bad := errors.New("no broker")
		said := func(when, msg string, want int) {
			t.Helper()
			synctest.Wait()
			if n := strings.Count(log.String(), msg); n != want {
				t.Errorf("%s: %q was said %d times, want %d:\n%s", when, msg, n, want, log.String())
			}
		}
		const fails, well = "the log cannot be read", "all partitions are being read again"
		f.noteMetadata(bad)
		time.Sleep(saidAfter)
		f.noteMetadata(nil)
		time.Sleep(10 * time.Second)
		said("after a short failure", fails, 0)

		f.noteMetadata(bad)
		time.Sleep(saidAfter + 2*time.Second)
		said("after seconds", fails, 1)
		time.Sleep(2 * time.Minute)
		said("after two minutes", fails, 3)
		f.noteMetadata(nil)
		time.Sleep(saidAfter - time.Second)
		f.noteMetadata(bad)
		time.Sleep(10 * time.Second)
		said("when it fails again at once", fails, 3)
		said("when it fails again at once", well, 0)
		f.noteMetadata(nil)
		time.Sleep(10 * time.Second)
		said("in the end", well, 1)
		if want := "after=2m1"; !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s…:\n%s", want, log.String())
		}
		cancel()
		<-ended
	})
}

// A gateway that may not read looked ready for ten seconds.
func TestAMissingPermissionIsTroubleAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tt := range []struct {
		err     error
		trouble bool
	}{
		{kerr.TopicAuthorizationFailed, true},
		{kerr.NotLeaderForPartition, false}, // it will have another leader
	} {
		g := &generation{parts: []*partition{{id: 0}, {id: 1, err: fmt.Errorf("partition 1: %w", tt.err), errSince: now}}}
		var f Feed
		f.gen.Store(g)
		if reasons, _ := f.trouble(now, failingAfter); (len(reasons) > 0) != tt.trouble {
			t.Errorf("%v: trouble %v, want %v", tt.err, reasons, tt.trouble)
		}
		if reasons, _ := f.trouble(now.Add(2*failingAfter), failingAfter); len(reasons) != 1 {
			t.Errorf("%v, after a while: %v", tt.err, reasons)
		}
	}
}
