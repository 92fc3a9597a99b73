package httpserve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func probe(t *testing.T, h http.Handler, target string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	return rec.Code, rec.Body.String()
}

func TestIdleProcessIsLiveAndReady(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	for name, handler := range map[string]http.Handler{"livez": h.Livez(), "readyz": h.Readyz()} {
		if code, body := probe(t, handler, "/"+name); code != http.StatusOK || body != "ok\n" {
			t.Errorf("%s: %d %q, want 200 ok", name, code, body)
		}
	}
}

func TestALoopIsDeadExactlyAfterItsDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth()
		poll := h.Heartbeat("poll", 30*time.Second)
		idle := h.Heartbeat("idle", 10*time.Second)

		// An idle loop beats by its ticker, for ten minutes without work.
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			tick := time.NewTicker(idle.Interval())
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					idle.Beat()
				case <-ctx.Done():
					idle.Done()
					return
				}
			}
		}()
		for range 60 {
			time.Sleep(10 * time.Second)
			poll.Beat()
		}
		if rep := h.Live(); !rep.OK() {
			t.Fatalf("idle loops are not dead: %+v", rep)
		}

		time.Sleep(30 * time.Second)
		if code, _ := probe(t, h.Livez(), "/livez"); code != http.StatusOK {
			t.Fatalf("dead at its deadline, want just after: %+v", h.Live())
		}
		time.Sleep(time.Millisecond)
		code, body := probe(t, h.Livez(), "/livez")
		if want := "poll: no progress for 30.001s, allowed 30s\n"; code != http.StatusServiceUnavailable || body != want {
			t.Errorf("livez = %d %q, want 503 %q", code, body, want)
		}
		if rep := h.Ready(t.Context()); !rep.OK() {
			t.Errorf("a stuck loop is a matter of liveness alone: %+v", rep)
		}

		poll.Beat()
		if rep := h.Live(); !rep.OK() {
			t.Errorf("a loop that goes on is alive again: %+v", rep)
		}

		// A loop that ended in good order is not missed.
		stop()
		<-ended
		time.Sleep(20 * time.Second)
		if rep := h.Live(); !rep.OK() || len(rep.Items) != 1 {
			t.Errorf("after Done: %+v, want poll alone, alive", rep)
		}
	})
}

func TestReadyNamesEveryReason(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	feed := h.Condition("feed", "starting")
	brokerErr := errors.Join(errors.New("dial tcp 127.0.0.1:9092: connection refused"), errors.New("broker 0 has not answered\tfor 12s"))
	h.Check("kafka", func(context.Context) error { return brokerErr })
	h.Check("fine", func(context.Context) error { return nil })
	h.Check("broken", func(context.Context) error { panic("nil map") })

	code, body := probe(t, h.Readyz(), "/readyz")
	want := "feed: starting\nkafka: dial tcp 127.0.0.1:9092: connection refused; broker 0 has not answered for 12s\nbroken: the check panicked: nil map\n"
	if code != http.StatusServiceUnavailable || body != want {
		t.Fatalf("readyz = %d %q, want 503 %q", code, body, want)
	}

	code, body = probe(t, h.Readyz(), "/readyz?verbose")
	var rep Report
	if err := json.Unmarshal([]byte(body), &rep); err != nil || code != http.StatusServiceUnavailable {
		t.Fatalf("verbose: %d %q: %v", code, body, err)
	}
	if want := "dial tcp 127.0.0.1:9092: connection refused; broker 0 has not answered for 12s"; rep.Items[1].Reason != want {
		t.Errorf("verbose: reason %q, want %q", rep.Items[1].Reason, want)
	}
	if len(rep.Items) != 4 || rep.Items[2] != (Item{Name: "fine", OK: true}) || rep.Status != "unavailable" {
		t.Errorf("verbose report = %+v", rep)
	}

	feed.Set(nil)
	h2 := NewHealth()
	c := h2.Condition("feed", "starting")
	c.Set(nil)
	if rep := h2.Ready(t.Context()); !rep.OK() {
		t.Errorf("a condition that holds: %+v", rep)
	}
	c.Set(errors.New("behind"))
	if rep := h2.Ready(t.Context()); rep.OK() {
		t.Error("a condition can fail again")
	}
	c.Set(nil)
	h2.SetStopping()
	if code, body := probe(t, h2.Readyz(), "/readyz"); code != http.StatusServiceUnavailable || body != "process: stopping\n" {
		t.Errorf("stopping: %d %q", code, body)
	}
	if rep := h2.Live(); !rep.OK() {
		t.Errorf("a stopping process is live: %+v", rep)
	}
}

// A check that hangs must not hang the probe, nor cost a goroutine a probe.
func TestAHangingCheckIsBoundedAndShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth()
		var asked atomic.Int32
		release := make(chan struct{})
		h.Check("deaf", func(context.Context) error {
			asked.Add(1)
			<-release // ignores its context
			return nil
		})
		start := time.Now()
		rep := h.Ready(t.Context())
		if took := time.Since(start); took != checkTimeout {
			t.Errorf("the probe took %v, want %v", took, checkTimeout)
		}
		if want := "no answer for 2s"; rep.OK() || rep.Items[0].Reason != want {
			t.Errorf("report = %+v, want reason %q", rep, want)
		}
		time.Sleep(time.Minute)
		start = time.Now()
		for range 100 {
			rep = h.Ready(t.Context())
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("later probes waited %v for a check known to hang", took)
		}
		if want := "no answer for 1m2s"; rep.Items[0].Reason != want {
			t.Errorf("reason = %q, want %q", rep.Items[0].Reason, want)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("the check was begun %d times, want 1", n)
		}
		close(release)
		synctest.Wait()
		if rep := h.Ready(t.Context()); !rep.OK() {
			t.Errorf("after it answered: %+v", rep)
		}
	})
}

func TestAProbeThatGivesUpDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth()
		h.Check("slow", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		rep := h.Ready(ctx)
		if took := time.Since(start); took != time.Second || rep.OK() {
			t.Errorf("took %v, %+v; want 1s and not ready", took, rep)
		}
		time.Sleep(checkTimeout) // the check itself ends by its own deadline
	})
}

func TestReasonsAreOneBoundedLine(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "plain", "a\r\nb: forged\x1b[31m", strings.Repeat("é", maxReason), strings.Repeat("a", maxReason-1) + "€", "\xff\xfe", strings.Repeat("\xe2\x82", maxReason),
	} {
		h := NewHealth()
		h.Condition("check", in)
		rep := h.Ready(t.Context())
		got, all := rep.Items[0].Reason, 0
		if got == "" || len(got) > maxReason || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x1b") {
			t.Errorf("the reason of %.20q is %q (%d bytes)", in, got, len(got))
		}
		for _, r := range rep.Reasons {
			all += len(r.Text)
			if r.Text == "" || !utf8.ValidString(r.Text) || strings.ContainsAny(r.Text, "\r\n\x1b") {
				t.Errorf("a reason of %.20q is %q", in, r.Text)
			}
		}
		if len(rep.Reasons) == 0 || all > maxReason {
			t.Errorf("%d reasons of %.20q take %d bytes", len(rep.Reasons), in, all)
		}
	}
	h := NewHealth()
	h.Condition("check", "a\nb\tc\n")
	if got := h.Ready(t.Context()).Items[0].Reason; got != "a; b c" {
		t.Errorf("the reason is %q", got)
	}
}

// A program gets each reason by itself, whichever way it asks for JSON; whoever asks for nothing gets text.
func TestProbesAnswerInTheFormatAskedFor(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	h.Condition("feed", "starting")
	h.Condition("kafka", "broker 0: refused; to do: start it\nbroker 1: silent")
	h.Condition("fine", "").Set(nil)
	const text = "feed: starting\nkafka: broker 0: refused; to do: start it; broker 1: silent\n"
	want := []Reason{{"feed", "starting"}, {"kafka", "broker 0: refused; to do: start it"}, {"kafka", "broker 1: silent"}}
	for _, tt := range []struct {
		query  string
		accept []string
		json   bool
	}{
		{"", nil, false},
		{"", []string{"*/*"}, false},
		{"", []string{"text/html,application/xhtml+xml,*/*;q=0.8"}, false},
		{"", []string{"text/plain, application/json;q=0.5"}, false},
		{"", []string{"application/json;q=0"}, false},
		{"", []string{"application/json;q=many"}, false},
		{"", []string{";;;,,application/jsonp"}, false},
		{"?format=text", []string{"application/json"}, false},
		{"?verbose&format=text", nil, false},
		{"", []string{"application/json"}, true},
		{"", []string{"Application/JSON; charset=utf-8"}, true},
		{"", []string{"text/plain;q=0.5", "application/json;q=0.9"}, true},
		{"", []string{"application/json, text/plain, */*"}, true},
		{"?format=json", []string{"text/plain"}, true},
		{"?verbose", []string{"text/plain"}, true},
	} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz"+tt.query, nil)
		r.Header["Accept"] = tt.accept
		h.Readyz().ServeHTTP(rec, r)
		if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Vary") != "Accept" {
			t.Errorf("%q, %q: %d %v", tt.query, tt.accept, rec.Code, rec.Header())
		}
		if !tt.json {
			if got := rec.Body.String(); got != text || rec.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%q, %q: %q, want %q", tt.query, tt.accept, got, text)
			}
			continue
		}
		var rep Report
		if err := json.Unmarshal(rec.Body.Bytes(), &rep); err != nil || !slices.Equal(rep.Reasons, want) || len(rep.Items) != 3 ||
			rec.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%q, %q: %s, %v", tt.query, tt.accept, rec.Body, err)
		}
	}
	if code, body := probe(t, h.Readyz(), "/readyz?format=xml"); code != http.StatusBadRequest || body != "format: \"xml\": want json or text\n" {
		t.Errorf("format=xml: %d %q", code, body)
	}
	// No reason is a list too.
	ready := `{"status":"ok","checks":[],"reasons":[]}` + "\n"
	if code, body := probe(t, NewHealth().Readyz(), "/readyz?format=json"); code != http.StatusOK || body != ready {
		t.Errorf("ready: %d %q, want %q", code, body, ready)
	}
}

func ExampleHealth_Heartbeat() {
	h := NewHealth()
	beat := h.Heartbeat("reader", 30*time.Second)
	defer beat.Done()
	for range 3 { // the loop's rounds
		beat.Beat()
	}
	fmt.Println(h.Live().Status)
	// Output: ok
}
