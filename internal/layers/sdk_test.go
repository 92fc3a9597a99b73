package layers

import (
	"go/parser"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sdkMustNotReach is what a program that emits telemetry must not be made to
// link: each has a cost in size, in dependencies or in start-up.
var sdkMustNotReach = []string{
	"github.com/prometheus/",
	"github.com/coder/websocket",
	"github.com/gobwas/",
	"github.com/twmb/franz-go/pkg/kfake",
	"github.com/alecthomas/kong",
	module + "/internal/app",
	module + "/internal/embedded",
	module + "/internal/gateway",
	module + "/internal/httpserve",
	"net/http/pprof",
}

func TestSDKStaysLight(t *testing.T) {
	t.Parallel()
	// The go command reads what this test binary does not, so the files that
	// decide the answer are read here, for the test cache.
	_, all := sources(t, parser.ImportsOnly)
	for _, f := range []string{"go.mod", "go.sum"} {
		if _, err := os.ReadFile(filepath.Join(root, f)); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.ContainsFunc(all, func(s source) bool { return s.pkg == "." && !s.test }) {
		t.Fatal("the root package, the SDK, has no Go file")
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps: %v\n%s", err, stderr.String())
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, module) {
		t.Fatalf("go list printed %d packages without %s", len(deps), module)
	}
	for _, dep := range deps {
		for _, bad := range sdkMustNotReach {
			if dep == strings.TrimSuffix(bad, "/") || strings.HasPrefix(dep, strings.TrimSuffix(bad, "/")+"/") {
				t.Errorf("the SDK links %s", dep)
			}
		}
	}
}
