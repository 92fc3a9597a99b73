package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/embedded"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	env := map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": topic}

	o := runCLI(t, env, "demo", "--runs", "16", "--speed", "0", "--seed", "18446744073709551615", "--output", "json")
	o.want(t, ExitOK, "16 runs of simulated agents", "tenant demo", "seed 18446744073709551615")
	var report struct {
		Seed      string
		Runs      map[string]int
		Scenarios map[string]int
		Messages  map[string]map[string]uint64
		Total     map[string]uint64
		Lost      *int
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatalf("%v: %s", err, o.stdout)
	}
	if report.Seed != "18446744073709551615" || report.Runs["completed"] != 14 || report.Runs["failed"] != 2 || len(report.Scenarios) != 8 ||
		report.Lost == nil || *report.Lost != 0 || report.Total["emitted"] == 0 || report.Total["acked"] != report.Total["emitted"] || report.Messages["token_chunk"]["acked"] == 0 {
		t.Errorf("%s", o.stdout)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	defer cancel()
	ends, err := c.Admin(t).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	records := int64(0)
	ends.Each(func(e kadm.ListedOffset) { records += e.Offset })
	if uint64(records) != report.Total["acked"] {
		t.Errorf("%d records in the topic, the report says %d", records, report.Total["acked"])
	}

	o = runCLI(t, env, "demo", "-n", "1", "--speed", "300", "--scenario", "failure", "--seed", "1")
	o.want(t, ExitOK, "demo-1-0001-failure  began: ", "demo-1-0001-failure  failed after ")
	if !strings.HasPrefix(o.stdout, "runs: 1 failed as their scripts say; ") || !strings.Contains(o.stdout, "seed 1\n") || !strings.Contains(o.stdout, "\ntotal ") {
		t.Errorf("%s", o.stdout)
	}
	// Nobody waited for the acknowledgements, so they count as lost.
	o = runCLI(t, env, "demo", "--runs", "8", "--speed", "0", "--flush-timeout-secs", "0")
	o.want(t, ExitFailure, "messages were not acknowledged")
	var emitted, acked, dropped, failed uint64
	if _, err := fmt.Sscanf(line(t, o, "total"), "total %d %d %d %d", &emitted, &acked, &dropped, &failed); err != nil || emitted != acked+dropped+failed {
		t.Errorf("%v: messages without an outcome: %s", err, o.stdout)
	}
	// The error tells the same account.
	if says := fmt.Sprintf("%d of %d messages were not acknowledged: %d dropped, %d failed\n", dropped+failed, emitted, dropped, failed); !strings.Contains(o.stderr, says) {
		t.Errorf("not %q: %s", says, o.stderr)
	}
}

func TestDemoRefuses(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	missing := c.TopicName(t)
	for _, tt := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"--kafka-topic", missing}, ExitNoData, []string{missing, "Try: dashstream topics ensure"}},
		{[]string{"--kafka-brokers", "127.0.0.1:1"}, ExitBroker, []string{"127.0.0.1:1"}},
		{[]string{"--scenario", "chess"}, ExitUsage, []string{`--scenario "chess"`, "rag, research, critic, retry, agent, approval, failure, tune, all", "Try: dashstream demo --help"}},
		{[]string{"--runs=-1"}, ExitUsage, []string{"--runs -1: allowed is 0 to "}},
		{[]string{"--rate=-0.1"}, ExitUsage, []string{"--rate -0.1: allowed is 0 to 10000"}},
		{[]string{"--speed=NaN"}, ExitUsage, []string{"--speed NaN: allowed is 0 to 10000"}},
		{[]string{"--seed", "1.5"}, ExitUsage, []string{"--seed", `"1.5"`, "a whole number"}},
		{[]string{"--seed=-1"}, ExitUsage, []string{"--seed", "a whole number"}},
		{[]string{"--clock", "noon"}, ExitUsage, []string{"--clock", `"noon"`, "2026-01-31T12:00:00Z"}},
		{[]string{"--state-redact=maybe"}, ExitUsage, []string{"--state-redact", "on"}},
	} {
		o := runCLI(t, map[string]string{"KAFKA_BROKERS": c.BrokerList()}, append([]string{"demo"}, tt.args...)...)
		o.want(t, tt.code, tt.says...)
		if o.stdout != "" {
			t.Errorf("%v: talk on stdout: %q", tt.args, o.stdout)
		}
	}
}

