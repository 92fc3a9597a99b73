package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/exporter"
	"github.com/dashflow/dashstream/internal/testprocess"
)

func TestTailInAPipeAndOnInterrupt(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir())
	p := producer(t, s.Kafka)
	agent(p, "alpha", 30)
	agent(p, "beta", 30)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testprocess.Patience)
	defer cancel()
	sh := exec.CommandContext(ctx, "sh", "-c", testprocess.Binary()+" tail --brokers "+s.Kafka+" --from earliest --output json | head -n 3")
	out, err := sh.Output()
	if records, events := parseLines(t, string(out)); err != nil || len(records) != 3 || len(events) != 0 {
		t.Errorf("tail | head -n 3: %v %q", err, out)
	}
	tail := testprocess.Run(t, nil, "tail", "--brokers", s.Kafka, "--from", "earliest", "--thread", "alpha", "--type", "event", "-o", "json")
	testprocess.Eventually(t, "tail prints", func() error {
		if records, _ := parseLines(t, tail.Out.String()); len(records) != 32 {
			return fmt.Errorf("%d records, want 32", len(records))
		}
		return nil
	})
	if err := tail.Cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := tail.Wait(); code != 0 {
		t.Errorf("tail ended with %d on Ctrl-C, want 0", code)
	}
	if tail.Errs.String() != "" {
		t.Errorf("tail said %q", tail.Errs)
	}
	records, events := parseLines(t, tail.Out.String())
	if len(events) != 1 || events[0].Type != "cursor" {
		t.Errorf("interrupted, tail printed %+v beside records, want the cursor", events)
	}
	for _, l := range records {
		if l.ThreadID != "alpha" {
			t.Errorf("--thread alpha let %q through", l.ThreadID)
		}
	}
	all := testprocess.Run(t, nil, "tail", "--brokers", s.Kafka, "--from", "earliest", "--no-follow")
	if code := all.Wait(); code != 0 || strings.Count(all.Out.String(), "\n") != 64 || !strings.Contains(all.Out.String(), "GRAPH_START") {
		t.Errorf("tail --no-follow ended with %d and printed %d lines", code, strings.Count(all.Out.String(), "\n"))
	}
	// Nothing of this joined a group or committed; the one is that of the exporter in "up".
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	groups, err := kadm.NewClient(cl).ListGroups(t.Context())
	if err != nil || !slices.Equal(groups.Groups(), []string{exporter.DefaultGroup}) {
		t.Errorf("groups %v, error %v, want that of the exporter alone", groups.Groups(), err)
	}
}

// A reader that has enough ends the tail, as head does, without a word about it: while
// the log grows, and while it is quiet, where no write would tell.
func TestTailEndsWithItsReader(t *testing.T) {
	t.Parallel()
	for name, busy := range map[string]bool{"a log that grows": true, "a quiet log": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tailEndsWithItsReader(t, busy)
		})
	}
}

func tailEndsWithItsReader(t *testing.T, busy bool) {
	s := testprocess.Up(t, t.TempDir())
	p := producer(t, s.Kafka)
	agent(p, "thread", 3)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testprocess.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, testprocess.Binary(), "tail", "--brokers", s.Kafka, "--from", "earliest", "--output", "json")
	cmd.Env = []string{"HOME=" + t.TempDir()}
	errs := &testprocess.Buffer{}
	cmd.Stderr = errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 5 { // the run's, which are all
		if !lines.Scan() || !strings.Contains(lines.Text(), `"thread_id":"thread"`) {
			t.Errorf("%q, %v", lines.Text(), lines.Err())
		}
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	if busy {
		agent(p, "another", 2000)
	}
	err = cmd.Wait()
	// A write into a pipe without readers ends a program by a signal, as it should.
	piped := err != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGPIPE
	if err != nil && !piped || errs.String() != "" {
		t.Errorf("the tail, whose reader has gone, ended with %v, and said: %s", err, errs)
	}
}
