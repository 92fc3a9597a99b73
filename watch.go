package dashstream

import (
	"context"
	"log/slog"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// watchInterval is how often the janitor looks for abandoned runs and reports losses.
const watchInterval = 10 * time.Second

// watch is the janitor: one goroutine, ended by Close.
func (p *Producer) watch() {
	defer close(p.janitorEnd)
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	var stall stall
	for {
		select {
		case <-p.janitor:
			return
		case <-ticker.C:
			p.endIdleRuns()
			p.reportLoss()
			p.reportStall(&stall)
		}
	}
}

// stall is whether Kafka acknowledges what it is sent.
type stall struct {
	acked   uint64
	waiting bool // something was in flight at the last look
	stalled bool
}

// reportStall logs when acknowledgements stop to come, with the likely cause, and when they come again.
func (p *Producer) reportStall(s *stall) {
	total := p.Stats().Total()
	progress := total.Acked != s.acked
	switch {
	case s.stalled && progress:
		s.stalled = false
		p.logger.Info("Kafka acknowledges telemetry again", "topic", p.cfg.kafka.Topic)
	case !s.stalled && s.waiting && total.InFlight > 0 && !progress:
		s.stalled = true
		attrs := []any{"topic", p.cfg.kafka.Topic, "brokers", p.cfg.kafka.Brokers.String(), "in_flight", total.InFlight}
		if err := p.diagnose(); err != nil {
			attrs = append(attrs, "error", err)
		}
		p.logger.Warn("Kafka does not acknowledge telemetry; it waits in memory, and the program is not affected", attrs...)
	}
	s.acked, s.waiting = total.Acked, total.InFlight > 0
}

// reportLoss logs what was lost since the last time, if anything was.
func (p *Producer) reportLoss(more ...any) {
	before, now := p.reported, p.Stats().Total()
	p.reported = now
	if now.DroppedTotal() == before.DroppedTotal() && now.FailedTotal() == before.FailedTotal() {
		return
	}
	var reasons []any
	for r := range DropReasonCount {
		if n := now.Dropped[r] - before.Dropped[r]; n > 0 {
			reasons = append(reasons, slog.Uint64("dropped_"+DropReason(r).String(), n))
		}
	}
	for r := range FailReasonCount {
		if n := now.Failed[r] - before.Failed[r]; n > 0 {
			reasons = append(reasons, slog.Uint64("failed_"+FailReason(r).String(), n))
		}
	}
	reasons = append(reasons, "topic", p.cfg.kafka.Topic, "in_flight", now.InFlight)
	p.logger.Warn("telemetry was lost", append(reasons, more...)...)
}

// diagnose looks for what is wrong with Kafka, for a short time.
func (p *Producer) diagnose() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	go func() {
		select {
		case <-p.janitor:
			cancel()
		case <-ctx.Done():
		}
	}()
	return p.obstacle(ctx)
}

// endIdleRuns ends the runs that nobody is to be expected to end.
func (p *Producer) endIdleRuns() {
	if p.cfg.runIdleTimeout == 0 {
		return
	}
	var idle []*Run
	p.mu.Lock()
	for r := range p.runs {
		if r.paused == 0 && time.Since(r.last) >= p.cfg.runIdleTimeout {
			idle = append(idle, r)
		}
	}
	p.mu.Unlock()
	for _, r := range idle {
		r.abandon("nothing was emitted for " + p.cfg.runIdleTimeout.String())
	}
}

// endAllRuns ends the runs that are open when the producer is closed.
func (p *Producer) endAllRuns() {
	p.mu.Lock()
	open := make([]*Run, 0, len(p.runs))
	for r := range p.runs {
		open = append(open, r)
	}
	p.mu.Unlock()
	for _, r := range open {
		r.abandon("the producer was closed")
	}
}

func (r *Run) abandon(why string) {
	if r.end(pb.EventType_EVENT_TYPE_GRAPH_ERROR, slog.String("error", "run abandoned: "+why), slog.String("error_type", "abandoned")) {
		r.p.mu.Lock()
		r.p.abandonedRuns++
		r.p.mu.Unlock()
	}
}
