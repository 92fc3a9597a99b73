package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testlog"
	"github.com/dashflow/dashstream/internal/testprocess"
	"github.com/dashflow/dashstream/internal/wire"
)

const (
	topic      = "dashstream-quality"
	partitions = 3 // of the embedded broker's topic
)

// producer is an agent's producer.
func producer(t *testing.T, kafka string, opts ...dashstream.Option) *dashstream.Producer {
	t.Helper()
	p, err := dashstream.New(append([]dashstream.Option{dashstream.WithBrokers(kafka)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(context.Background()) }) // a test that cares looks at Stats
	return p
}

// agent emits a run of n progress events.
func agent(p *dashstream.Producer, thread string, n int) {
	run := p.StartRun(context.Background(), dashstream.RunSpec{ThreadID: thread, Graph: dashstream.Graph{Name: "e2e"}})
	for i := range n {
		run.Event(dashstreampb.EventType_EVENT_TYPE_NODE_PROGRESS, "node", slog.Int("step", i))
	}
	run.End(nil)
}

// contiguous fails unless the sequences of each thread are 1 to n in the order
// of the log, but for as many numbers as the producer says it lost.
func contiguous(t *testing.T, log testlog.Log, lost uint64) {
	t.Helper()
	missing, err := log.Missing(func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	if missing > lost {
		t.Errorf("%d sequence numbers are missing, the producer counts %d lost", missing, lost)
	}
}

func TestTheSameStreamEverywhere(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir())
	// tail begins at the live end and loses nothing of what comes while it
	// connects.
	const threads, events = 6, 50
	total := threads * (events + 2)
	tail := testprocess.Run(t, nil, "tail", "--brokers", s.Kafka, "--count", fmt.Sprint(total), "--output", "json")
	p := producer(t, s.Kafka)
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() { agent(p, fmt.Sprintf("thread-%d", i), events) })
	}
	wg.Wait()
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	log := testlog.Read(t, s.Kafka, topic)
	if log.Len() != total {
		t.Fatalf("the log holds %d records, want %d", log.Len(), total)
	}
	contiguous(t, log, 0)

	if code := tail.Wait(); code != 0 {
		t.Fatalf("tail ended with %d", code)
	}
	type place struct {
		partition int32
		offset    int64
	}
	seen := map[place]bool{}
	printed, _ := parseLines(t, tail.Out.String())
	for _, l := range printed {
		at := place{l.Partition, l.Offset}
		if e := log.At(l.Partition, l.Offset); seen[at] || e.Thread != l.ThreadID || e.Sequence != l.Sequence || l.Type != "event" || l.Timestamp == "" || len(l.Message) == 0 {
			t.Fatalf("tail printed %+v, the log has %+v", l, e)
		}
		seen[at] = true
	}
	if len(seen) != total {
		t.Errorf("tail printed %d records, want %d", len(seen), total)
	}

	pb := testclient.Dial(t, s.URL(), "dashstream.v1+proto", nil)
	pb.Subscribe(testclient.Earliest(), nil)
	js := testclient.Dial(t, s.URL(), "dashstream.v1+json", nil)
	js.Subscribe(testclient.Earliest(), nil)
	sse := testclient.SSE(t, s.URL(), "?from=earliest", "")
	for name, c := range map[string]*testclient.Client{"proto": pb, "json": js, "sse": sse} {
		c.Until(name, func() bool { return c.CaughtUp == 1 })
		c.Complete(log.Counts()...)
		for _, r := range c.Records {
			e := log.At(r.GetPartition(), r.GetOffset())
			h := wire.HeaderOf(r.GetMessage())
			if name == "proto" {
				if string(r.GetValue()) != e.Value {
					t.Fatalf("%s: stored bytes differ at partition %d offset %d", name, r.GetPartition(), r.GetOffset())
				}
			} else if h.GetThreadId() != e.Thread || h.GetSequence() != e.Sequence {
				t.Fatalf("%s: %v at partition %d offset %d, the log has %+v", name, h, r.GetPartition(), r.GetOffset(), e)
			}
		}
	}
	if code := s.Stop(); code != 0 {
		t.Errorf("up ended with %d", code)
	}
}

