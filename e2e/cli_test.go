package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/testprocess"
)

// A ready file that a killed process left does not speak for the next one, and an orderly end leaves none.
func TestReadyFileOfAKilledProcess(t *testing.T) {
	t.Parallel()
	dir, ready := t.TempDir(), filepath.Join(t.TempDir(), "ready.json")
	start := func() *testprocess.Process {
		p := testprocess.Run(t, nil, "up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--ready-file", ready, "--demo", "--demo-seed", "1")
		testprocess.Eventually(t, "the process is ready", func() error {
			raw, err := os.ReadFile(ready)
			if err != nil {
				return err
			}
			var s testprocess.Server
			if err := json.Unmarshal(raw, &s); err != nil {
				return err
			}
			if s.PID != p.Cmd.Process.Pid {
				return fmt.Errorf("the file names process %d, want %d", s.PID, p.Cmd.Process.Pid)
			}
			return nil
		})
		return p
	}
	first := start()
	// One that cannot start leaves alone what another has written there.
	second := testprocess.Run(t, nil, "up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--ready-file", ready)
	if code := second.Wait(); code != 5 {
		t.Errorf("a second process on one data directory: exit code %d, want 5", code)
	}
	if raw, err := os.ReadFile(ready); err != nil || !strings.Contains(string(raw), fmt.Sprintf(`"pid":%d,`, first.Cmd.Process.Pid)) {
		t.Errorf("the first process runs, and its ready file holds %q: %v", raw, err)
	}
	first.Kill()
	if _, err := os.Stat(ready); err != nil {
		t.Fatalf("a killed process cannot have removed its file: %v", err)
	}
	p := start()
	if code := p.Stop(); code != 0 {
		t.Errorf("stopped in the middle of a demo: exit code %d, want 0", code)
	}
	if _, err := os.Stat(ready); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the ready file is still there: %v", err)
	}
}

// A tail that is told to stop while nobody answers it has ended as it is meant to.
func TestTailIsStoppedWhileItConnects(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	p := testprocess.Run(t, nil, "tail", "--brokers", ln.Addr().String())
	conn, err := ln.Accept() // it waits for an answer now
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if code := p.Stop(); code != 0 || strings.Contains(p.Errs.String(), "error") {
		t.Errorf("exit code %d, want 0; it said:\n%s", code, p.Errs)
	}
}
