package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/dashflow/dashstream/internal/aggregate"
	"github.com/dashflow/dashstream/internal/deadletter"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/metrics"
	"github.com/dashflow/dashstream/internal/wire"
)

// Config says what to read and how. Start from [DefaultConfig].
type Config struct {
	Topic, Group string
	// Reset is where a group without commits begins.
	Reset kafkaclient.OffsetReset
	// Limits of a record; a larger one cannot be handled.
	Limits    wire.Limits
	Aggregate aggregate.Config
	// Policy is what becomes of a record that cannot be handled, DeadLetters how evidence of it is kept in DeadLetterTopic.
	Policy          kafkaclient.DecodePolicy
	DeadLetters     deadletter.Settings
	DeadLetterTopic string
	// CommitInterval is how often what was handled is committed: so much is read again after a crash.
	CommitInterval time.Duration
	// RequestTimeout bounds a question to a broker, and a commit before partitions are given away.
	RequestTimeout time.Duration
	// SessionTimeout is how long the group waits for a member that says nothing.
	SessionTimeout time.Duration
	// EndsInterval is how often the ends of partitions are asked for.
	EndsInterval time.Duration
}

// DefaultConfig returns the configuration of an exporter of a topic.
func DefaultConfig(topic string) Config {
	return Config{
		Topic: topic, Group: DefaultGroup, Reset: kafkaclient.ResetEarliest,
		Limits:    wire.Limits{Framed: wire.DefaultMaxBytes, Decoded: wire.DefaultMaxBytes},
		Aggregate: aggregate.DefaultConfig(), Policy: kafkaclient.DecodeSkip, DeadLetters: deadletter.DefaultSettings(), DeadLetterTopic: topic + "-dlq", CommitInterval: time.Second,
		RequestTimeout: kafkaclient.DefaultRequestTimeout, SessionTimeout: kafkaclient.DefaultSessionTimeout,
		EndsInterval: kafkaclient.DefaultLagCheckInterval,
	}
}

// NewConfig turns valid settings into the configuration of an exporter; maxBytes is the largest record.
func NewConfig(s Settings, kafka kafkaclient.Settings, maxBytes int) Config {
	c := DefaultConfig(kafka.Topic)
	if kafka.GroupID != "" {
		c.Group = kafka.GroupID
	}
	c.Reset = kafka.AutoOffsetReset
	c.Limits = wire.Limits{Framed: maxBytes, Decoded: maxBytes}
	c.Aggregate = s.aggregate()
	c.Policy, c.DeadLetters, c.DeadLetterTopic = kafka.OnDecodeError, s.DeadLetters, kafka.DeadLetterTopic()
	c.RequestTimeout, c.SessionTimeout = kafka.RequestTimeout.Duration(), kafka.SessionTimeout.Duration()
	c.EndsInterval = kafka.LagCheckInterval.Duration()
	return c
}

// Deps are what an exporter works with.
type Deps struct {
	// Options reach the cluster: brokers, TLS, SASL.
	Options    []kgo.Opt
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Explain adds the likely cause to an error.
	Explain func(error) error
}

// Exporter is a member of the group. Make it with [New], run it with [Exporter.Run].
type Exporter struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	started chan struct{}
	once    sync.Once
	letters *deadletter.Sender
	// badLog and letterLog keep many bad records from filling the log.
	badLog, letterLog *rate.Limiter

	// settled are the letters that have an outcome which was not taken up yet.
	settledMu sync.Mutex
	settled   []settlement

	// mu is held while records are handled and while metrics are gathered.
	mu         sync.Mutex
	accounts   *accounts
	aggregator *aggregate.Aggregator
	parts      map[int32]*partition // that the group gave to this process
	// past holds how far this process had handled a partition when it was taken away, of the topic of this id.
	past     map[int32]int64
	topicID  [16]byte
	current  *session // nil between two
	err      error    // of the session; nil while it is as it should be
	errSince time.Time
	// endsErr is why the ends of some partitions cannot be told since endsErrSince, nil where they can: a broker that answers
	// nothing shows by it, since the client asks it again and again for records and says nothing.
	endsErr      error
	endsErrSince time.Time
	lastBeat     time.Time
}

