package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
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

// place is where a record lies.
type place struct {
	partition int32
	offset    int64
}

// entry is what the log says of a record.
type entry struct {
	thread   string
	sequence uint64
	value    string
}

// readLog reads the whole topic with a reader that shares no code with ours.
func readLog(t *testing.T, kafka string) map[place]entry {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	offsets := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		want += int(o.Offset)
		offsets[o.Partition] = kgo.NewOffset().AtStart()
	})
	reader, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	out := map[place]entry{}
	for len(out) < want {
		fs := reader.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			m, err := wire.Decode(r.Value, wire.DefaultLimits())
			if err != nil {
				t.Fatalf("partition %d offset %d: %v", r.Partition, r.Offset, err)
			}
			h := wire.HeaderOf(m)
			out[place{r.Partition, r.Offset}] = entry{h.GetThreadId(), h.GetSequence(), string(r.Value)}
		})
	}
	return out
}

// counts gives the number of records by partition.
func counts(log map[place]entry) []int64 {
	out := make([]int64, partitions)
	for p := range log {
		out[p.partition]++
	}
	return out
}

// contiguous fails unless the sequences of each thread are 1 to n in the order
// of the log, but for the numbers that the producer says it lost.
func contiguous(t *testing.T, log map[place]entry, lost uint64) {
	t.Helper()
	places := make([]place, 0, len(log))
	for p := range log {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.partition != b.partition {
			return int(a.partition - b.partition)
		}
		return int(a.offset - b.offset)
	})
	last := map[string]uint64{}
	missing := uint64(0)
	for _, p := range places {
		e := log[p]
		if e.sequence <= last[e.thread] {
			t.Fatalf("thread %s: sequence %d after %d at %v", e.thread, e.sequence, last[e.thread], p)
		}
		missing += e.sequence - last[e.thread] - 1
		last[e.thread] = e.sequence
	}
	if missing > lost {
		t.Errorf("%d sequence numbers are missing, the producer counts %d lost", missing, lost)
	}
}

