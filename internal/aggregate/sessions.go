package aggregate

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/lru"
	"github.com/dashflow/dashstream/internal/metrics"
)

const (
	maxSessions     = 100_000
	maxSessionBytes = 32 << 20
)

// sessions holds what all partitions share of sessions.
type sessions struct {
	turns   prometheus.Histogram
	evicted prometheus.Counter
	budget  *lru.Budget
}

// session is what is remembered of one: the thread's turns so far.
type session struct{ turns float64 }

func newSessions(cfg Config, set *metrics.Set) *sessions {
	s := &sessions{budget: lru.NewBudget(maxSessions, maxSessionBytes)}
	s.turns = set.Histogram("dashstream_turns_by_session", "Turns of a session, a thread with judgements, observed once: when it has been silent for PROMETHEUS_SESSION_TIMEOUT_SECS.", cfg.Buckets.SessionTurns)
	s.evicted = set.Counter("dashstream_exporter_sessions_evicted_total", "Sessions that were forgotten before they were over, for want of room: they are not in dashstream_turns_by_session.")
	set.GaugeFunc("dashstream_exporter_sessions", "Sessions that are not over.", func() float64 { return float64(s.budget.Entries()) })
	return s
}

// turn notes a judgement of a session.
func (p *Partition) turn(thread []byte, m *pb.Metrics) {
	turns, ok := p.all.quality.whole(m, "turn_number", 1)
	if len(thread) == 0 || !ok {
		return
	}
	e, _ := p.sessions.Use(thread, p.now)
	e.Value.turns = max(e.Value.turns, turns)
}

// endSessions observes those that have been silent for too long.
func (p *Partition) endSessions(now time.Time) {
	for e := p.sessions.Oldest(); e != nil && now.Sub(e.Used) >= p.all.cfg.SessionTimeout; e = p.sessions.Oldest() {
		p.sessions.Remove(e)
		if p.counting {
			p.all.sessions.turns.Observe(e.Value.turns)
		}
	}
}
