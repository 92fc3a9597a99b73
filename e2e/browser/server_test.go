package browser

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
		dir, err := os.MkdirTemp("", "dashstream-browser-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "dashstream")
		build := exec.Command("go", "build", "-o", binary, "./cmd/dashstream")
		build.Dir = "../.."
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build dashstream:", err)
			return 1
		}
		return m.Run()
	}())
}

// server is "dashstream up" on a data directory and addresses that stay the
// same when it is started again.
type server struct {
	t      *testing.T
	dir    string
	env    []string
	args   []string
	http   string
	kafka  string
	cmd    *exec.Cmd
	output *output
	done   chan struct{}
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func up(t *testing.T, env []string, args ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), env: env, args: args, http: "127.0.0.1:0", kafka: "127.0.0.1:0", output: new(output)}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the server printed:\n%s", s.output)
		}
	})
	s.start()
	return s
}

func (s *server) url() string { return "http://" + s.http }

// start runs the program and waits until it says that it is ready.
func (s *server) start() {
	s.t.Helper()
	ready := filepath.Join(s.dir, "ready.json")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	args := append([]string{"up", "--data-dir", filepath.Join(s.dir, "data"), "--listen", s.http, "--kafka-listen", s.kafka, "--ready-file", ready}, s.args...)
	s.cmd = exec.Command(binary, args...)
	s.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}, s.env...)
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // how it ended is seen by whoever waits for done
		close(done)
	}(s.cmd, s.done)

	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var r struct{ HTTP, Kafka string }
		if b, err := os.ReadFile(ready); err == nil {
			if err := json.Unmarshal(b, &r); err != nil {
				s.t.Fatalf("ready file %s: %v", b, err)
			}
			s.http, s.kafka = r.HTTP, r.Kafka
			return
		}
		select {
		case <-tick.C:
		case <-s.done:
			s.t.Fatalf("the server ended before it was ready: %s", s.output)
		case <-deadline.C:
			s.t.Fatalf("the server was not ready within %v: %s", patience, s.output)
		}
	}
}

// stop ends the server as a service manager does.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("the server did not end within %v", patience)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Fatalf("the server ended with exit code %d: %s", code, s.output)
	}
}

// kill ends it without warning.
func (s *server) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.done
}
