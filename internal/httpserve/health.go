package httpserve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// checkTimeout bounds one readiness check. It is below the one-second-or-more
// timeouts that probes are usually given, plus room for the answer.
const checkTimeout = 2 * time.Second

// maxReason bounds the reasons of a check in bytes: they can hold text that came
// from elsewhere.
const maxReason = 2048

// Health collects what a process says of itself. Register while building the
// process; every method may be called from any goroutine.
type Health struct {
	start    time.Time
	stopping atomic.Bool

	mu      sync.Mutex
	checks  []*check
	beats   []*Heartbeat
	details map[string]func() any
}

// NewHealth returns a Health that is live, and ready unless a check says
// otherwise.
func NewHealth() *Health {
	return &Health{start: time.Now()}
}

// Report is the answer of a probe.
type Report struct {
	// Status is "ok", or "unavailable" when an item is not OK.
	Status string `json:"status"`
	Items  []Item `json:"checks"`
	// Reasons are those of all items, each by itself; empty when all are OK.
	Reasons []Reason `json:"reasons"`
	// Details are figures that parts of the process tell of themselves; readiness alone has them.
	Details map[string]any `json:"details,omitempty"`
}

// Reason is one thing that is wrong.
type Reason struct {
	Check string `json:"check"` // the name of the item
	Text  string `json:"reason"`
}

// OK reports whether every item is.
func (r Report) OK() bool { return r.Status == statusOK }

const (
	statusOK          = "ok"
	statusUnavailable = "unavailable"
)

// Item is the state of one check or loop.
type Item struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Reason is empty when OK; several reasons are separated by "; ".
	Reason string `json:"reason,omitempty"`
	// SinceBeatMS is the time since a loop's last beat; readiness has none.
	SinceBeatMS *int64 `json:"since_beat_ms,omitempty"`
}

// add appends an item, which is OK without reasons.
func (r *Report) add(item Item, reasons ...string) {
	item.OK = len(reasons) == 0
	item.Reason = clip(strings.Join(reasons, "; "), maxReason)
	r.Items = append(r.Items, item)
	if item.OK {
		return
	}
	r.Status = statusUnavailable
	left := maxReason
	for i, text := range reasons {
		if i > 0 && len(text) > left {
			break // as much as there is in one line
		}
		text = clip(text, left)
		left -= len(text)
		r.Reasons = append(r.Reasons, Reason{item.Name, text})
	}
}

func newReport(items int) Report {
	return Report{Status: statusOK, Items: make([]Item, 0, items), Reasons: []Reason{}}
}

// SetStopping makes the process not ready for good. It stays live.
func (h *Health) SetStopping() { h.stopping.Store(true) }

// ---- liveness ----

// Heartbeat is the proof of progress of one loop.
type Heartbeat struct {
	health   *Health
	name     string
	deadline time.Duration
	last     atomic.Int64 // nanoseconds after health.start
}

// Heartbeat registers a loop that is dead, and with it the process, when it has
// not called Beat for the deadline. A loop without work beats by a ticker of
// [Heartbeat.Interval], so that idle is not dead. The first deadline runs from
// now. A loop that ends in good order calls Done; one that crashed does not, and
// is found dead.
func (h *Health) Heartbeat(name string, deadline time.Duration) *Heartbeat {
	b := &Heartbeat{health: h, name: name, deadline: deadline}
	b.Beat()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beats = append(h.beats, b)
	return b
}

// Beat says that the loop has just gone round.
func (b *Heartbeat) Beat() { b.last.Store(int64(time.Since(b.health.start))) }

// Interval is how often an idle loop should beat.
func (b *Heartbeat) Interval() time.Duration { return max(b.deadline/4, time.Millisecond) }

// Done removes the loop.
func (b *Heartbeat) Done() {
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	b.health.beats = slices.DeleteFunc(b.health.beats, func(o *Heartbeat) bool { return o == b })
}

// Live reports whether every registered loop beats.
func (h *Health) Live() Report {
	h.mu.Lock()
	beats := slices.Clone(h.beats)
	h.mu.Unlock()
	rep := newReport(len(beats))
	for _, b := range beats {
		age := time.Since(h.start) - time.Duration(b.last.Load())
		ms := age.Milliseconds()
		var reasons []string
		if age > b.deadline {
			reasons = []string{fmt.Sprintf("no progress for %v, allowed %v", age.Round(time.Millisecond), b.deadline)}
		}
		rep.add(Item{Name: b.name, SinceBeatMS: &ms}, reasons...)
	}
	return rep
}

// ---- readiness ----

// check is one named question. Its runs do not overlap: probes that arrive while
// one is under way share its answer, so that a check that hangs costs one
// goroutine, however often it is asked.
type check struct {
	name string
	ask  func(context.Context) error

	mu  sync.Mutex
	run *checkRun
}

type checkRun struct {
	started time.Time
	done    chan struct{}
	err     error
}

// Check registers a question that must be answered with nil for the process to
// be ready. Each line of the error is a reason. The question gets a context that ends after two seconds, and when it does not
// return by then the answer is that it hangs.
func (h *Health) Check(name string, ask func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, &check{name: name, ask: ask})
}

