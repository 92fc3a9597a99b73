package webui

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The page's logic has its own tests, for Node's test runner. They need no
// package; where Node is missing they are skipped, and CI installs it.
func TestPageLogic(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: the tests of the page in jstest/ did not run")
	}
	// The test cache knows what this binary reads, not what node does.
	for _, pattern := range []string{"jstest/*.mjs", "static/*.js"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d files: %v", pattern, len(names), err)
		}
		for _, name := range names {
			if _, err := os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests, err := filepath.Glob("jstest/*.test.mjs")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, append([]string{"--test", "--test-reporter=tap"}, tests...)...)
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Fatalf("node --test: %v\n%s", err, failures(text))
	}
	if !strings.Contains(text, "\n# fail 0\n") || strings.Contains(text, "\n# pass 0\n") {
		t.Fatalf("node --test did not say that tests passed:\n%s", text)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "# pass") || strings.HasPrefix(line, "# skipped") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// failures cuts the report down to what failed.
func failures(tap string) string {
	at := strings.Index(tap, "not ok")
	if at < 0 {
		return tap
	}
	return tap[at:]
}
