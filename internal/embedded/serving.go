package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// serving is a kfake cluster on the data directory and what runs beside it.
type serving struct {
	cluster   *kfake.Cluster
	fakeLog   *fakeLogger
	ends      *ends
	retention *retention
	failure   *writeFailure
	syncer    *syncer // nil without Fsync
	began     time.Time
	unsynced  []string // after close: files to write anew

	stop    context.CancelFunc
	running sync.WaitGroup
}

const (
	minReopenDelay = 250 * time.Millisecond
	maxReopenDelay = 10 * time.Second
)

func (b *Broker) current() *serving {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.serving
}

func (b *Broker) setCurrent(s *serving, down error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serving, b.down = s, down
}

// open puts the log right and serves it. On a disk that is full, also without the reserve, it serves what is there and
// has failure set.
func (b *Broker) open(ctx context.Context) (_ *serving, err error) {
	s := &serving{failure: newWriteFailure(), began: time.Now()}
	in := b.ln.intake()
	failed := func(err error) {
		if s.failure.set(err) {
			b.logger.Error("a write failed; no records are taken until writing works again", "error", err)
		}
		// The answer to the request at hand must not go out: it says of some batches that they failed for good.
		b.ln.drop()
	}
	s.fakeLog = newFakeLogger(b.logger, failed)
	if b.opts.Fsync {
		s.syncer = newSyncer(b.dir.log(), b.opts.syncFile, failed)
		in.flush = s.syncer.flush
	}

	reached, err := readEnds(b.dir.log(), b.dir.id.ClusterID, b.logger)
	if err != nil {
		return nil, err
	}
	starts := &logStarts{log: b.dir.log(), reserve: b.reserve}
	rec := &recovery{log: b.dir.log(), starts: starts, logger: b.logger, ends: reached, lost: b.changeID}
	err = b.reserve.retry(func() error { return rec.run(ctx) })
	if diskFull(err) {
		s.failure.set(err)
		rec.full = true
		err = rec.run(ctx)
	}
	if err != nil {
		return nil, err
	}
	stateLogBytes, err := stateLogBytes(b.dir.log())
	if err != nil {
		return nil, err
	}
	if s.cluster, err = kfake.NewCluster(b.fakeOptions(in, s.fakeLog, stateLogBytes)...); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.cluster.Close()
			if s.syncer != nil {
				s.syncer.close()
			}
		}
	}()
	if s.syncer != nil {
		topics, _, err := readTopics(b.dir.log())
		if err != nil {
			return nil, err
		}
		for _, t := range topics {
			for p := range t.Partitions {
				s.syncer.add(t.Name, p)
			}
		}
	}
	if err := rec.finish(s.cluster); err != nil {
		return nil, err
	}
	s.ends = &ends{log: b.dir.log(), id: b.dir.id.ClusterID, fsync: b.opts.Fsync, logger: b.logger, cluster: s.cluster, flush: in.flush}
	err = b.reserve.retry(func() error { return s.ends.record(true) })
	if diskFull(err) {
		s.failure.set(err)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	// The names of a first start's files have to be on disk before a client's records are.
	if err := syncDir(b.dir.log()); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if err := s.failure.get(); err != nil {
		b.logger.Error("the disk is full; the log is served, but no records are taken until there is room", "error", err)
	}

	(&requests{cluster: s.cluster, starts: starts, failure: s.failure, syncer: s.syncer, batches: newAdmission(s.cluster, b.logger),
		byTime: newByTime(s.cluster, b.dir.log(), b.logger), logger: b.logger}).install()
	s.retention = &retention{cluster: s.cluster, log: b.dir.log(), starts: starts, logger: b.logger, now: make(chan struct{}, 1)}
	running, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.running.Go(func() { s.retention.run(running, b.opts.RetentionInterval) })
	s.running.Go(func() { s.ends.run(running) })
	close(in.open)
	return s, nil
}

// close ends the cluster and returns what could not be written. inOrder is that of a broker that ends.
func (s *serving) close(inOrder bool) error {
	s.stop()
	s.running.Wait() // kfake's methods block for ever once it is closed
	var err error
	if inOrder {
		err = s.ends.record(false)
	}
	s.fakeLog.keepErrors()
	s.cluster.Close()
	if s.syncer != nil {
		s.unsynced = s.syncer.close()
	}
	return errors.Join(err, s.fakeLog.kept())
}

// supervise replaces a cluster one of whose writes failed, as often as that happens, until ctx ends.
func (b *Broker) supervise(ctx context.Context) {
	delay := minReopenDelay
	for {
		s := b.current()
		select {
		case <-ctx.Done():
			return
		case <-s.failure.happened:
		}
		// What fails again soon is not tried at the same pace for ever: clients lose their connections each time.
		if time.Since(s.began) > 2*maxReopenDelay {
			delay = minReopenDelay
		}
		if !b.reopen(ctx, &delay) {
			return
		}
	}
}

// reopen waits until writing works and serves the log anew; false means that ctx ended.
func (b *Broker) reopen(ctx context.Context, delay *time.Duration) bool {
	var unsynced []string
	for {
		s := b.current()
		if s != nil {
			s.retention.checkNow() // it may make room
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(*delay):
		}
		*delay = min(2*(*delay), maxReopenDelay)
		if err := b.reserve.probe(); err != nil {
			b.logger.Debug("writing does not work yet", "error", err)
			*delay = min(*delay, 4*minReopenDelay) // looking costs no one anything
			continue
		}
		began := time.Now()
		if s != nil {
			b.setCurrent(nil, s.failure.get())
			if err := s.close(false); err != nil {
				b.logger.Warn("state could not be written before the log is read anew", "error", err)
			}
			unsynced = s.unsynced
		}
		var next *serving
		err := rewrite(unsynced)
		if err == nil {
			unsynced = nil
			next, err = b.open(ctx)
		}
		if err != nil {
			b.setCurrent(nil, err)
			b.logger.Error("the log could not be opened anew", "error", err, "retry_in", *delay)
			continue
		}
		b.setCurrent(next, nil)
		if next.failure.get() == nil {
			b.logger.Info("writing works again; the log was read anew", "took", time.Since(began).Round(time.Millisecond))
		}
		return true
	}
}
