package demo

import (
	"fmt"
	"strings"
	"time"

	"github.com/dashflow/dashstream"
)

// RunInfo is one run, as it begins or as it has ended.
type RunInfo struct {
	Number   int // from 1
	Thread   string
	Scenario string
	Task     string
	// Outcome is empty at the beginning.
	Outcome Outcome
	// Err is why a run failed: that is part of its script.
	Err error
	// Took is how long it took, on the clock of the demo; 0 at the beginning.
	Took time.Duration
}

// Outcome is how a run ended.
type Outcome string

// The outcomes.
const (
	Completed   Outcome = "completed"   // with GRAPH_END
	Failed      Outcome = "failed"      // with GRAPH_ERROR, as its script says
	Interrupted Outcome = "interrupted" // with GRAPH_ERROR, because the demo was stopped
)

// Report is what a demo did.
type Report struct {
	Seed    uint64
	Elapsed time.Duration
	// Runs counts those that ended, by outcome; Scenarios those that began, by scenario.
	Runs      map[Outcome]int
	Scenarios map[string]int
	// Types counts messages by type; Total is their sum. Both are of the producer, from the beginning to the end of Run.
	Types map[string]Messages
	Total Messages
	// Reasons says why messages were lost, by reason.
	Reasons map[string]uint64
}

// Messages is an account: Emitted = Acked + Dropped + Failed.
type Messages struct {
	Emitted uint64 `json:"emitted"`
	Acked   uint64 `json:"acked"`
	Dropped uint64 `json:"dropped"`
	Failed  uint64 `json:"failed"`
}

// Lost is what was not acknowledged.
func (m Messages) Lost() uint64 { return m.Emitted - m.Acked }

// LostError says that not everything a demo emitted was acknowledged.
type LostError struct{ Report Report }

func (e *LostError) Error() string {
	t := e.Report.Total
	return fmt.Sprintf("%d of %d messages were not acknowledged: %d dropped, %d failed", t.Lost(), t.Emitted, t.Dropped, t.Failed)
}

// account fills in what the producer did between two moments.
func (r *Report) account(before, after dashstream.Stats) {
	r.Types, r.Reasons = map[string]Messages{}, map[string]uint64{}
	for _, kind := range dashstream.MessageTypes() {
		b, a := before.Types[kind], after.Types[kind]
		m := Messages{
			Emitted: a.Emitted - b.Emitted, Acked: a.Acked - b.Acked, Dropped: a.DroppedTotal() - b.DroppedTotal(), Failed: a.FailedTotal() - b.FailedTotal(),
		}
		if m.Emitted > 0 {
			r.Types[strings.ToLower(strings.TrimPrefix(kind.String(), "MESSAGE_TYPE_"))] = m
		}
		r.Total.Emitted += m.Emitted
		r.Total.Acked += m.Acked
		r.Total.Dropped += m.Dropped
		r.Total.Failed += m.Failed
	}
	b, a := before.Total(), after.Total()
	for i := range dashstream.DropReasonCount {
		if n := a.Dropped[i] - b.Dropped[i]; n > 0 {
			r.Reasons[dashstream.DropReason(i).String()] += n
		}
	}
	for i := range dashstream.FailReasonCount {
		if n := a.Failed[i] - b.Failed[i]; n > 0 {
			r.Reasons[dashstream.FailReason(i).String()] += n
		}
	}
}
