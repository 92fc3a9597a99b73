package security

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of these tests: far beyond what is promised, since the machine may be busy.
const patience = 2 * time.Minute

// atOnce is how many of these tests run at a time. Most of them wait for a deadline to pass.
const atOnce = "12"

func TestMain(m *testing.M) {
	os.Exit(func() int {
		flag.Parse()
		if err := flag.Set("test.parallel", atOnce); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		dir, err := os.MkdirTemp("", "dashstream-security-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = sync.OnceValues(func() (string, error) { return build(dir) })
		return m.Run()
	}())
}

// binary is the program, built when it is first wanted: without Apache Kafka nobody wants it.
var binary func() (path string, err error)

func build(dir string) (string, error) {
	path := filepath.Join(dir, "dashstream")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/dashstream").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build dashstream: %w\n%s", err, out)
	}
	return path, nil
}

// process is one run of the program.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  lockedBuffer // both streams
	done chan struct{}
}

// lockedBuffer may be read while it is written to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run starts the program with these variables and no other. It ends with the test.
func run(t *testing.T, e env, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Env = []string{"HOME=" + t.TempDir()}
	for k, v := range e {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code tells
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
	})
	return p
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%q did not end; it printed:\n%s", p.cmd.Args, p.out.String())
		return -1
	}
}

// stop ends the process as a service manager does, and returns the exit code.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	return p.wait()
}

// eventually polls until check says true or the process ends, and reports which.
func (p *process) eventually(what string, check func() bool) bool {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		if check() {
			return true
		}
		select {
		case <-p.done:
			return false
		case <-deadline:
			p.t.Fatalf("%s: waited %v in vain; %q printed:\n%s", what, patience, p.cmd.Args, p.out.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// address is where the process serves HTTP; empty when it ended before it did.
func (p *process) address() string {
	addr := ""
	p.eventually("it serves HTTP", func() bool {
		for line := range strings.Lines(p.out.String()) {
			if strings.Contains(line, `msg="http server listening"`) {
				_, addr, _ = strings.Cut(strings.TrimSpace(line), "addr=")
			}
		}
		return addr != ""
	})
	return addr
}
