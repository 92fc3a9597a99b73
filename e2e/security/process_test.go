package security

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/dashflow/dashstream/internal/cli" // what the program is made of, for the test cache
	"github.com/dashflow/dashstream/internal/testprocess"
)

// atOnce is how many of these tests run at a time. Most of them wait for a deadline to pass.
const atOnce = "12"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(testprocess.Main(m))
}

// process is one run of the program.
type process struct {
	*testprocess.Process
	t *testing.T
}

// run starts the program with these variables. It ends with the test.
func run(t *testing.T, e env, args ...string) process {
	t.Helper()
	var variables []string
	for k, v := range e {
		variables = append(variables, k+"="+v)
	}
	return process{testprocess.Run(t, variables, args...), t}
}

// text is all that it printed.
func (p process) text() string { return p.Out.String() + p.Errs.String() }

// eventually polls until check says true or the process ends, and reports which.
func (p process) eventually(what string, check func() bool) bool {
	p.t.Helper()
	deadline := time.After(testprocess.Patience)
	for !check() {
		select {
		case <-p.Done:
			return false
		case <-deadline:
			p.t.Fatalf("%s: waited %v in vain; %q printed:\n%s", what, testprocess.Patience, p.Cmd.Args, p.text())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}

// address is where the process serves HTTP, ready or not; empty when it ended before it did.
func (p process) address() string {
	p.t.Helper()
	addr := ""
	p.eventually("it serves HTTP", func() bool {
		for line := range strings.Lines(p.Errs.String()) {
			if strings.Contains(line, `msg="http server listening"`) {
				_, addr, _ = strings.Cut(strings.TrimSpace(line), "addr=")
			}
		}
		return addr != ""
	})
	return addr
}