// New makes an exporter. It does not talk to a broker yet; Close frees it.
func New(cfg Config, deps Deps) (*Exporter, error) {
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.Explain == nil {
		deps.Explain = kafkaclient.Explain
	}
	set := metrics.NewSet("exporter", deps.Registerer)
	e := &Exporter{
		cfg: cfg, deps: deps, log: deps.Logger, started: make(chan struct{}),
		parts: map[int32]*partition{}, past: map[int32]int64{}, lastBeat: time.Now(),
		badLog: rate.NewLimiter(1, 20), letterLog: rate.NewLimiter(1, 5),
		accounts: newAccounts(set), aggregator: aggregate.New(cfg.Aggregate, set),
	}
	e.register(set)
	if err := set.Err(); err != nil {
		return nil, fmt.Errorf("declare metrics: %w", err)
	}
	var err error
	e.letters, err = deadletter.NewSender(deadletter.Config{Topic: cfg.DeadLetterTopic, Component: "exporter", Settings: cfg.DeadLetters, Options: deps.Options})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Close waits for the dead letters under way, until ctx ends, after Run has returned.
func (e *Exporter) Close(ctx context.Context) error { return e.letters.Close(ctx) }

// register declares what is asked for at each scrape. Scrapes hold mu.
func (e *Exporter) register(set *metrics.Set) {
	set.GaugeFunc("dashstream_exporter_assigned_partitions", "Partitions that the group gave to this process.", func() float64 { return float64(len(e.parts)) })
	set.GaugeFunc("dashstream_exporter_paused_partitions", "Partitions that stand still at a record that cannot be handled until somebody has them pass it.", func() float64 { return float64(e.countHalted(true)) })
	set.GaugeFunc("dashstream_exporter_dlq_waiting_partitions", "Partitions that stand still until a dead letter is written, in the mode fail_closed.", func() float64 { return float64(e.countHalted(false)) })
	set.GaugeFunc("dashstream_exporter_dlq_queue", "Dead letters under way.", func() float64 { return float64(e.letters.Waiting()) })
	set.GaugeFunc("dashstream_exporter_start_backlog_messages", "Offsets that lay between where this process began the partitions that it has and their ends then, summed over those where both were known; -1 while that is none.", func() float64 {
		return e.sumKnown(func(p *partition) (int64, bool) { return p.backlog, p.backlog >= 0 })
	})
	set.GaugeFunc("dashstream_exporter_kafka_consumer_lag", "Records between what was handled and the end, summed over the partitions where both are known; -1 while it is known of none.", func() float64 {
		return e.sumKnown((*partition).lag)
	})
	set.GaugeFunc("dashstream_exporter_kafka_consumer_lag_unknown_partitions", "Partitions of this process whose lag is not known.", func() float64 {
		n := 0
		for _, p := range e.parts {
			if _, ok := p.lag(); !ok {
				n++
			}
		}
		return float64(n)
	})
}

// sumKnown sums what is known of the partitions; -1 where it is known of none.
func (e *Exporter) sumKnown(of func(*partition) (int64, bool)) float64 {
	sum, any := int64(0), false
	for _, p := range e.parts {
		if n, ok := of(p); ok {
			sum, any = sum+n, true
		}
	}
	if !any {
		return -1
	}
	return float64(sum)
}

func (e *Exporter) countHalted(paused bool) (n int) {
	for _, p := range e.parts {
		if p.halt != nil && p.halt.paused == paused {
			n++
		}
	}
	return n
}

// Gatherer makes scrapes of g consistent: none comes between two counts of one record.
func (e *Exporter) Gatherer(g prometheus.Gatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		return g.Gather()
	})
}

// Run reads until ctx ends and then returns nil. It never gives up: what fails is retried, and shows in [Exporter.Ready].
func (e *Exporter) Run(ctx context.Context) error {
	for fails := 0; ctx.Err() == nil; fails++ {
		began := time.Now()
		err := e.session(ctx)
		e.beat()
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > time.Minute {
			fails = 0
		}
		e.note(err)
		delay := backoff(fails)
		e.log.Warn("the group is joined anew", "group", e.cfg.Group, "in", delay.Round(time.Millisecond), "error", e.deps.Explain(err))
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
	return nil
}

// Started is closed once the group has given this process its partitions, if any.
func (e *Exporter) Started() <-chan struct{} { return e.started }

// LastBeat returns when the reading loop was last seen to go round.
func (e *Exporter) LastBeat() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lastBeat
}

func (e *Exporter) beat() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastBeat = time.Now()
}

// note keeps why the exporter does not read; nil that it does.
func (e *Exporter) note(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.accounts.kafkaErrors.Inc()
		if e.err == nil {
			e.errSince = time.Now()
		}
	}
	e.err = err
}

// patience is how long something may fail before the exporter is not ready.
const patience = 10 * time.Second

// Ready reports what keeps the exporter from handling what comes; nil when nothing does.
func (e *Exporter) Ready() error {
	select {
	case <-e.started:
	default:
		e.mu.Lock()
		defer e.mu.Unlock()
		return errors.Join(fmt.Errorf("group %s: not joined yet", e.cfg.Group), e.err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil && time.Since(e.errSince) > patience {
		return fmt.Errorf("group %s: %w", e.cfg.Group, e.err)
	}
	var errs []error
	if e.endsErr != nil && time.Since(e.endsErrSince) > patience {
		errs = append(errs, fmt.Errorf("where partitions end cannot be told, so the lag is not known: %w", e.endsErr))
	}
	for _, id := range e.assigned() {
		if p := e.parts[id]; p.err != nil && time.Since(p.errSince) > patience {
			errs = append(errs, fmt.Errorf("partition %d at offset %d: %w", id, p.next, p.err))
		}
	}
	for _, h := range e.halted() {
		switch {
		case h.Paused:
			errs = append(errs, fmt.Errorf("partition %d is paused at offset %d, a record that cannot be handled (%s): SIGHUP or POST /admin/resume passes it", h.Partition, h.Offset, h.Reason))
		case h.For > patience:
			errs = append(errs, fmt.Errorf("partition %d waits at offset %d until the dead letter of that record (%s) is written to topic %s", h.Partition, h.Offset, h.Reason, e.letters.Topic()))
		}
	}
	return errors.Join(errs...)
}

// assigned lists the partitions in order.
func (e *Exporter) assigned() []int32 {
	ids := make([]int32, 0, len(e.parts))
	for id := range e.parts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Accounts returns what became of the records so far.
func (e *Exporter) Accounts() Accounts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.accounts.snapshot()
}