// A demo that goes on until it is stopped was done when it is stopped; one that was to play so many runs was not.
func TestDemoIsStopped(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	for _, tt := range []struct {
		runs string
		code int
		says string
	}{{"0", ExitOK, "interrupted after"}, {"50", ExitFailure, "stopped after 0 of 50 runs"}} {
		topic := c.Topic(t, 1)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var stdout bytes.Buffer
		stderr := &watched{text: "began: ", seen: stop}
		code := Program{
			Args: []string{"demo", "--runs", tt.runs, "--seed", "2"},
			Env:  settings.MapEnv(map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": topic}), Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: stderr,
		}.Run(ctx)
		if code != tt.code || !strings.Contains(stderr.String(), tt.says) || !strings.Contains(stdout.String(), "runs: 1 interrupted") {
			t.Errorf("exit code %d, stdout %s, stderr %s", code, stdout.String(), stderr)
		}
		threads := threadsOf(t, c.Client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 1)
		if len(threads) != 1 || threads["demo-2-0001-rag"] != dashstreampb.EventType_EVENT_TYPE_GRAPH_ERROR {
			t.Errorf("threads and how they end: %v", threads)
		}
	}
}

// watched calls seen when the text was written.
type watched struct {
	mu   sync.Mutex
	all  bytes.Buffer
	text string
	seen func()
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	if bytes.Contains(w.all.Bytes(), []byte(w.text)) {
		w.seen()
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

// threadsOf reads until so many threads have ended and returns them with the event that each ends with.
func threadsOf(t *testing.T, cl *kgo.Client, ended int) map[string]dashstreampb.EventType {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	defer cancel()
	last := map[string]dashstreampb.EventType{}
	for n := 0; n < ended; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("%v; read so far: %v", err, last)
		}
		fs.EachRecord(func(r *kgo.Record) {
			m, err := wire.Decode(r.Value, wire.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			e := m.GetEvent().GetEventType()
			last[string(r.Key)] = e
			if e == dashstreampb.EventType_EVENT_TYPE_GRAPH_END || e == dashstreampb.EventType_EVENT_TYPE_GRAPH_ERROR {
				n++
			}
		})
	}
	return last
}

// "up --demo" shows runs of the seed within seconds, and leaves none open when it is stopped.
func TestUpWithADemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready.json")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stderr := &watched{text: "Demo runs have the seed 42", seen: func() {}}
	done := make(chan int)
	go func() {
		done <- Program{
			Args: []string{"up", "--demo", "--data-dir", filepath.Join(dir, "data"), "--kafka-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--ready-file", ready},
			Env:  settings.MapEnv(map[string]string{"DASHSTREAM_DEMO_SEED": "42"}), Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: stderr,
		}.Run(ctx)
	}()
	var at struct{ Kafka string }
	testkafka.Eventually(t, "it is ready", func(context.Context) error {
		text, err := os.ReadFile(ready)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &at)
	})
	client := func(addr string) *kgo.Client {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(kafkaclient.DefaultTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}
	first, cancel := context.WithTimeout(ctx, testkafka.Wait)
	defer cancel()
	fs := client(at.Kafka).PollFetches(first)
	if err := fs.Err(); err != nil {
		t.Fatal(err)
	}
	fs.EachRecord(func(r *kgo.Record) {
		if !strings.HasPrefix(string(r.Key), "demo-42-") {
			t.Errorf("a record of thread %s", r.Key)
		}
	})
	stop()
	select {
	case code := <-done:
		if code != ExitOK {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	case <-time.After(testkafka.Wait):
		t.Fatal("it does not end")
	}
	if !strings.Contains(stderr.String(), "Demo runs have the seed 42") || strings.Contains(stderr.String(), "level=WARN") || strings.Contains(stderr.String(), "level=ERROR") {
		t.Errorf("%s", stderr)
	}

	broker, err := embedded.Start(t.Context(), embedded.Options{DataDir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := broker.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for thread, end := range threadsOf(t, client(broker.Addr()), 1) {
		if end != dashstreampb.EventType_EVENT_TYPE_GRAPH_ERROR {
			t.Errorf("%s ends with %v", thread, end)
		}
	}
}

// What up calls --demo-rate is --rate in demo, and a command line that was written for one is good for the other.
func TestDemoTakesTheNamesOfUp(t *testing.T) {
	t.Parallel()
	options, err := settings.Fields(newUpCommand())
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{"demo-rate": "2.5", "demo-seed": "7"}
	for _, f := range options {
		if _, ok := values[f.Flag]; strings.HasPrefix(f.Flag, "demo-") && !ok {
			t.Errorf("up has --%s: say here what it is in demo", f.Flag)
		}
	}
	for _, prefix := range []string{"--", "--demo-"} {
		args := []string{"demo", prefix + "rate=" + values["demo-rate"], prefix + "seed", values["demo-seed"]}
		cmd, _, err := Program{Args: args}.prepare()
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		c, ok := cmd.(*demoCommand)
		if !ok {
			t.Fatalf("%T", cmd)
		}
		if o, err := c.options(); err != nil || o.Rate != 2.5 || o.Seed != 7 {
			t.Errorf("%q: %+v, %v", args, o, err)
		}
	}
	if help := strings.Join(strings.Fields(runCLI(t, nil, "demo", "--help").stdout), " "); !strings.Contains(help, "Also --demo-rate, as in up.") {
		t.Errorf("demo --help does not tell: %s", help)
	}
}
