package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/wire"
)

// Config says what to read and how much memory to use. Start from
// [DefaultConfig].
type Config struct {
	Topic string
	// TailBytes bounds the hot tail, CacheBytes the cache of older records:
	// records, their encodings and overhead.
	TailBytes, CacheBytes int64
	// BatchBytes bounds what one batch of a producer may decompress to, and at
	// four times as much what its records take in memory; a larger one is a
	// [Gap].
	BatchBytes int64
	// RecordBytes is what a record may decompress to for filters to look into it;
	// a larger one has its key as thread, and no tenant and no type.
	RecordBytes int
	// RefreshInterval is how often the metadata is read when nothing fails: new
	// partitions and a re-created topic are seen within it.
	RefreshInterval time.Duration
	// RequestTimeout bounds every request to a broker, long polling not
	// counted.
	RequestTimeout time.Duration
	// Linger returns how long to collect records after some came that do not fill
	// a segment. It is asked each time, with the number of brokers that are read,
	// so that it can follow what the records cost those who get them.
	Linger func(readers int) time.Duration
}

// DefaultConfig returns the configuration that a gateway uses unless told
// otherwise.
func DefaultConfig(topic string) Config {
	return Config{
		Topic: topic, TailBytes: 64 << 20, CacheBytes: 64 << 20, BatchBytes: 64 << 20, RecordBytes: wire.DefaultMaxBytes,
		RefreshInterval: 5 * time.Second, RequestTimeout: 10 * time.Second,
		Linger: func(int) time.Duration { return 0 },
	}
}

// minBytes is the least that TailBytes, CacheBytes and BatchBytes can be.
const minBytes = 1 << 20

// Validate reports every setting that cannot be used.
func (c Config) Validate() error {
	var errs []error
	if c.Topic == "" {
		errs = append(errs, errors.New("topic: must not be empty"))
	}
	if c.TailBytes < minBytes {
		errs = append(errs, fmt.Errorf("hot tail of %d bytes: at least %d are needed", c.TailBytes, minBytes))
	}
	if c.CacheBytes < minBytes {
		errs = append(errs, fmt.Errorf("cache of %d bytes: at least %d are needed", c.CacheBytes, minBytes))
	}
	if c.BatchBytes < minBytes {
		errs = append(errs, fmt.Errorf("batch of %d bytes: at least %d are needed", c.BatchBytes, minBytes))
	}
	if c.RecordBytes <= 0 {
		errs = append(errs, fmt.Errorf("record of %d bytes: must be above 0", c.RecordBytes))
	}
	if c.RefreshInterval <= 0 {
		errs = append(errs, fmt.Errorf("refresh interval %v: must be above 0", c.RefreshInterval))
	}
	if c.RequestTimeout <= 0 {
		errs = append(errs, fmt.Errorf("request timeout %v: must be above 0", c.RequestTimeout))
	}
	return errors.Join(errs...)
}

// Observer is told what the feed meets. Its methods are called from several
// goroutines and must not block.
type Observer interface {
	// Segment was added to the hot tail.
	Segment(*Segment)
	// PartitionError and RequestError report failures that are retried.
	PartitionError(partition int32, err error)
	RequestError(err error)
	// HistoryRead is called for each read of older records from Kafka.
	HistoryRead(partition int32)
}

type noObserver struct{}

func (noObserver) Segment(*Segment)            {}
func (noObserver) PartitionError(int32, error) {}
func (noObserver) RequestError(error)          {}
func (noObserver) HistoryRead(int32)           {}

// Feed reads one topic. Make it with [New], run it with [Feed.Run], read it
// with [Feed.NewReader].
type Feed struct {
	cfg      Config
	log      *slog.Logger
	observer Observer
	explain  func(error) error
	// connections knows why a broker cannot be connected to.
	connections kafkaclient.Connections

	// Long polls, reads of old records and questions each have a client of
	// their own: a broker answers the requests of one connection in turn.
	tail, past, questions *kgo.Client
	decompressor          kgo.Decompressor

	background context.Context
	stop       context.CancelFunc
	reads      sync.WaitGroup

	gen   atomic.Pointer[generation]
	super atomic.Pointer[supervisor]
	// leaderless holds the partitions that have no leader, as of the last look.
	leaderless atomic.Pointer[map[int32]bool]
	ready      chan struct{}

	endsOnce     coalesced[ends]
	lookOnce     coalesced[ResetReason]
	identityOnce coalesced[[16]byte]
	proveOnce    coalesced[struct{}]

	mu       sync.Mutex
	lastErr  error
	errSince time.Time
	lastBeat time.Time
}

