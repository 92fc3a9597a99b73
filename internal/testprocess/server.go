package testprocess

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Server is a process that serves.
type Server struct {
	*Process
	// HTTP and Kafka are its addresses; Kafka is empty where it has no broker.
	HTTP  string `json:"http"`
	Kafka string `json:"kafka"`
	PID   int    `json:"pid"`
}

// URL is where its pages are.
func (s *Server) URL() string { return "http://" + s.HTTP }

// Serve starts a server and waits until it is ready.
func Serve(t testing.TB, env []string, args ...string) *Server {
	t.Helper()
	return Command{Env: env, Args: args}.Serve(t)
}

// Serve starts a server and waits until it is ready.
func (c Command) Serve(t testing.TB) *Server {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready.json")
	c.Args = append(append([]string(nil), c.Args...), "--ready-file", ready)
	s := &Server{Process: c.Run(t)}
	deadline := time.Now().Add(Patience)
	for {
		if b, err := os.ReadFile(ready); err == nil {
			if err := json.Unmarshal(b, s); err != nil {
				t.Fatalf("ready file %s: %v", b, err)
			}
			if s.PID != s.Cmd.Process.Pid {
				t.Fatalf("ready file names process %d, it is %d", s.PID, s.Cmd.Process.Pid)
			}
			return s
		}
		select {
		case <-s.Done:
			t.Fatalf("%v ended before it was ready: %v\n%s", c.Args, s.Err, s.Errs)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v is not ready; it printed:\n%s", c.Args, s.Errs)
		}
	}
}

// UpArgs starts everything on a data directory and free ports.
func UpArgs(dir string, more ...string) []string {
	return append([]string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"}, more...)
}

// Up starts everything on free ports.
func Up(t testing.TB, dir string, more ...string) *Server {
	t.Helper()
	return Serve(t, nil, UpArgs(dir, more...)...)
}