func TestTheSameStreamEverywhere(t *testing.T) {
	t.Parallel()
	s := up(t, t.TempDir())
	// tail begins at the live end and loses nothing of what comes while it
	// connects.
	const threads, events = 6, 50
	total := threads * (events + 2)
	tail := run(t, nil, "tail", "--brokers", s.Kafka, "--count", fmt.Sprint(total), "--output", "json")
	p := producer(t, s.Kafka)
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() { agent(p, fmt.Sprintf("thread-%d", i), events) })
	}
	wg.Wait()
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	log := readLog(t, s.Kafka)
	if len(log) != total {
		t.Fatalf("the log holds %d records, want %d", len(log), total)
	}
	contiguous(t, log, 0)

	if code := tail.wait(); code != 0 {
		t.Fatalf("tail ended with %d", code)
	}
	seen := map[place]bool{}
	for _, l := range parseLines(t, tail.out.String()) {
		at := place{l.Partition, l.Offset}
		if e := log[at]; seen[at] || e.thread != l.ThreadID || e.sequence != l.Sequence || l.Type != "event" || l.Timestamp == "" || len(l.Message) == 0 {
			t.Fatalf("tail printed %+v, the log has %+v", l, e)
		}
		seen[at] = true
	}
	if len(seen) != total {
		t.Errorf("tail printed %d records, want %d", len(seen), total)
	}

	pb := testclient.Dial(t, s.url(), "dashstream.v1+proto", nil)
	pb.Subscribe(testclient.Earliest(), nil)
	js := testclient.Dial(t, s.url(), "dashstream.v1+json", nil)
	js.Subscribe(testclient.Earliest(), nil)
	sse := testclient.SSE(t, s.url(), "?from=earliest", "")
	for name, c := range map[string]*testclient.Client{"proto": pb, "json": js, "sse": sse} {
		c.Until(name, func() bool { return c.CaughtUp == 1 })
		c.Complete(counts(log)...)
		for _, r := range c.Records {
			e := log[place{r.GetPartition(), r.GetOffset()}]
			h := wire.HeaderOf(r.GetMessage())
			if name == "proto" {
				if string(r.GetValue()) != e.value {
					t.Fatalf("%s: stored bytes differ at partition %d offset %d", name, r.GetPartition(), r.GetOffset())
				}
			} else if h.GetThreadId() != e.thread || h.GetSequence() != e.sequence {
				t.Fatalf("%s: %v at partition %d offset %d, the log has %+v", name, h, r.GetPartition(), r.GetOffset(), e)
			}
		}
	}
	if code := s.stop(); code != 0 {
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
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
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
	first := up(t, dir)
	// The same addresses each time, as an agent and a page know them.
	addresses := []string{"--listen", first.HTTP, "--kafka-listen", first.Kafka}
	p := producer(t, first.Kafka, dashstream.WithFlushTimeout(patience))
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
		if err := w.follow(s.url(), func() bool { return len(w.records) >= goal }); err != nil {
			t.Fatalf("round %d: %v after %d records\n%s", round, err, len(w.records), s.errs)
		}
		if round%2 == 0 {
			s.kill()
		} else if code := s.stop(); code != 0 {
			t.Fatalf("round %d: up ended with %d", round, code)
		}
		s = serve(t, nil, append([]string{"up", "--data-dir", dir}, addresses...)...)
	}
	close(stop)
	wg.Wait()
	if err := p.Close(t.Context()); err != nil {
		t.Logf("close: %v", err)
	}
	st := p.Stats().Total()
	log := readLog(t, s.Kafka)
	err := w.follow(s.url(), func() bool { return len(w.records) >= len(log) })
	if err != nil {
		t.Fatal(err)
	}
	testclient.Complete(t, w.records, counts(log)...)
	for _, r := range w.records {
		if e := log[place{r.GetPartition(), r.GetOffset()}]; string(r.GetValue()) != e.value {
			t.Fatalf("partition %d offset %d differs from the log", r.GetPartition(), r.GetOffset())
		}
	}
	// Whatever was acknowledged is there; what is not was counted.
	lost := st.DroppedTotal() + st.FailedTotal()
	if st.Emitted != st.Acked+lost || uint64(len(log)) < st.Acked {
		t.Errorf("emitted %d, acked %d, dropped %d, failed %d; the log holds %d", st.Emitted, st.Acked, st.DroppedTotal(), st.FailedTotal(), len(log))
	}
	contiguous(t, log, lost)
}

func TestAGatewayRestartsBesideItsCluster(t *testing.T) {
	t.Parallel()
	s := up(t, t.TempDir())
	env := []string{"KAFKA_BROKERS=" + s.Kafka, "WEBSOCKET_PORT=0"}
	p := producer(t, s.Kafka)
	w := &watcher{t: t}
	for round := range 3 {
		g := serve(t, env, "gateway")
		if g.Kafka != "" {
			t.Errorf("a gateway names a broker of its own: %s", g.Kafka)
		}
		agent(p, fmt.Sprint("thread-", round), 98)
		if err := w.follow(g.url(), func() bool { return len(w.records) >= (round+1)*100-30 }); err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			g.kill()
		} else if code := g.stop(); code != 0 {
			t.Errorf("gateway ended with %d", code)
		}
	}
	if err := w.follow(s.url(), func() bool { return len(w.records) >= 300 }); err != nil {
		t.Fatal(err)
	}
	testclient.Complete(t, w.records, counts(readLog(t, s.Kafka))...)
}