// Deps are what a feed works with.
type Deps struct {
	// Options reach the cluster: brokers, TLS, SASL.
	Options  []kgo.Opt
	Logger   *slog.Logger
	Observer Observer
	// Explain adds the likely cause to an error for the log; nil adds what
	// [kafkaclient.Explain] knows.
	Explain func(error) error
}

// New makes a feed. It does not talk to a broker yet; Close frees what New
// made.
func New(cfg Config, deps Deps) (*Feed, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f := &Feed{cfg: cfg, log: deps.Logger, observer: deps.Observer, ready: make(chan struct{}), lastBeat: time.Now()}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.observer == nil {
		f.observer = noObserver{}
	}
	if f.explain = deps.Explain; f.explain == nil {
		f.explain = kafkaclient.Explain
	}
	f.background, f.stop = context.WithCancel(context.Background())
	// A client answers questions about metadata from what it learnt less than
	// this long ago; a leader that moved is asked for sooner than by default.
	options := append(slices.Clone(deps.Options), kgo.MetadataMinAge(minBackoff*2), kgo.MaxDecompressBatchBytes(int(min(cfg.BatchBytes, math.MaxInt32))), kgo.WithHooks(&f.connections))
	var clients [3]*kgo.Client
	for i := range clients {
		cl, err := kgo.NewClient(options...)
		if err != nil {
			for _, made := range clients[:i] {
				made.Close()
			}
			f.stop()
			return nil, fmt.Errorf("make Kafka client: %w", err)
		}
		clients[i] = cl
	}
	f.tail, f.past, f.questions = clients[0], clients[1], clients[2]
	// The client's own, since only that one has the bound.
	f.decompressor = f.tail.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	f.endsOnce.fn = func() (ends, error) {
		g := f.gen.Load()
		list, err := f.offsets(f.background, g, atEnd)
		return ends{of: g, list: list}, err
	}
	f.identityOnce.fn = func() ([16]byte, error) { return f.identity(f.background) }
	f.proveOnce.fn = f.prove
	f.lookOnce.fn = func() (ResetReason, error) { return f.refresh(f.background, f.gen.Load()) }
	return f, nil
}

// Close frees the feed after Run has returned, or if it never ran.
func (f *Feed) Close() {
	f.stop()
	f.endsOnce.wait()
	f.lookOnce.wait()
	f.identityOnce.wait()
	f.proveOnce.wait()
	f.reads.Wait()
	f.tail.Close()
	f.past.Close()
	f.questions.Close()
}

// Run reads until ctx ends and then returns nil. It never gives up: what fails
// is retried, shows in [Feed.Ready], and is logged where it lasts.
func (f *Feed) Run(ctx context.Context) error {
	watch, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { f.watch(watch) })
	defer watching.Wait()
	defer cancel()
	var prev *generation
	reason := ResetReason(0)
	for fails := 1; ctx.Err() == nil; fails++ {
		g, err := f.open(ctx, prev, reason)
		f.beat()
		if ctx.Err() != nil {
			break
		}
		f.noteMetadata(err)
		if err != nil {
			f.observer.RequestError(err)
			select {
			case <-ctx.Done():
			case <-time.After(backoff(fails)):
			}
			continue
		}
		f.log.Info("reading topic", "topic", g.topic, "stream", g.streamID, "partitions", len(g.parts))
		f.gen.Store(g)
		if prev == nil {
			close(f.ready)
		} else {
			prev.end(g)
		}
		fails = 0
		reason = f.live(ctx, g)
		if reason != 0 {
			f.log.Warn("the stream starts over", "reason", reason.String(), "stream", g.streamID)
		}
		prev = g
	}
	return nil
}

// Started is closed once the topic was seen and readers can be made.
func (f *Feed) Started() <-chan struct{} { return f.ready }

// Info describes the stream as it is now.
type Info struct {
	StreamID   string
	Topic      string
	Partitions []Partition
}

// Info returns the stream's identity and partitions; ok is false before the
// topic was seen.
func (f *Feed) Info() (info Info, ok bool) {
	g := f.gen.Load()
	if g == nil {
		return Info{}, false
	}
	return Info{StreamID: g.streamID, Topic: g.topic, Partitions: g.partitions()}, true
}

