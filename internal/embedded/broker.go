package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Broker is a running broker. Its methods may be called from several goroutines.
type Broker struct {
	opts    Options
	dir     *dataDir
	ln      *listener
	reserve *reserve
	logger  *slog.Logger

	stopSupervising context.CancelFunc
	supervising     sync.WaitGroup

	mu        sync.Mutex
	serving   *serving // nil while one could not be opened
	down      error    // why serving is nil
	clusterID string

	closing  sync.Once
	closed   chan struct{} // closed when shutting down is complete
	closeErr error         // set before closed
}

// Start opens the data directory, creating it when absent, and serves it. When Start returns, clients can connect.
// ctx bounds the start alone; the broker runs until Close.
//
// The error wraps ErrLocked when another process serves the directory, and names the directory, file or address at fault
// otherwise. A full disk is no error: what is there is served, and WriteError tells.
func Start(ctx context.Context, opts Options) (*Broker, error) {
	opts = opts.withDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	b := &Broker{opts: opts, logger: opts.Logger, closed: make(chan struct{})}
	if err := b.start(ctx); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	return b, nil
}

func (b *Broker) start(ctx context.Context) (err error) {
	var undo []func() error
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				err = errors.Join(err, undo[i]())
			}
		}
	}()

	if b.dir, err = openDataDir(b.opts.DataDir); err != nil {
		return err
	}
	undo = append(undo, b.dir.release)
	b.reserve, b.clusterID = b.dir.reserve, b.dir.id.ClusterID

	addr, err := loopbackAddr(b.opts.Listen)
	if err != nil {
		return err
	}
	if b.ln, err = listen(ctx, addr, b.opts.requestBytes, b.logger); err != nil {
		return err
	}
	undo = append(undo, b.ln.Close)

	if b.serving, err = b.open(ctx); err != nil {
		return fmt.Errorf("data directory %s: %w", b.dir.path, err)
	}
	if b.serving.failure.get() == nil {
		if err := b.reserve.keep(); err != nil {
			b.logger.Warn("there is no room for a reserve, which lets retention make room on a full disk", "bytes", reserveBytes, "error", err)
		}
	}
	supervision, cancel := context.WithCancel(context.Background())
	b.stopSupervising = cancel
	b.supervising.Go(func() { b.supervise(supervision) })
	b.logger.Info("embedded broker started", "addr", b.Addr(), "data_dir", b.dir.path, "cluster_id", b.ClusterID(), "fsync", b.opts.Fsync)
	return nil
}

func (b *Broker) fakeOptions(in *intake, log *fakeLogger, stateLogBytes int64) []kfake.Opt {
	// kfake's own ticker removes the newest record with the oldest when timestamps are out of order, compacts by rewriting
	// files in place and does not run after a restart. It is set to never; retention is ours.
	const never = 100 * 365 * 24 * time.Hour
	return []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID(b.dir.id.ClusterID),
		kfake.DataDir(b.dir.log()),
		kfake.ListenFn(in.listenFn),
		kfake.WithLogger(log),
		kfake.DefaultNumPartitions(1),
		kfake.GroupMaxSessionTimeout(30 * time.Minute), // Kafka's default
		kfake.BrokerConfigs(map[string]string{
			"message.max.bytes":            strconv.Itoa(MaxMessageBytes),
			"log.segment.bytes":            strconv.FormatInt(b.opts.SegmentBytes, 10),
			"state.log.compact.bytes":      strconv.FormatInt(stateLogBytes, 10),
			"log.cleaner.backoff.ms":       strconv.FormatInt(never.Milliseconds(), 10),
			"group.max.session.timeout.ms": strconv.FormatInt((30 * time.Minute).Milliseconds(), 10),
			"default.replication.factor":   "1",
		}),
	}
}

// Addr is the address clients connect to, with the real port.
func (b *Broker) Addr() string { return b.ln.Addr().String() }

// changeID makes the directory another stream, after records that clients may have seen were lost.
func (b *Broker) changeID() error {
	old := b.dir.id.ClusterID
	if err := b.dir.changeID(); err != nil {
		return err
	}
	b.mu.Lock()
	b.clusterID = b.dir.id.ClusterID
	b.mu.Unlock()
	b.logger.Warn("the log gets a new cluster id, so that clients start over rather than go on at offsets that other records will have",
		"was", old, "is", b.dir.id.ClusterID)
	return nil
}

// ClusterID is the id made when the data directory was. It is kept unless a start finds that records are lost.
func (b *Broker) ClusterID() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clusterID
}

// WriteError says why the broker takes no records, as while the disk is full; nil when it does. Producers get an error
// that they retry, readers are served, and the broker goes on by itself when it can write again.
func (b *Broker) WriteError() error {
	b.mu.Lock()
	err := b.down
	if b.serving != nil {
		err = b.serving.failure.get()
	}
	b.mu.Unlock()
	if err == nil {
		return nil
	}
	return fmt.Errorf("the embedded broker takes no records, until it can write again: %w", err)
}

// Close stops accepting, finishes the request at hand, writes the state that makes the next start fast, closes the
// connections and gives the directory up. When ctx ends first, Close returns its cause and shutting down goes on in the
// background. Further calls wait for the first and return the same.
func (b *Broker) Close(ctx context.Context) error {
	b.closing.Do(func() { go b.shutdown() })
	select {
	case <-b.closed:
		return b.closeErr
	case <-ctx.Done():
		return fmt.Errorf("embedded broker: close: %w", context.Cause(ctx))
	}
}

func (b *Broker) shutdown() {
	defer close(b.closed)
	start := time.Now()
	lnErr := b.ln.Close()
	b.stopSupervising()
	b.supervising.Wait()
	var servingErr error
	if s := b.current(); s != nil {
		servingErr = s.close(true)
	}
	// kfake tells its connections to end but does not wait for them; they end at once.
	ctx, cancel := context.WithTimeout(context.Background(), stallTimeout)
	defer cancel()
	b.closeErr = errors.Join(lnErr, servingErr, b.ln.drain(ctx), b.dir.release())
	if b.closeErr != nil {
		b.closeErr = fmt.Errorf("embedded broker: close (the log is whole; the next start reads it): %w", b.closeErr)
	}
	b.logger.Info("embedded broker stopped", "addr", b.Addr(), "took", time.Since(start).Round(time.Millisecond))
}
