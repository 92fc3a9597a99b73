package dashstream_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// talkative emits a token of its call while it is captured.
type talkative struct{ call *dashstream.LLM }

func (v talkative) LogValue() slog.Value { v.call.Token("last words"); return slog.StringValue("said") }
func (v talkative) Error() string        { v.call.Token("last words"); return "said" }

// slowValue is captured when it is let go.
type slowValue struct{ entered, release chan struct{} }

func (v slowValue) LogValue() slog.Value { close(v.entered); <-v.release; return slog.IntValue(1) }

// within fails the test if f does not return.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(testkafka.Wait):
		t.Fatalf("%s does not return", what)
	}
}

// Code of the caller runs without the lock of the call: it may use the call, or take its time.
func TestAnAttributeThatUsesItsCall(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithRedaction(false))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	n := run.Node("n")
	end, fail, slow := n.LLM("m", "p"), n.LLM("m", "p"), n.LLM("m", "p")
	within(t, "End", func() { end.End(dashstream.Usage{Attrs: []slog.Attr{slog.Any("a", talkative{end})}}) })
	within(t, "Fail", func() { fail.Fail(talkative{fail}) })

	v := slowValue{make(chan struct{}), make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() { slow.End(dashstream.Usage{Attrs: []slog.Attr{slog.Any("a", v)}}) })
	<-v.entered
	within(t, "Token beside a slow End", func() { slow.Token("meanwhile") })
	close(v.release)
	wg.Wait()
	end.End(dashstream.Usage{})
	run.End(nil)
	flush(t, p)

	texts, ends := map[string]string{}, map[string]int{}
	for _, r := range readAll(t, c, topic) {
		if chunk := r.msg.GetTokenChunk(); chunk != nil {
			texts[chunk.GetRequestId()] += chunk.GetText()
			if chunk.GetIsFinal() {
				texts[chunk.GetRequestId()] += "."
			}
		}
		switch e := r.msg.GetEvent(); e.GetEventType() {
		case pb.EventType_EVENT_TYPE_LLM_END, pb.EventType_EVENT_TYPE_LLM_ERROR:
			ends[e.GetLlmRequestId()]++
		}
	}
	for call, want := range map[*dashstream.LLM]string{end: "last words.", fail: "last words.", slow: "meanwhile."} {
		if got := texts[call.RequestID()]; got != want || ends[call.RequestID()] != 1 {
			t.Errorf("tokens %q, want %q; %d ends, want 1", got, want, ends[call.RequestID()])
		}
	}
}

// quitter ends the goroutine that encodes it.
type quitter struct{}

func (quitter) MarshalJSON() ([]byte, error) { runtime.Goexit(); return nil, nil }
func (quitter) LogValue() slog.Value         { runtime.Goexit(); return slog.Value{} }

// A run whose goroutine ends before it has begun holds nothing.
func TestAGoroutineThatEndsAsItsRunBegins(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	p := newProducer(t, c, c.Topic(t, 1), dashstream.WithMaxIdleThreads(1))
	for i := range 20 {
		spec := dashstream.RunSpec{ThreadID: fmt.Sprint("t", i), InitialState: quitter{}}
		if i%2 == 0 {
			spec = dashstream.RunSpec{ThreadID: spec.ThreadID, Attrs: []slog.Attr{slog.Any("a", quitter{})}}
		}
		var wg sync.WaitGroup
		wg.Go(func() { p.StartRun(t.Context(), spec) })
		wg.Wait()
	}
	if s := p.Stats(); s.Threads > 2 || s.Runs != 0 {
		t.Errorf("%d threads are held and %d runs are open, of runs that did not begin", s.Threads, s.Runs)
	}
}
