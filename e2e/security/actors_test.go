package security

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testprocess"
)

// env is the variables of one run.
type env map[string]string

func (e env) with(more env) env {
	out := maps.Clone(e)
	maps.Copy(out, more)
	return out
}

// outcome is how a run ended that could not do its work.
type outcome struct {
	how  string       // where its user is told, or the exit code
	text string       // all that it said
	told *explanation // where it is not to be found in the text
}

// actor is one of the four that connect to Kafka.
type actor struct {
	name string
	// works does the actor's work for records of the thread, and fails the test where it cannot.
	works func(t *testing.T, e env, thread string)
	// fails tries, and reports what its user is told; one that goes on trying until it tells this cause.
	fails func(t *testing.T, e env, cause string) outcome
	// within is the time that its user has to wait at the most to be told.
	within time.Duration
}

// actors are the four, the one that produces first.
var actors = []actor{
	{"SDK", sdkWorks, sdkFails, dashstream.DefaultFlushTimeout},
	{"gateway", gatewayWorks, gatewayFails, 30 * time.Second},
	{"tail", tailWorks, tailFails, 30 * time.Second},
	{"topics", topicsWorks, topicsFails, time.Minute},
}

// producing is a producer of the SDK and what it logs, down to the last detail, since nothing of it may be a secret.
func producing(e env) (p *dashstream.Producer, log *testprocess.Buffer, err error) {
	log = &testprocess.Buffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	p, err = dashstream.New(dashstream.FromLookup(settings.MapEnv(e)), dashstream.WithLogger(logger))
	return p, log, err
}

// emit is what an agent does, and the end of its program.
func emit(t *testing.T, p *dashstream.Producer, thread string) (dashstream.Counts, error) {
	t.Helper()
	p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: thread, Graph: dashstream.Graph{Name: "security"}}).End(nil)
	err := p.Close(t.Context())
	return p.Stats().Total(), err
}

func sdkWorks(t *testing.T, e env, thread string) {
	t.Helper()
	p, log, err := producing(e)
	if err != nil {
		t.Errorf("SDK: %v", err)
		return
	}
	if total, err := emit(t, p, thread); err != nil || total.Emitted == 0 || total.Acked != total.Emitted {
		t.Errorf("SDK: %d of %d messages acknowledged: %v\n%s", total.Acked, total.Emitted, err, log)
	}
	leaksNothing(t, "SDK", log.String())
}

const sdkAsked = "SDK, asked"

// sdkAsks is for a program that asks beforehand. A permission to write is not asked for.
func sdkAsks(t *testing.T, e env, _ string) outcome {
	t.Helper()
	p, log, err := producing(e)
	if err != nil {
		return outcome{how: "New fails", text: err.Error()}
	}
	ctx, cancel := context.WithTimeout(t.Context(), dashstream.DefaultFlushTimeout)
	defer cancel()
	asked := p.Ready(ctx)
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("SDK: Close without messages: %v", err)
	}
	return outcome{how: "Ready", text: fmt.Sprint(asked) + "\n" + log.String()}
}

func sdkFails(t *testing.T, e env, _ string) outcome {
	t.Helper()
	p, log, err := producing(e)
	if err != nil {
		return outcome{how: "New fails", text: err.Error()}
	}
	total, err := emit(t, p, "refused")
	var incomplete *dashstream.IncompleteError
	if !errors.As(err, &incomplete) {
		t.Errorf("SDK: Close returned %v; %d of %d messages acknowledged", err, total.Acked, total.Emitted)
		return outcome{}
	}
	if total.Acked != 0 || total.DroppedTotal()+total.FailedTotal() != total.Emitted {
		t.Errorf("SDK: the counters must tell of every message: %+v", total)
	}
	if !strings.Contains(log.String(), "telemetry was lost") {
		t.Errorf("SDK: the log does not tell of the loss:\n%s", log)
	}
	how := "Close"
	for r := range dashstream.DropReasonCount {
		if total.Dropped[r] > 0 {
			how += ", dropped: " + dashstream.DropReason(r).String()
		}
	}
	for r := range dashstream.FailReasonCount {
		if total.Failed[r] > 0 {
			how += ", failed: " + dashstream.FailReason(r).String()
		}
	}
	o := outcome{how: how, text: err.Error() + "\n" + log.String()}
	return o
}

