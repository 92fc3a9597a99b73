package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 60 * time.Second

// binary is the program, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "dashstream-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = filepath.Join(dir, "dashstream")
		args := []string{"build", "-o", binary}
		if raceEnabled {
			args = append(args, "-race")
		}
		build := exec.Command("go", append(args, "../cmd/dashstream")...)
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build dashstream:", err)
			return 1
		}
		return m.Run()
	}())
}

// process is one run of the program.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *lockedBuffer
	errs *lockedBuffer
	done chan struct{}
	err  error
}

// lockedBuffer may be read while a process writes to it.
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

// run starts the program with a clean environment. It ends with the test.
func run(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), out: &lockedBuffer{}, errs: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.errs
	p.cmd.SysProcAttr = diesWithParent()
	p.cmd.Dir = t.TempDir()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", strings.Join(args, " "), p.errs)
		}
	})
	return p
}

// kill ends the process as a power cut of its own would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// stop ends the process as a service manager does, and returns its exit code.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	return p.wait()
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%v did not end; it printed:\n%s", p.cmd.Args, p.errs)
		return -1
	}
}

// server is a process that serves.
type server struct {
	*process
	HTTP  string `json:"http"`
	Kafka string `json:"kafka"`
	PID   int    `json:"pid"`
}

func (s *server) url() string { return "http://" + s.HTTP }

// serve starts a server and waits until it is ready.
func serve(t *testing.T, env []string, args ...string) *server {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready.json")
	s := &server{process: run(t, env, append(args, "--ready-file", ready)...)}
	deadline := time.Now().Add(patience)
	for {
		if b, err := os.ReadFile(ready); err == nil {
			if err := json.Unmarshal(b, s); err != nil {
				t.Fatalf("ready file %s: %v", b, err)
			}
			if s.PID != s.cmd.Process.Pid {
				t.Fatalf("ready file names process %d, it is %d", s.PID, s.cmd.Process.Pid)
			}
			return s
		}
		select {
		case <-s.done:
			t.Fatalf("%v ended before it was ready: %v\n%s", args, s.err, s.errs)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v is not ready; it printed:\n%s", args, s.errs)
		}
	}
}

// up starts everything on free ports.
func up(t *testing.T, dir string, more ...string) *server {
	t.Helper()
	return serve(t, nil, append([]string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"}, more...)...)
}

// eventually polls until a check holds.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lines are the lines of tail --output json.
type line struct {
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	ThreadID  string          `json:"thread_id"`
	Sequence  uint64          `json:"sequence"`
	Type      string          `json:"type"`
	Timestamp string          `json:"timestamp"`
	Message   json.RawMessage `json:"message"`
}

func parseLines(t *testing.T, out string) []line {
	t.Helper()
	var all []line
	d := json.NewDecoder(strings.NewReader(out))
	for {
		var l line
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return all
		}
		if err != nil {
			t.Fatalf("tail printed %q: %v", out, err)
		}
		all = append(all, l)
	}
}