// Detail has a part of the process tell figures in the JSON of readiness, under a name. They decide nothing.
func (h *Health) Detail(name string, tell func() any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.details == nil {
		h.details = map[string]func() any{}
	}
	h.details[name] = tell
}

// Condition is a readiness check whose answer is set by its owner.
type Condition struct{ err atomic.Pointer[error] }

// Condition registers a check that fails with the given reason until it is set.
func (h *Health) Condition(name, reason string) *Condition {
	c := new(Condition)
	c.Set(errors.New(reason))
	h.Check(name, func(context.Context) error { return *c.err.Load() })
	return c
}

// Set makes the condition fail with err, or hold when err is nil.
func (c *Condition) Set(err error) { c.err.Store(&err) }

// Ready asks every check, all at the same time.
func (h *Health) Ready(ctx context.Context) Report {
	h.mu.Lock()
	checks, details := slices.Clone(h.checks), maps.Clone(h.details)
	h.mu.Unlock()
	reasons := make([][]string, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			if err := c.result(ctx); err != nil {
				reasons[i] = lines(err.Error())
			}
		})
	}
	wg.Wait()
	rep := newReport(len(checks) + 1)
	for i, c := range checks {
		rep.add(Item{Name: c.name}, reasons[i]...)
	}
	for name, tell := range details {
		if rep.Details == nil {
			rep.Details = map[string]any{}
		}
		rep.Details[name] = tell()
	}
	if h.stopping.Load() {
		rep.add(Item{Name: "process"}, "stopping")
	}
	return rep
}

func (c *check) result(ctx context.Context) error {
	c.mu.Lock()
	run := c.run
	if run == nil {
		run = &checkRun{started: time.Now(), done: make(chan struct{})}
		c.run = run
		// The run outlives the probe that began it: another one may be waiting.
		go c.execute(context.WithoutCancel(ctx), run)
	}
	c.mu.Unlock()

	limit := time.NewTimer(time.Until(run.started.Add(checkTimeout)))
	defer limit.Stop()
	select {
	case <-run.done:
		return run.err
	case <-ctx.Done():
		return fmt.Errorf("no answer before the probe gave up: %w", context.Cause(ctx))
	case <-limit.C:
		// Both may be due at once; an answer beats the lack of one.
		select {
		case <-run.done:
			return run.err
		default:
			return fmt.Errorf("no answer for %v", time.Since(run.started).Round(time.Millisecond))
		}
	}
}

func (c *check) execute(ctx context.Context, run *checkRun) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			run.err = fmt.Errorf("the check panicked: %v", p)
		}
		c.mu.Lock()
		c.run = nil
		c.mu.Unlock()
		close(run.done)
	}()
	run.err = c.ask(ctx)
}

// ---- HTTP ----

// Livez answers 200 when every loop beats, else 503. The body is "ok" or a line
// for each item that is not OK. It is the [Report] as JSON with ?format=json,
// ?verbose, or an Accept header that asks for application/json.
func (h *Health) Livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.answer(w, r, h.Live())
	})
}

// Readyz answers like Livez for the readiness checks.
func (h *Health) Readyz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.answer(w, r, h.Ready(r.Context()))
	})
}

func (h *Health) answer(w http.ResponseWriter, r *http.Request, rep Report) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	code := http.StatusOK
	if !rep.OK() {
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Vary", "Accept")
	asJSON, err := wantsJSON(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// An error of the writes below is the client's going away.
	if asJSON {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(rep)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	if rep.OK() {
		_, _ = w.Write([]byte("ok\n"))
		return
	}
	for _, item := range rep.Items {
		if !item.OK {
			_, _ = fmt.Fprintf(w, "%s: %s\n", item.Name, item.Reason)
		}
	}
}

// wantsJSON reports whether the answer to a probe is JSON: as the query says or,
// where it says nothing, the Accept header. Whoever takes anything gets text.
func wantsJSON(r *http.Request) (bool, error) {
	query := r.URL.Query()
	switch format := query.Get("format"); {
	case format == "json":
		return true, nil
	case format == "text":
		return false, nil
	case query.Has("format"):
		return false, fmt.Errorf("format: %q: want json or text", clip(format, 64))
	case query.Has("verbose"):
		return true, nil
	}
	asJSON, asText := 0.0, 0.0
	for accepted := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		name, params, err := mime.ParseMediaType(accepted)
		if err != nil {
			continue
		}
		weight := 1.0
		if q, ok := params["q"]; ok {
			if weight, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		switch name {
		case "application/json":
			asJSON = weight
		case "text/plain":
			asText = weight
		}
	}
	return asJSON > 0 && asJSON >= asText, nil
}

// lines returns the lines of s that say something, one at least, without control
// characters.
func lines(s string) []string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.TrimSpace(strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(line, "\uFFFD")))
		if line != "" {
			out = append(out, line)
		}
	}
	if out == nil {
		return []string{"no reason given"}
	}
	return out
}

// clip cuts s to n bytes, on a rune boundary.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const dots = "…"
	cut := max(0, n-len(dots))
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + dots
}
