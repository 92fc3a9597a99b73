package feed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

const (
	// failingAfter is how long a failure, or the silence of a broker, lasts before the
	// feed is not ready: a leader election takes a few seconds and is no reason to
	// send clients away.
	failingAfter = 10 * time.Second
	// saidAfter is how long it lasts before a log line says so, and how long all is
	// well before one says that.
	saidAfter = 3 * time.Second
	// saidEvery is how often it is said again, and lookInterval how often it is
	// looked after.
	saidEvery    = time.Minute
	lookInterval = time.Second
)

// Ready returns nil while every partition is being read, or what is wrong now:
// reasons that are joined.
func (f *Feed) Ready() error {
	if f.gen.Load() == nil {
		if err := f.lastError(); err != nil {
			return err
		}
		return ErrNotReady
	}
	reasons, _ := f.trouble(time.Now(), failingAfter)
	return errors.Join(reasons...)
}

// trouble lists what has kept the feed from reading for longer than lasting, and
// since when the first of it does.
func (f *Feed) trouble(now time.Time, lasting time.Duration) (reasons []error, since time.Time) {
	note := func(at time.Time, allowed time.Duration, reason func() error) {
		if now.Sub(at) <= allowed {
			return
		}
		if since.IsZero() || at.Before(since) {
			since = at
		}
		if reason != nil {
			reasons = append(reasons, reason())
		}
	}
	f.mu.Lock()
	err, errSince := f.lastErr, f.errSince
	f.mu.Unlock()
	if err != nil {
		note(errSince, bearable(err, lasting), func() error { return err })
	}
	if s := f.super.Load(); s != nil {
		loops := s.loops()
		for _, broker := range slices.Sorted(maps.Keys(loops)) {
			if d := loops[broker].silence(now); d > 0 {
				note(now.Add(-d), liveMaxWait+lasting, func() error { return f.silent(broker, d) })
			}
		}
	}
	g := f.gen.Load()
	if g == nil {
		return reasons, since
	}
	// A broker that is gone fails for all its partitions: that is one reason.
	type group struct {
		first Partition
		more  int
	}
	var groups []*group
	byText := map[string]*group{}
	for _, p := range g.partitions() {
		if p.Err == nil || now.Sub(p.ErrSince) <= bearable(p.Err, lasting) {
			continue
		}
		note(p.ErrSince, bearable(p.Err, lasting), nil)
		text := p.Err.Error()
		if inner := errors.Unwrap(p.Err); inner != nil {
			text = inner.Error()
		}
		if same := byText[text]; same != nil {
			same.more++
			continue
		}
		byText[text] = &group{first: p}
		groups = append(groups, byText[text])
	}
	for _, gr := range groups {
		err := gr.first.Err
		if gr.more > 0 {
			err = fmt.Errorf("%w (and %d more partitions)", err, gr.more)
		}
		reasons = append(reasons, err)
	}
	return reasons, since
}

// bearable is how long a failure may last before it is trouble. A permission that is missing does not come by itself: a
// gateway that may not read must not look ready for seconds, in which those that it replaces are stopped.
func bearable(err error, lasting time.Duration) time.Duration {
	if kafkaclient.Classify(err) == kafkaclient.ClassAuthorization {
		return -1
	}
	return lasting
}

// silent says that a broker owes an answer, and why where that is known.
func (f *Feed) silent(broker int32, d time.Duration) error {
	err := fmt.Errorf("broker %d has not answered a read for %v", broker, d.Round(time.Second))
	if why := f.connections.FailureOf(broker); why != nil {
		err = fmt.Errorf("%w: %w", err, why)
	}
	return err
}

// watch logs that reading fails, and that it goes on, until ctx ends.
func (f *Feed) watch(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	var o outage
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			o.look(f)
		}
	}
}

// outage is what was said of reading that fails; the zero value is nothing.
type outage struct {
	since, said time.Time
	// well is since when reading goes on, before that is said.
	well time.Time
}

func (o *outage) look(f *Feed) {
	now := time.Now()
	lasting := saidAfter
	if !o.since.IsZero() {
		lasting = lookInterval // what fails again at once is the same outage
	}
	reasons, since := f.trouble(now, lasting)
	if len(reasons) == 0 {
		switch {
		case o.since.IsZero():
		case o.well.IsZero():
			o.well = now
		case now.Sub(o.well) >= saidAfter:
			f.log.Info("all partitions are being read again", "after", o.well.Sub(o.since).Round(time.Second))
			*o = outage{}
		}
		return
	}
	o.well = time.Time{}
	if o.since.IsZero() || since.Before(o.since) {
		o.since = since
	}
	if !o.said.IsZero() && now.Sub(o.said) < saidEvery {
		return
	}
	o.said = now
	unread, all := 0, 0
	if g := f.gen.Load(); g != nil {
		unread, all = f.unread(g, now)
	}
	f.log.Warn("the log cannot be read", "for", now.Sub(o.since).Round(time.Second), "partitions_unread", unread, "partitions", all,
		"error", strings.ReplaceAll(f.explain(errors.Join(reasons...)).Error(), "\n", "; "))
}

// unread counts the partitions that are not being read: they fail, nobody tells
// where they begin, or their broker is silent.
func (f *Feed) unread(g *generation, now time.Time) (unread, all int) {
	var loops map[int32]*brokerLoop
	if s := f.super.Load(); s != nil {
		loops = s.loops()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.parts {
		l := loops[p.leader]
		if p.err != nil || p.next < 0 || l != nil && l.silence(now) > liveMaxWait+saidAfter {
			unread++
		}
	}
	return unread, len(g.parts)
}

func (f *Feed) noteMetadata(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.lastErr = nil
		return
	}
	if f.lastErr == nil {
		f.errSince = time.Now()
	}
	f.lastErr = err
}

func (f *Feed) lastError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lastErr
}
