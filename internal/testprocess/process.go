package testprocess

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait.
const Patience = 60 * time.Second

// Process is one run of the program.
type Process struct {
	t         testing.TB
	Cmd       *exec.Cmd
	Out, Errs *Buffer
	// Done is closed when the process has ended; Err is how, from then on.
	Done chan struct{}
	Err  error
}

// Buffer may be read while a process writes to it.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns all that was written so far.
func (l *Buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Command is how the program is started.
type Command struct {
	// Env is its environment, besides PATH and a HOME of its own.
	Env  []string
	Args []string
	// Under is a command that becomes the program, given as its further arguments: it keeps the process id.
	Under []string
	// Cloneflags are namespaces that the process gets of its own, of Linux.
	Cloneflags uintptr
}

// Run starts the program with a clean environment. It ends with the test.
func Run(t testing.TB, env []string, args ...string) *Process {
	t.Helper()
	return Command{Env: env, Args: args}.Run(t)
}

// Run starts the program. It ends with the test.
func (c Command) Run(t testing.TB) *Process {
	t.Helper()
	line := append(append(append([]string(nil), c.Under...), Binary()), c.Args...)
	p := &Process{t: t, Cmd: exec.Command(line[0], line[1:]...), Out: &Buffer{}, Errs: &Buffer{}, Done: make(chan struct{})}
	p.Cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, c.Env...)
	p.Cmd.Stdout, p.Cmd.Stderr = p.Out, p.Errs
	p.Cmd.SysProcAttr = attributes(c.Cloneflags)
	p.Cmd.Dir = t.TempDir()
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.Err = p.Cmd.Wait()
		close(p.Done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", strings.Join(c.Args, " "), p.Errs)
		}
	})
	return p
}

// Kill ends the process as a power cut of its own would.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill() // it may have ended
	<-p.Done
}

// Signal sends a signal to a process that may have ended.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// Stop ends the process as a service manager does, and returns its exit code.
func (p *Process) Stop() int {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait()
}

// Wait returns the exit code.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.Done:
		return p.Cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		p.t.Fatalf("%v did not end; it printed:\n%s", p.Cmd.Args, p.Errs)
		return -1
	}
}

// Eventually polls until a check holds.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
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