func gatewayWorks(t *testing.T, e env, thread string) {
	t.Helper()
	p := run(t, e, "gateway", "--listen", "127.0.0.1:0")
	addr := p.address()
	if addr == "" {
		t.Errorf("gateway: it ended:\n%s", p.text())
		return
	}
	ready := p.eventually("the gateway is ready", func() bool { return readyz(t, addr) == "ok" })
	if !ready {
		t.Errorf("gateway: it ended:\n%s", p.text())
		return
	}
	c := testclient.Dial(t, "http://"+addr, "dashstream.v1+proto", nil)
	c.Subscribe(testclient.Earliest(), &streampb.Filter{Threads: []string{thread}})
	c.Until("records of the thread", func() bool { return len(c.Records) > 0 })
	if code := p.Stop(); code != 0 {
		t.Errorf("gateway: exit code %d", code)
	}
	leaksNothing(t, "gateway", p.text())
}

// readyz is what the probe says.
func readyz(t *testing.T, addr string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testprocess.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "" // it ended
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(body))
}

func gatewayFails(t *testing.T, e env, cause string) outcome {
	t.Helper()
	p := run(t, e, "gateway", "--listen", "127.0.0.1:0")
	probe := ""
	serves := p.address()
	if serves == "" || !p.eventually("/readyz tells the cause", func() bool {
		probe = readyz(t, serves)
		return strings.Contains(probe, cause)
	}) {
		return outcome{how: fmt.Sprintf("exit %d", p.Wait()), text: p.text()}
	}
	if probe == "ok" {
		t.Errorf("gateway: ready")
	}
	told := p.eventually("the log tells the cause", func() bool { return strings.Contains(p.text(), "likely cause") })
	if !told {
		t.Errorf("gateway: ended:\n%s", p.text())
	}
	if code := p.Stop(); code != 0 {
		t.Errorf("gateway: told to stop while it tries: exit code %d", code)
	}
	return outcome{how: "not ready", text: probe + "\n" + p.text()}
}

func command(t *testing.T, e env, args ...string) (code int, text string) {
	t.Helper()
	p := run(t, e, args...)
	code = p.Wait()
	return code, p.text()
}

func tailWorks(t *testing.T, e env, thread string) {
	t.Helper()
	code, text := command(t, e, "tail", "--from", "earliest", "--thread", thread, "--count", "1")
	if code != 0 || !strings.Contains(text, thread) {
		t.Errorf("tail: exit code %d:\n%s", code, text)
	}
	leaksNothing(t, "tail", text)
}

func tailFails(t *testing.T, e env, _ string) outcome {
	t.Helper()
	code, text := command(t, e, "tail", "--from", "earliest", "--count", "1")
	return outcome{how: fmt.Sprintf("exit %d", code), text: text}
}

func topicsWorks(t *testing.T, e env, _ string) {
	t.Helper()
	code, text := command(t, e, "topics", "describe")
	if code != 0 || !strings.Contains(text, e["KAFKA_TOPIC"]+": 1 partition") {
		t.Errorf("topics: exit code %d:\n%s", code, text)
	}
	leaksNothing(t, "topics", text)
}

func topicsFails(t *testing.T, e env, _ string) outcome {
	t.Helper()
	code, text := command(t, e, "topics", "describe")
	return outcome{how: fmt.Sprintf("exit %d", code), text: text}
}

func leaksNothing(t *testing.T, name, text string) {
	t.Helper()
	for _, secret := range []string{secretMark, tokenMark} {
		if strings.Contains(text, secret) {
			t.Errorf("%s prints a secret, %s:\n%s", name, secret, text)
		}
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
