package dashstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/redact"
	"github.com/dashflow/dashstream/internal/wire"
)

// Producer sends telemetry to Kafka. It is safe for concurrent use. Make one for the process with [New] and end it with
// Close.
type Producer struct {
	cfg      config
	logger   *slog.Logger
	client   *kgo.Client
	hooks    *hooks
	redactor *redact.Redactor // nil: redaction is off
	encoder  wire.Encoder

	clockWarned, traceWarned, unknownWarned atomic.Bool
	// abandoning is set when the client is closed: records it gives back are booked when it is.
	abandoning atomic.Bool

	mu      sync.Mutex
	wake    *sync.Cond // the sender waits here, with mu
	queue   queue
	handed  handedList
	threads map[string]*thread
	idle    threadList
	runs    map[*Run]struct{}
	closing bool // no run is begun any more
	closed  bool // nothing more is taken
	stopped bool // the sender ends

	counts         [typeCount]Counts
	degraded       [DegradationCount]uint64
	inFlight       int // of all types
	sending        int
	sendingBytes   int
	records        uint64
	latency        Latency
	evictedThreads uint64
	abandonedRuns  uint64
	reported       Counts // what was logged of it; the janitor's, then Close's
	round          uint64
	waiters        []*waiter

	senderDone chan struct{}
	janitor    chan struct{} // closed to end the janitor
	janitorEnd chan struct{}
	closeOnce  sync.Once
	closeErr   error
}

// Bounds on what the Kafka client holds. The queue before it is the large one, since there a message can still make room
// for a more important one.
const (
	maxSending      = 8192
	maxSendingBytes = 8 << 20
	takeAtOnce      = 64
)

// New returns a producer. It does not wait for Kafka: only mistakes in the options and unreadable certificate files are
// errors. See [Producer.Ready] for a check of the connection.
func New(opts ...Option) (*Producer, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("dashstream: %w", err)
	}
	p := &Producer{
		cfg:        cfg,
		logger:     cfg.logger,
		hooks:      &hooks{},
		redactor:   newRedactor(cfg),
		threads:    map[string]*thread{},
		runs:       map[*Run]struct{}{},
		senderDone: make(chan struct{}),
		janitor:    make(chan struct{}),
		janitorEnd: make(chan struct{}),
	}
	if p.redactor != nil {
		// Once for all: messages with state are not cleaned a second time when they are sent.
		p.cfg.kafka.TenantID = p.redactor.Text(p.cfg.kafka.TenantID)
	}
	p.wake = sync.NewCond(&p.mu)
	clientOpts, err := cfg.kafka.ClientOptions(cfg.logger, cfg.clientID)
	if err != nil {
		return nil, fmt.Errorf("dashstream: %w", err)
	}
	clientOpts = append(clientOpts,
		kgo.DefaultProduceTopic(cfg.kafka.Topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // murmur2 of the key, as all Kafka clients have it
		kgo.ProducerBatchMaxBytes(maxBatchBytes),
		kgo.ProducerBatchCompression(kgo.NoCompression()), // frames are compressed themselves
		kgo.ProducerLinger(cfg.linger),
		kgo.RecordDeliveryTimeout(cfg.deliveryTimeout),
		kgo.UnknownTopicRetries(-1),
		// Without this the client would try on for ever what a broker may have taken, and everything of that partition would
		// wait behind it. What is given up so has an unknown outcome and is not produced again; the client takes a new
		// producer epoch, so a late request of the old one is refused and the order holds.
		kgo.AllowIdempotentProduceCancellation(),
		kgo.MaxBufferedRecords(2*maxSending),
		kgo.WithHooks(p.hooks),
		kgo.DisableClientMetrics(),
	)
	if !cfg.kafka.SecurityProtocol.TLS() {
		// A broker that stops, or has too many clients, closes new connections without a word. The client takes that for a
		// lack of TLS or SASL, and would give up all messages for it; hooks.Failure has it for who asks. With TLS it is a
		// failed handshake, of which a certificate is the likelier cause.
		clientOpts = append(clientOpts, kgo.AlwaysRetryEOF())
	}
	p.client, err = kgo.NewClient(append(clientOpts, cfg.kafkaOpts...)...)
	if err != nil {
		return nil, fmt.Errorf("dashstream: %w", err)
	}
	go p.send()
	go p.watch()
	return p, nil
}

// A request for one partition is no larger than what a topic takes whose max.message.bytes nobody set, so that a topic not
// made by this project loses nothing. A frame leaves room in it for its key, headers and framing.
const (
	maxBatchBytes = 1 << 20
	maxFrameBytes = min(wire.MaxProducerBytes, maxBatchBytes-2<<10)
)

