package dashstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// ends returns the terminal events of a thread.
func ends(records []record, thread string) (out []*pb.Event) {
	for _, r := range records {
		if e := r.msg.GetEvent(); e != nil && r.key == thread {
			switch e.EventType {
			case pb.EventType_EVENT_TYPE_GRAPH_END, pb.EventType_EVENT_TYPE_GRAPH_ERROR:
				out = append(out, e)
			}
		}
	}
	return out
}

func TestEnd(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	start := func(id string) *dashstream.Run {
		return p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: id, Graph: dashstream.Graph{Name: "g"}})
	}
	run := func(id string, body func() error) (err error) {
		r := start(id)
		defer r.End(&err)
		return body()
	}
	_ = run("fine", func() error { return nil })
	_ = run("error", func() error { return fmt.Errorf("went wrong") })
	var nilError *wire.Error
	_ = run("nil pointer", func() error { return nilError })
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("the panic became %v", v)
			}
		}()
		_ = run("panic", func() error { panic("boom") })
	}()
	twice := start("twice")
	twice.End(nil)
	twice.End(nil)
	twice.Edge("a", "b")
	twice.State(1)
	many := start("many")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { many.End(nil) })
	}
	wg.Wait()
	flush(t, p)

	records := readAll(t, c, topic)
	for thread, want := range map[string]string{"fine": "", "error": "went wrong", "panic": "panic: boom", "twice": "", "many": "", "nil pointer": "*wire.Error"} {
		got := ends(records, thread)
		if len(got) != 1 {
			t.Errorf("%s: %d ends", thread, len(got))
			continue
		}
		wantType := pb.EventType_EVENT_TYPE_GRAPH_END
		if want != "" {
			wantType = pb.EventType_EVENT_TYPE_GRAPH_ERROR
		}
		if got[0].EventType != wantType || got[0].Attributes["error"].GetStringValue() != want || got[0].Attributes["graph_name"].GetStringValue() != "g" {
			t.Errorf("%s: %v", thread, got[0])
		}
	}
	panics := slices.IndexFunc(records, func(r record) bool { return r.msg.GetError() != nil })
	if e := records[panics].msg.GetError(); e.ErrorCode != "panic" || !strings.Contains(e.StackTrace, "lifecycle_test.go") || e.Severity != pb.Error_SEVERITY_FATAL {
		t.Errorf("the panic's error is %v", e)
	}
	if n := p.Stats().Total().Dropped[dashstream.DropRunEnded]; n != 2 {
		t.Errorf("%d messages dropped after the end, want 2", n)
	}
	checkSequences(t, records)
	checkAccounts(t, p)
}

func TestNilIsOff(t *testing.T) {
	t.Parallel()
	var p *dashstream.Producer
	run := p.StartRun(t.Context(), dashstream.RunSpec{})
	n := run.Node("n")
	n.Progress("", 0)
	n.Thinking("", 0)
	n.Substep("", "")
	n.Warning("")
	n.Event(pb.EventType_EVENT_TYPE_MEMORY_LOAD)
	l := n.LLM("", "")
	l.Token("x")
	l.Retry(1, nil)
	l.Fail(nil)
	l.End(dashstream.Usage{})
	tool := n.Tool("", nil)
	tool.Retry(nil)
	tool.Fail(nil)
	tool.End(nil)
	_, _, _ = l.RequestID(), tool.CallID(), run.ThreadID()
	n.End(nil)
	run.State(1)
	run.Checkpoint(1)
	run.Edge("", "")
	run.Branch("", "", "")
	run.Parallel("").End()
	run.Interrupt("", "")
	run.Resume("", "")
	run.Quality(dashstream.Quality{})
	run.Error(errors.New("x"), dashstream.ErrorInfo{})
	run.Event(pb.EventType_EVENT_TYPE_MEMORY_LOAD, "")
	run.End(nil)
}

func TestCloseEndsOpenRuns(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "a"})
	b := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "b"})
	b.End(nil)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	records := readAll(t, c, topic)
	if got := ends(records, "a"); len(got) != 1 || !strings.Contains(got[0].Attributes["error"].GetStringValue(), "abandoned") {
		t.Errorf("a ended with %v", got)
	}
	if got := ends(records, "b"); len(got) != 1 || got[0].EventType != pb.EventType_EVENT_TYPE_GRAPH_END {
		t.Errorf("b ended with %v", got)
	}
	s := p.Stats()
	if s.AbandonedRuns != 1 || s.Runs != 0 || s.Total().Acked != 4 {
		t.Errorf("%d abandoned, %d open, %+v", s.AbandonedRuns, s.Runs, s.Total())
	}
}