func TestTailInAPipeAndOnInterrupt(t *testing.T) {
	t.Parallel()
	s := up(t, t.TempDir())
	p := producer(t, s.Kafka)
	agent(p, "alpha", 30)
	agent(p, "beta", 30)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("sh", "-c", binary+" tail --brokers "+s.Kafka+" --from earliest --output json | head -n 3")
	out, err := sh.Output()
	if err != nil || len(parseLines(t, string(out))) != 3 {
		t.Errorf("tail | head -n 3: %v %q", err, out)
	}
	tail := run(t, nil, "tail", "--brokers", s.Kafka, "--from", "earliest", "--thread", "alpha", "--type", "event", "-o", "json")
	eventually(t, "tail prints", func() error {
		if n := len(parseLines(t, tail.out.String())); n != 32 {
			return fmt.Errorf("%d lines, want 32", n)
		}
		return nil
	})
	if err := tail.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := tail.wait(); code != 0 {
		t.Errorf("tail ended with %d on Ctrl-C, want 0", code)
	}
	if tail.errs.String() != "" {
		t.Errorf("tail said %q", tail.errs)
	}
	for _, l := range parseLines(t, tail.out.String()) {
		if l.ThreadID != "alpha" {
			t.Errorf("--thread alpha let %q through", l.ThreadID)
		}
	}
	all := run(t, nil, "tail", "--brokers", s.Kafka, "--from", "earliest", "--no-follow")
	if code := all.wait(); code != 0 || strings.Count(all.out.String(), "\n") != 64 || !strings.Contains(all.out.String(), "GRAPH_START") {
		t.Errorf("tail --no-follow ended with %d and printed %d lines", code, strings.Count(all.out.String(), "\n"))
	}
	// Nothing of this joined a group or committed.
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	groups, err := kadm.NewClient(cl).ListGroups(t.Context())
	if err != nil || len(groups) > 0 {
		t.Errorf("groups %v, error %v, want none", groups.Groups(), err)
	}
}

func TestMistakesAtTheStartAreNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := up(t, dir)
	for name, tc := range map[string]struct {
		env  []string
		args []string
		code int
		want []string
	}{
		"the directory is in use": {nil, []string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"}, 5, []string{dir, fmt.Sprint(s.cmd.Process.Pid)}},
		"the port is in use":      {nil, []string{"up", "--data-dir", t.TempDir(), "--listen", s.HTTP, "--kafka-listen", "127.0.0.1:0"}, 5, []string{s.HTTP, "in use"}},
		"beyond this machine":     {nil, []string{"up", "--data-dir", t.TempDir(), "--listen", "0.0.0.0:0", "--kafka-listen", "127.0.0.1:0"}, 2, []string{"token"}},
		"the broker too":          {nil, []string{"up", "--data-dir", t.TempDir(), "--kafka-listen", "0.0.0.0:0"}, 2, []string{"0.0.0.0", "loopback"}},
		"no such topic":           {[]string{"KAFKA_BROKERS=" + s.Kafka, "KAFKA_TOPIC=other"}, []string{"gateway", "--listen", "127.0.0.1:0"}, 4, []string{"other", "dashstream topics ensure"}},
		"a bad variable":          {[]string{"WEBSOCKET_PORT=x"}, []string{"gateway"}, 2, []string{"WEBSOCKET_PORT", `"x"`}},
		"a bad topic name":        {[]string{"KAFKA_TOPIC=a/b"}, []string{"tail"}, 2, []string{"KAFKA_TOPIC", "a/b"}},
		"an unknown type":         {nil, []string{"tail", "--type", "nonsense"}, 2, []string{"nonsense", "token_chunk"}},
		"tail of no topic":        {nil, []string{"tail", "--brokers", s.Kafka, "--topic", "other"}, 4, []string{"other"}},
	} {
		p := run(t, tc.env, tc.args...)
		code := p.wait()
		text := p.errs.String()
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
	s := up(t, t.TempDir())
	g := serve(t, []string{"KAFKA_BROKERS=" + s.Kafka}, "gateway", "--listen", "127.0.0.1:0")
	agent(producer(t, s.Kafka), "thread", 10)
	get := func(url string) (int, string) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
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
		if code, body := get(g.url() + path); code != 200 || !strings.Contains(strings.ToLower(body), want) {
			t.Errorf("%s: %d %.200s, want 200 with %q", path, code, body, want)
		}
	}
	eventually(t, "the records are counted", func() error {
		if _, body := get(g.url() + "/metrics"); !strings.Contains(body, `websocket_kafka_messages_total{status="success"} 12`) {
			return errors.New("not yet")
		}
		return nil
	})
	// The broker goes: live, not ready, and it says why.
	s.kill()
	eventually(t, "not ready", func() error {
		code, body := get(g.url() + "/readyz?verbose")
		if code != 503 || !strings.Contains(body, "kafka") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code, body := get(g.url() + "/livez"); code != 200 {
		t.Errorf("/livez without a broker: %d %s", code, body)
	}
	if code := g.stop(); code != 0 {
		t.Errorf("gateway ended with %d", code)
	}
}