// Flush waits until everything emitted before it has an outcome, for as long as ctx and the flush timeout allow. The
// error is an [*IncompleteError] unless all of it was acknowledged.
func (p *Producer) Flush(ctx context.Context) error {
	ctx, cancel := p.deadline(ctx)
	defer cancel()
	p.mu.Lock()
	w := p.wait()
	p.mu.Unlock()
	stop := p.hurry(ctx)
	defer stop()
	found := p.search(ctx)
	var ended error
	select {
	case <-w.done:
	case <-ctx.Done():
		ended = context.Cause(ctx)
	}
	return p.result(w, ended, found())
}

var errFlushTimeout = errors.New("flush timeout")

func (p *Producer) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, p.cfg.flushTimeout, fmt.Errorf("%w of %s: %w", errFlushTimeout, p.cfg.flushTimeout, context.DeadlineExceeded))
}

// hurry makes the client send what lingers, and what comes meanwhile, without waiting for more.
func (p *Producer) hurry(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.client.Flush(ctx) // our own accounts tell how it went
	}()
	return func() { cancel(); <-done }
}

// Close ends all open runs, waits like Flush, drops what is left and closes the connection. Everything has an outcome
// when it returns. The error is an [*IncompleteError] unless all that was in flight at its call was acknowledged; that
// is logged too. Further calls wait for the first and return the same.
//
// A ctx that has ended leaves no time to send anything: at the end of a program give context.WithoutCancel(ctx), since the
// flush timeout bounds it anyway.
func (p *Producer) Close(ctx context.Context) error {
	p.closeOnce.Do(func() { p.closeErr = p.close(ctx) })
	return p.closeErr
}

// closeGrace is how much of the time of Close is kept for what the client has already: nothing is added to it, so that a
// broker that works can finish it.
const closeGrace = 500 * time.Millisecond

func (p *Producer) close(ctx context.Context) error {
	ctx, cancel := p.deadline(ctx)
	defer cancel()
	close(p.janitor)
	<-p.janitorEnd
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.endAllRuns()

	p.mu.Lock()
	p.closed = true
	w := p.wait()
	p.mu.Unlock()

	deadline, _ := ctx.Deadline()
	drain, drained := context.WithDeadline(ctx, deadline.Add(-min(closeGrace, max(0, time.Until(deadline))/2)))
	defer drained()
	stop := p.hurry(ctx)
	found := p.search(drain)
	var ended error
	select {
	case <-w.done:
	case <-drain.Done():
		ended = fmt.Errorf("closing ran out of time: %w", drain.Err())
	}
	p.stopSender()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	stop()
	reason := found()
	p.abandoning.Store(true)
	p.client.Close()
	p.abandon()
	err := p.result(w, ended, reason)
	var incomplete *IncompleteError
	if errors.As(err, &incomplete) && incomplete.Cause != nil {
		p.reportLoss("error", incomplete.Cause)
	} else {
		p.reportLoss()
	}
	return err
}

// stopSender ends the sender and drops what it has not handed to the client.
func (p *Producer) stopSender() {
	p.mu.Lock()
	p.stopped = true
	p.wake.Signal()
	p.mu.Unlock()
	<-p.senderDone
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.queue.first != nil {
		it := p.queue.first
		p.queue.remove(it)
		p.settle(it, dropped(DropShutdown))
	}
}

// abandon books what the client still had when it was closed. Its connections are closed by now, so that what was
// written was counted.
func (p *Producer) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.handed.first != nil {
		p.settle(p.handed.first, p.aborted(p.handed.first))
	}
}

// waiter waits for everything that was in flight when it was made. Producer.mu guards it.
type waiter struct {
	round                  uint64
	remaining              int
	acked, dropped, failed uint64
	err                    error // what the client said last of one that failed
	done                   chan struct{}
}

// wait makes a waiter. p.mu is held.
func (p *Producer) wait() *waiter {
	w := &waiter{round: p.round, remaining: p.inFlight, done: make(chan struct{})}
	p.round++
	if w.remaining == 0 {
		close(w.done)
		return w
	}
	p.waiters = append(p.waiters, w)
	return w
}

// result ends a waiter: ended is why it did not wait longer, found is what a search for the cause found.
func (p *Producer) result(w *waiter, ended, found error) error {
	p.mu.Lock()
	for i, other := range p.waiters {
		if other == w {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			break
		}
	}
	e := &IncompleteError{Acked: w.acked, Dropped: w.dropped, Failed: w.failed, InFlight: uint64(w.remaining), Err: ended}
	said := w.err
	p.mu.Unlock()
	if e.InFlight == 0 && e.Dropped == 0 && e.Failed == 0 {
		return nil
	}
	e.Cause = p.cause(found, said)
	return e
}