// A run that nobody ends is ended, unless it waits for a human; and the clock of that is not the wall's.
func TestIdleRunsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vn := &kfake.VirtualNetwork{}
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.SeedTopics(1, "t"), kfake.ListenFn(vn.Listen))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		dial := kgo.Dialer(vn.DialContext)
		p, err := dashstream.New(dashstream.WithBrokers(c.ListenAddrs()...), dashstream.WithTopic("t"), dashstream.WithKafkaOptions(dial), dashstream.WithRunIdleTimeout(10*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "idle"})
		busy := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "busy"})
		waits := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "waits"})
		waits.Interrupt("approve", "may I?")
		for range 12 {
			time.Sleep(5 * time.Minute)
			busy.Edge("a", "b")
		}
		if s := p.Stats(); s.AbandonedRuns != 1 || s.Runs != 2 {
			t.Errorf("%d runs were given up and %d are open, want 1 and 2", s.AbandonedRuns, s.Runs)
		}
		waits.Resume("approve", "yes")
		busy.End(nil)
		time.Sleep(11 * time.Minute)
		if s := p.Stats(); s.AbandonedRuns != 2 || s.Runs != 0 {
			t.Errorf("%d runs were given up and %d are open, want 2 and 0", s.AbandonedRuns, s.Runs)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), dial, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		types := map[string][]string{}
		for n := 0; n < int(p.Stats().Total().Acked); {
			fs := cl.PollFetches(t.Context())
			fs.EachRecord(func(r *kgo.Record) {
				n++
				m, err := wire.Decode(r.Value, wire.DefaultLimits())
				if err != nil {
					t.Fatal(err)
				}
				types[string(r.Key)] = append(types[string(r.Key)], strings.TrimPrefix(m.GetEvent().GetEventType().String(), "EVENT_TYPE_"))
			})
		}
		for thread, want := range map[string]string{
			"idle": "GRAPH_START GRAPH_ERROR", "waits": "GRAPH_START HUMAN_INTERRUPT HUMAN_RESUME GRAPH_ERROR",
			"busy": "GRAPH_START" + strings.Repeat(" EDGE_TRAVERSAL", 12) + " GRAPH_END",
		} {
			if got := strings.Join(types[thread], " "); got != want {
				t.Errorf("%s: %s, want %s", thread, got, want)
			}
		}
	})
}

// Nothing that the producer started is left when it is closed, also without a broker. A bubble tells.
func TestCloseLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			p, err := dashstream.New(dashstream.WithFlushTimeout(timeout), dashstream.WithKafkaOptions(kgo.Dialer(nowhere)))
			if err != nil {
				t.Fatal(err)
			}
			p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "a"}).Edge("a", "b")
			if err := p.Close(context.Background()); err == nil {
				t.Error("close without a broker lost nothing")
			}
			if got := p.Stats().Total(); got.Dropped[dashstream.DropShutdown] != 3 {
				t.Errorf("dropped %v, want 3 at the shutdown", got.Dropped)
			}
		})
	}
}

// An operator hears of it when Kafka does not take telemetry, and why, once; and when it does again.
func TestStallIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vn := &kfake.VirtualNetwork{}
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.SeedTopics(1, "t"), kfake.ListenFn(vn.Listen))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var down atomic.Bool
		down.Store(true)
		var log bytes.Buffer
		p, err := dashstream.New(
			dashstream.WithBrokers(c.ListenAddrs()...), dashstream.WithTopic("t"),
			dashstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			dashstream.WithKafkaOptions(kgo.WithLogger(nil), kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
				if down.Load() {
					return nowhere(ctx, network, addr)
				}
				return vn.DialContext(ctx, network, addr)
			})),
		)
		if err != nil {
			t.Fatal(err)
		}
		run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
		for range 12 {
			time.Sleep(5 * time.Second)
			run.Edge("a", "b")
		}
		down.Store(false)
		for range 12 {
			time.Sleep(5 * time.Second)
			run.Edge("a", "b")
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "does not acknowledge") || !strings.Contains(lines[0], "there is no network") || !strings.Contains(lines[1], "again") {
			t.Errorf("the log is\n%s", log.String())
		}
	})
}

// PRO-13.
func TestReady(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	var n network
	p := newProducer(t, c, topic, n.option())
	ready := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		err := p.Ready(ctx)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		return err
	}
	if err := ready(); err != nil {
		t.Errorf("with a broker: %v", err)
	}
	n.cut()
	if err := ready(); err == nil || !strings.Contains(err.Error(), "the network is down") {
		t.Errorf("without a broker: %v", err)
	}
	n.down.Store(false)
	testkafka.Eventually(t, "it is ready again", func(context.Context) error { return ready() })
}
