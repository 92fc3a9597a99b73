package model

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a script may take on a busy machine; it takes seconds on
// an idle one. Fake time stands still where a goroutine waits for a lock that is
// never given back, or turns without end: then a run never ends by itself.
const patience = 3 * time.Minute

// resultMark begins the line in which a process tells its result.
const resultMark = "model result: "

// runScript plays a script in a process of its own. A panic, a hang and a
// goroutine that is left over are violations like others.
func runScript(t testing.TB, sc script) result {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script.json")
	b, err := json.Marshal(sc)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestPlay$", "-model.play="+file, "-test.timeout=0")
	cmd.Env = append(os.Environ(), "GOTRACEBACK=all")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if _, line, ok := bytes.Cut(out, []byte(resultMark)); ok && err == nil {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		var r result
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("result %s: %v", line, err)
		}
		return r
	}
	what := "the process ended without a result"
	if ctx.Err() != nil {
		what = fmt.Sprintf("the script did not end in %v", patience)
		if s := cmd.ProcessState; s != nil {
			what += fmt.Sprintf(", in which it had a processor for %v", (s.UserTime() + s.SystemTime()).Round(time.Second)) // a hang, or too busy a machine
		}
	}
	return result{Violations: []string{fmt.Sprintf("%s: %v\n%s", what, err, digest(string(out)))}}
}

// digest keeps of a dump what tells most: its beginning, what ran or could run in it,
// and of goroutines that wait the first of each place.
func digest(out string) string {
	parts := strings.Split(strings.TrimSpace(out), "\n\n")
	var busy, waiting []string
	seen := map[string]bool{}
	for _, part := range parts[1:] {
		head, stack, _ := strings.Cut(part, "\n")
		if strings.Contains(head, " gp=") && !strings.Contains(part, "dashstream/") {
			continue // of the runtime
		}
		place, _, _ := strings.Cut(stack[max(0, strings.Index(stack, "dashstream/")):], "(")
		switch {
		case strings.Contains(head, "[run"):
			busy = append(busy, part)
		case !seen[place]:
			seen[place] = true
			waiting = append(waiting, part)
		}
	}
	lines := strings.Split(strings.Join(slices.Concat(parts[:1], busy, waiting), "\n\n"), "\n")
	return strings.Join(lines[:min(len(lines), 300)], "\n")
}