// watcher is a client that comes back, as the page does, and keeps what it has
// applied.
type watcher struct {
	t       *testing.T
	records []*streampb.Record
	last    *testclient.Client
}

// follow reads from a server until enough says so or the session ends.
func (w *watcher) follow(url string, enough func() bool) error {
	c, err := testclient.TryDial(w.t, url, "dashstream.v1+proto", nil)
	if err != nil {
		return err
	}
	defer c.Close()
	start := testclient.Earliest()
	if w.last != nil {
		start = w.last.Resume()
	}
	c.Subscribe(start, nil)
	ctx, cancel := context.WithTimeout(w.t.Context(), testprocess.Patience)
	defer cancel()
	before := len(w.records)
	for !enough() {
		err = c.Step(ctx)
		if err != nil {
			break
		}
		w.records = append(w.records[:before], c.Records...)
		if len(c.Resets)+len(c.Gaps) > 0 {
			w.t.Fatalf("resets %v, gaps %v", c.Resets, c.Gaps)
		}
	}
	if len(c.Positions) > 0 {
		w.last = c
	}
	return err
}

func TestKillsAndRestartsLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := testprocess.Up(t, dir)
	// The same addresses each time, as an agent and a page know them.
	addresses := []string{"--listen", first.HTTP, "--kafka-listen", first.Kafka}
	p := producer(t, first.Kafka, dashstream.WithFlushTimeout(testprocess.Patience))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
					agent(p, fmt.Sprintf("thread-%d-%d", i, n), 5)
				}
			}
		})
	}
	w := &watcher{t: t}
	s := first
	for round := range 6 {
		goal := len(w.records) + 200
		if err := w.follow(s.URL(), func() bool { return len(w.records) >= goal }); err != nil {
			t.Fatalf("round %d: %v after %d records\n%s", round, err, len(w.records), s.Errs)
		}
		if round%2 == 0 {
			s.Kill()
		} else if code := s.Stop(); code != 0 {
			t.Fatalf("round %d: up ended with %d", round, code)
		}
		s = testprocess.Serve(t, nil, append([]string{"up", "--data-dir", dir}, addresses...)...)
	}
	close(stop)
	wg.Wait()
	if err := p.Close(t.Context()); err != nil {
		t.Logf("close: %v", err)
	}
	st := p.Stats().Total()
	log := testlog.Read(t, s.Kafka, topic)
	err := w.follow(s.URL(), func() bool { return len(w.records) >= log.Len() })
	if err != nil {
		t.Fatal(err)
	}
	testclient.Complete(t, w.records, log.Counts()...)
	for _, r := range w.records {
		if e := log.At(r.GetPartition(), r.GetOffset()); string(r.GetValue()) != e.Value {
			t.Fatalf("partition %d offset %d differs from the log", r.GetPartition(), r.GetOffset())
		}
	}
	// Whatever was acknowledged is there; what is not was counted.
	lost := st.DroppedTotal() + st.FailedTotal()
	if st.Emitted != st.Acked+lost || uint64(log.Len()) < st.Acked {
		t.Errorf("emitted %d, acked %d, dropped %d, failed %d; the log holds %d", st.Emitted, st.Acked, st.DroppedTotal(), st.FailedTotal(), log.Len())
	}
	contiguous(t, log, lost)
}

func TestAGatewayRestartsBesideItsCluster(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir())
	env := []string{"KAFKA_BROKERS=" + s.Kafka, "WEBSOCKET_PORT=0"}
	p := producer(t, s.Kafka)
	w := &watcher{t: t}
	for round := range 3 {
		g := testprocess.Serve(t, env, "gateway")
		if g.Kafka != "" {
			t.Errorf("a gateway names a broker of its own: %s", g.Kafka)
		}
		agent(p, fmt.Sprint("thread-", round), 98)
		if err := w.follow(g.URL(), func() bool { return len(w.records) >= (round+1)*100-30 }); err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			g.Kill()
		} else if code := g.Stop(); code != 0 {
			t.Errorf("gateway ended with %d", code)
		}
	}
	if err := w.follow(s.URL(), func() bool { return len(w.records) >= 300 }); err != nil {
		t.Fatal(err)
	}
	testclient.Complete(t, w.records, testlog.Read(t, s.Kafka, topic).Counts()...)
}

func TestMistakesAtTheStartAreNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := testprocess.Up(t, dir)
	for name, tc := range map[string]struct {
		env  []string
		args []string
		code int
		want []string
	}{
		"the directory is in use": {nil, []string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"}, 5, []string{dir, fmt.Sprint(s.Cmd.Process.Pid)}},
		"the port is in use":      {nil, []string{"up", "--data-dir", t.TempDir(), "--listen", s.HTTP, "--kafka-listen", "127.0.0.1:0"}, 5, []string{s.HTTP, "in use"}},
		"beyond this machine":     {nil, []string{"up", "--data-dir", t.TempDir(), "--listen", "0.0.0.0:0", "--kafka-listen", "127.0.0.1:0"}, 2, []string{"token"}},
		"the broker too":          {nil, []string{"up", "--data-dir", t.TempDir(), "--kafka-listen", "0.0.0.0:0"}, 2, []string{"0.0.0.0", "loopback"}},
		"no such topic":           {[]string{"KAFKA_BROKERS=" + s.Kafka, "KAFKA_TOPIC=other"}, []string{"gateway", "--listen", "127.0.0.1:0"}, 4, []string{"other", "dashstream topics ensure"}},
		"a bad variable":          {[]string{"WEBSOCKET_PORT=x"}, []string{"gateway"}, 2, []string{"WEBSOCKET_PORT", `"x"`}},
		"a bad topic name":        {[]string{"KAFKA_TOPIC=a/b"}, []string{"tail"}, 2, []string{"KAFKA_TOPIC", "a/b"}},
		"an unknown type":         {nil, []string{"tail", "--type", "nonsense"}, 2, []string{"nonsense", "token_chunk"}},
		"tail of no topic":        {nil, []string{"tail", "--brokers", s.Kafka, "--topic", "other"}, 4, []string{"other"}},
	} {
		p := testprocess.Run(t, tc.env, tc.args...)
		code := p.Wait()
		text := p.Errs.String()
		if code != tc.code {
			t.Errorf("%s: exit code %d, want %d; it said:\n%s", name, code, tc.code, text)
		}
		for _, w := range tc.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: it does not name %q:\n%s", name, w, text)
			}
		}
	}
}

func TestHealthAndMetricsSayWhatIs(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir())
	g := testprocess.Serve(t, []string{"KAFKA_BROKERS=" + s.Kafka}, "gateway", "--listen", "127.0.0.1:0")
	agent(producer(t, s.Kafka), "thread", 10)
	get := func(url string) (int, string) {
		ctx, cancel := context.WithTimeout(t.Context(), testprocess.Patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok", "/version": topic, "/": "<!doctype html>"} {
		if code, body := get(g.URL() + path); code != 200 || !strings.Contains(strings.ToLower(body), want) {
			t.Errorf("%s: %d %.200s, want 200 with %q", path, code, body, want)
		}
	}
	testprocess.Eventually(t, "the records are counted", func() error {
		if _, body := get(g.URL() + "/metrics"); !strings.Contains(body, `websocket_kafka_messages_total{status="success"} 12`) {
			return errors.New("not yet")
		}
		return nil
	})
	// The broker goes: live, not ready, and it says why.
	s.Kill()
	testprocess.Eventually(t, "not ready", func() error {
		code, body := get(g.URL() + "/readyz?verbose")
		if code != 503 || !strings.Contains(body, "kafka") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code, body := get(g.URL() + "/livez"); code != 200 {
		t.Errorf("/livez without a broker: %d %s", code, body)
	}
	if code := g.Stop(); code != 0 {
		t.Errorf("gateway ended with %d", code)
	}
}
