package demo

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"time"

	"github.com/dashflow/dashstream"
)

// Run plays until it is done or ctx ends, then closes the producer, in any case: each message has its outcome in the
// report, since nothing is in flight any more. The runs that are under way when ctx ends are ended properly, which is no
// error. Messages that the producer sends for others meanwhile are in the report too.
//
// One goroutine plays all runs, step by step in the order of the scripts' time: which step follows which is decided by
// the seed alone, at any pace.
//
// The error is a mistake in the options, or a [*LostError]; the report is valid with the latter.
func Run(ctx context.Context, o Options, producer *dashstream.Producer) (Report, error) {
	return run(ctx, o, producer, pace{time.Now, sleep})
}

// pace is the passing of time, which tests do not wait for.
type pace struct {
	now   func() time.Time
	sleep func(context.Context, time.Duration) bool // false if ctx ended before
}

func run(ctx context.Context, o Options, producer *dashstream.Producer, pace pace) (Report, error) {
	report := Report{Seed: o.Seed, Runs: map[Outcome]int{}, Scenarios: map[string]int{}}
	if err := o.Validate(); err != nil {
		return report, errors.Join(err, producer.Close(context.WithoutCancel(ctx)))
	}
	before := producer.Stats()
	began := pace.now()
	s := &stage{o: o, producer: producer, report: &report, pace: pace, began: began, now: pace.now, interval: stagger}
	if o.Clock != nil {
		s.now = o.Clock.Now
	}
	if o.Rate > 0 && o.Speed > 0 {
		s.interval = time.Duration(o.Speed / o.Rate * float64(time.Second))
	}
	err := s.play(ctx)
	s.interrupt()
	_ = producer.Close(context.WithoutCancel(ctx)) // waits as long as the producer's timeout allows; the accounts tell how it went
	report.Elapsed = pace.now().Sub(began)
	report.account(before, producer.Stats())
	if err == nil && report.Total.Lost() > 0 {
		err = &LostError{report}
	}
	return report, err
}

// stage is where runs are played.
type stage struct {
	o        Options
	producer *dashstream.Producer
	report   *Report
	pace     pace
	now      func() time.Time // what the messages are stamped with

	began    time.Time     // when the scripts' time was 0, on the machine's clock
	at       time.Duration // the scripts' time
	interval time.Duration // of the scripts' time between two starts
	next     time.Duration // the earliest start of the next run
	started  int
	active   byDue
	steps    int // played since the queue was looked at
}

// performance is a run under way.
type performance struct {
	player *player
	start  time.Duration
	next   int // step
	began  time.Time
}

func (p *performance) due() time.Duration { return p.start + p.player.script.steps[p.next].at }

// play plays until it is done or ctx ends.
func (s *stage) play(ctx context.Context) error {
	for ctx.Err() == nil {
		more := s.o.Runs == 0 || s.started < s.o.Runs
		if !more && len(s.active) == 0 {
			return nil
		}
		first := s.first()
		start := more && len(s.active) < s.o.concurrency()
		if start && s.o.Speed == 0 && s.o.Rate > 0 && !s.rateAllows(ctx, first == nil) {
			start = false
		}
		switch opens := max(s.at, s.next); {
		case start && (first == nil || opens <= first.due()):
			if s.until(ctx, opens) {
				if err := s.start(ctx); err != nil {
					return err
				}
			}
		case first != nil:
			if s.until(ctx, first.due()) {
				s.step()
				s.backpressure(ctx)
			}
		}
	}
	return nil
}

// first is the run whose step is due next.
func (s *stage) first() *performance {
	if len(s.active) == 0 {
		return nil
	}
	return s.active[0]
}

// byDue is a heap: first the run whose step is due next; of two at the same time, the one that began earlier.
type byDue []*performance

func (h byDue) Len() int { return len(h) }
func (h byDue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].due(), h[j].due()), cmp.Compare(h[i].player.script.number, h[j].player.script.number)) < 0
}
func (h byDue) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byDue) Push(x any)   { *h = append(*h, x.(*performance)) }
func (h *byDue) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// rateAllows reports whether another run may start now where the scripts' time has no length. If nothing else is to do it
// waits until then.
func (s *stage) rateAllows(ctx context.Context, idle bool) bool {
	due := s.began.Add(time.Duration(float64(s.started) / s.o.Rate * float64(time.Second)))
	wait := due.Sub(s.pace.now())
	if wait <= 0 {
		return true
	}
	return idle && s.pace.sleep(ctx, wait)
}

// late is how far behind the pace may fall before the lost time is given up: runs go on from where they are, instead of
// all at once.
const late = time.Second

// until waits until the scripts' time is at, and reports whether it is.
func (s *stage) until(ctx context.Context, at time.Duration) bool {
	if s.o.Speed > 0 {
		due := s.began.Add(time.Duration(float64(at) / s.o.Speed))
		switch wait := due.Sub(s.pace.now()); {
		case wait > 0:
			if !s.pace.sleep(ctx, wait) {
				return false
			}
		case wait < -late:
			s.began = s.began.Add(-wait)
		}
	}
	s.at = at
	if s.o.Clock != nil {
		s.o.Clock.set(at)
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *stage) start(ctx context.Context) error {
	script, err := write(s.o.Seed, s.started+1, s.o.scenario())
	if err != nil {
		return err
	}
	player, err := start(ctx, s.producer, s.now, script)
	if err != nil {
		return err
	}
	s.started++
	s.next = s.at + s.interval
	heap.Push(&s.active, &performance{player: player, start: s.at, began: s.now()})
	s.report.Scenarios[script.scenario]++
	s.tell(RunInfo{Number: script.number, Thread: script.thread, Scenario: script.scenario, Task: script.task})
	return nil
}

// step plays the step that is due next.
func (s *stage) step() {
	p := s.active[0]
	script := p.player.script
	script.steps[p.next].do.play(p.player)
	s.steps++
	if p.next < len(script.steps)-1 {
		p.next++
		heap.Fix(&s.active, 0)
		return
	}
	heap.Pop(&s.active)
	outcome := Completed
	if script.failure != nil {
		outcome = Failed
	}
	s.ended(p, outcome, script.failure)
}

// ended books the end of a run.
func (s *stage) ended(p *performance, outcome Outcome, err error) {
	s.report.Runs[outcome]++
	script := p.player.script
	s.tell(RunInfo{
		Number: script.number, Thread: script.thread, Scenario: script.scenario, Task: script.task, Outcome: outcome, Err: err, Took: s.now().Sub(p.began),
	})
}

func (s *stage) tell(i RunInfo) {
	if s.o.OnRun != nil {
		s.o.OnRun(i)
	}
}

// interrupt ends what is still under way.
func (s *stage) interrupt() {
	for len(s.active) > 0 {
		p := heap.Pop(&s.active).(*performance)
		s.ended(p, Interrupted, p.player.interrupt())
	}
}

// backpressureSteps is how many steps are played between two looks at the producer's queue: far less than fits in it.
// backpressurePause is how long a full one is left alone.
const (
	backpressureSteps = 128
	backpressurePause = 5 * time.Millisecond
)

// backpressure waits while the producer's queue is filling up. An agent would go on and lose telemetry, but a demo that
// is played as fast as possible should show what arrives.
func (s *stage) backpressure(ctx context.Context) {
	if s.steps < backpressureSteps {
		return
	}
	s.steps = 0
	for {
		if st := s.producer.Stats(); st.QueueBytes < st.QueueCapacityBytes/4 || !sleep(ctx, backpressurePause) {
			return
		}
	}
}
