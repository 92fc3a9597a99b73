// Package aggregate turns messages into metrics: what agents did, how long it took, what it cost and how good it was. It
// is pure. Messages come in the order of the log, partition by partition; time is the partition's clock, which the caller
// advances; nothing here reads a clock, starts a goroutine or takes a lock. The caller lets no two calls overlap, nor a call
// and a scrape.
package aggregate

import (
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/lru"
	"github.com/dashflow/dashstream/internal/metrics"
)

// Config says when what is silent has ended, and how much is remembered.
type Config struct {
	// SessionTimeout is how long a session may be silent, by the partition's clock, before it is taken for over.
	SessionTimeout time.Duration
	// Buckets are the upper bounds of histograms.
	Buckets Buckets
}

// Buckets are upper bounds of histograms, in the units that their names say.
type Buckets struct {
	LatencyMS, Retries, QualityScore, SessionTurns []float64
}

// DefaultBuckets are those that dashboards in the field were made for.
func DefaultBuckets() Buckets {
	return Buckets{
		LatencyMS:    []float64{10, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 20000, 30000},
		Retries:      []float64{0, 1, 2, 3, 5, 10},
		QualityScore: []float64{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0},
		SessionTurns: []float64{1, 2, 5, 10, 20, 50},
	}
}

// DefaultConfig is that of a user who set nothing.
func DefaultConfig() Config {
	return Config{SessionTimeout: 5 * time.Minute, Buckets: DefaultBuckets()}
}

// Aggregator holds the metrics of all partitions, and for each partition what it must remember.
type Aggregator struct {
	cfg        Config
	quality    *quality
	sessions   *sessions
	partitions map[int32]*Partition
}

// New declares the metrics. See [metrics.Set.Err] for what went wrong.
func New(cfg Config, set *metrics.Set) *Aggregator {
	return &Aggregator{cfg: cfg, quality: newQuality(cfg, set, newInvalid(set)), sessions: newSessions(cfg, set), partitions: map[int32]*Partition{}}
}

// Partition is what is remembered of one partition.
type Partition struct {
	all      *Aggregator
	now      time.Time
	counting bool
	sessions *lru.Table[session]
}

// Partition returns that of the id; a new one counts.
func (a *Aggregator) Partition(id int32) *Partition {
	p := a.partitions[id]
	if p == nil {
		p = &Partition{all: a, counting: true}
		p.sessions = lru.New(a.sessions.budget, 8, func(*session) {
			if p.counting {
				a.sessions.evicted.Inc()
			}
		})
		a.partitions[id] = p
	}
	return p
}

// Drop forgets a partition that another process reads from now on. Nothing is counted: what was open goes on there.
func (a *Aggregator) Drop(id int32) {
	if p := a.partitions[id]; p != nil {
		p.sessions.Clear()
		delete(a.partitions, id)
	}
}

// Rebuild turns counting off, for records that were counted before and are read again for what must be remembered of
// them, and on again.
func (p *Partition) Rebuild(on bool) { p.counting = !on }

// Advance moves the partition's clock; back it does not go. Sessions that were silent for too long end.
func (p *Partition) Advance(now time.Time) {
	if !now.After(p.now) {
		return
	}
	p.now = now
	p.endSessions(now)
}

// Message takes a message. It reports whether somebody here is concerned with it: of metrics, only
// those of scope quality have a meaning.
func (p *Partition) Message(m *pb.DashStreamMessage) bool {
	metrics := m.GetMetrics()
	if metrics == nil {
		return true
	}
	if metrics.GetScope() != qualityScope {
		return false
	}
	p.all.quality.invalid.quiet = !p.counting
	if p.counting {
		p.all.quality.judgement(metrics)
	}
	p.turn([]byte(metrics.GetHeader().GetThreadId()), metrics)
	return true
}