// StreamID returns the id of the stream that is read; "" before the topic was seen.
func (f *Feed) StreamID() string {
	if g := f.gen.Load(); g != nil {
		return g.streamID
	}
	return ""
}

// Partitions returns how many partitions the topic has; 0 before it was seen.
func (f *Feed) Partitions() int {
	if g := f.gen.Load(); g != nil {
		return g.count()
	}
	return 0
}

// Tail follows the hot tail as it grows, to find out whom new records concern.
// It is for one goroutine.
type Tail struct {
	f   *Feed
	g   *generation
	seq uint64
}

// Tail returns a follower that begins with the next segment.
func (f *Feed) Tail() *Tail { return &Tail{f: f} }

// Next returns the segments added since the last call, waiting for one. all is
// true when segments may have been dropped unseen or the stream started over:
// then they concern everybody. It returns ctx's cause when ctx ends.
func (t *Tail) Next(ctx context.Context) (segs []*Segment, all bool, err error) {
	select {
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	case <-t.f.ready:
	}
	if t.g == nil {
		t.g = t.f.gen.Load()
		t.seq, _ = t.g.ring.end()
		return nil, true, nil
	}
	for {
		segs, next, changed := t.g.ring.since(t.seq)
		if next > t.seq {
			all = next-t.seq > uint64(len(segs))
			t.seq = next
			return segs, all, nil
		}
		select {
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		case <-t.g.ended:
			t.g = t.g.next
			t.seq, _ = t.g.ring.end()
			return nil, true, nil
		case <-changed:
		}
	}
}

// TailBytes returns what the hot tail holds now, in bytes; CacheBytes what the
// cache of older records holds.
func (f *Feed) TailBytes() int64 {
	if g := f.gen.Load(); g != nil {
		return g.ring.bytes.Load()
	}
	return 0
}

// CacheBytes returns what the cache of older records holds now, in bytes.
func (f *Feed) CacheBytes() int64 {
	if g := f.gen.Load(); g != nil {
		return g.history.bytes.Load()
	}
	return 0
}

// LastBeat returns when the reading loops were last seen to go on, all of them. It
// moves whether or not there are records and whether or not the brokers answer.
func (f *Feed) LastBeat() time.Time {
	f.mu.Lock()
	last := f.lastBeat
	f.mu.Unlock()
	if s := f.super.Load(); s != nil {
		now := time.Now()
		for _, l := range s.loops() {
			if due := l.due(); now.After(due) && due.Before(last) {
				last = due
			}
		}
	}
	return last
}

// Silence returns how long a broker has owed an answer to a read, the longest of
// all brokers; long polling counts, so that up to half a second is no news. ok is
// false while no broker is read from, and then nothing is known.
func (f *Feed) Silence() (d time.Duration, ok bool) {
	if s := f.super.Load(); s != nil {
		now := time.Now()
		for _, l := range s.loops() {
			d, ok = max(d, l.silence(now)), true
		}
	}
	return d, ok
}

func (f *Feed) beat() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastBeat = time.Now()
}

// ends are the high watermarks of a generation.
type ends struct {
	of   *generation
	list map[int32]listed
}

// ends lists the high watermark of every partition of a generation as it is
// after the call began. Callers that come together share one request.
func (f *Feed) ends(ctx context.Context, g *generation) (map[int32]listed, error) {
	e, err := f.endsOnce.do(ctx)
	if e.of != g {
		return nil, cmp.Or(err, errAnotherTopic)
	}
	return e.list, err
}

// endsBelow reports whether a partition really ends before an offset. A new
// leader may know less for a moment, so it is asked more than once.
func (f *Feed) endsBelow(ctx context.Context, g *generation, p int32, offset int64) (bool, error) {
	for try := 1; ; try++ {
		ends, err := f.ends(ctx, g)
		end, ok := ends[p]
		switch {
		case !ok:
			return false, err
		case end.offset >= offset:
			return false, nil
		case try == confirmTries:
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(backoff(try)):
		}
	}
}

// startTries is how often what a client waits for is asked for: about a second in
// all, since the Kafka client keeps an answer that names no leader for a while.
const startTries = 6

// retried asks a few times for what a client waits for, until there is at least
// a part of it.
func retried(ctx context.Context, ask func() (map[int32]listed, error)) (map[int32]listed, error) {
	for try := 1; ; try++ {
		v, err := ask()
		if len(v) > 0 || try == startTries || errors.Is(err, errAnotherTopic) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, err
		case <-time.After(backoff(try)):
		}
	}
}
