package httpserve

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBuffer collects a server's log; the server writes from its goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testConfig(h http.Handler) Config {
	cfg := DefaultConfig()
	cfg.Name = "test"
	cfg.Addr = "127.0.0.1:0"
	cfg.Handler = h
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// start serves cfg until the test ends and fails the test on an unclean end.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Stop(ctx) // the test that cares has stopped it itself
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func client(t *testing.T) *http.Client {
	t.Helper()
	tr := new(http.Transport)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// eventually polls: what it waits for happens in a goroutine of net/http that
// tells nobody.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "hello %s", r.URL.Path)
})

func TestServesProbesBesideTheHandler(t *testing.T) {
	t.Parallel()
	cfg := testConfig(hello)
	cfg.Health = NewHealth()
	feed := cfg.Health.Condition("feed", "starting")
	s := start(t, cfg)
	if strings.HasSuffix(s.Addr(), ":0") || s.URL() != "http://"+s.Addr() || !s.Loopback() {
		t.Fatalf("Addr() = %s, URL() = %s, Loopback() = %v", s.Addr(), s.URL(), s.Loopback())
	}
	for _, tc := range []struct {
		path, body string
		code       int
	}{
		{"/livez", "ok\n", 200},
		{"/readyz", "feed: starting\n", 503},
		{"/readyz?verbose", `{"status":"unavailable","checks":[{"name":"feed","ok":false,"reason":"starting"}],"reasons":[{"check":"feed","reason":"starting"}]}` + "\n", 503},
		{"/", "hello /", 200},
		{"//odd//path", "hello //odd//path", 200}, // not redirected behind the handler's back
		{"/debug/pprof/", "hello /debug/pprof/", 200},
	} {
		if code, body := get(t, s.URL()+tc.path); code != tc.code || body != tc.body {
			t.Errorf("GET %s = %d %q, want %d %q", tc.path, code, body, tc.code, tc.body)
		}
	}
	feed.Set(nil)
	if code, body := get(t, s.URL()+"/readyz"); code != 200 || body != "ok\n" {
		t.Errorf("ready: %d %q", code, body)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/livez", nil)
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /livez = %d, want 405", res.StatusCode)
	}
}

func TestProfilerOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	cfg := testConfig(hello)
	cfg.Pprof = true
	s := start(t, cfg)
	if code, body := get(t, s.URL()+"/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "goroutine profile:") {
		t.Errorf("pprof = %d %.80q", code, body)
	}
	if code, body := get(t, s.URL()+"/livez"); code != 200 || body != "hello /livez" {
		t.Errorf("without Health, /livez is the handler's: %d %q", code, body)
	}
}

func TestABusyPortIsAnErrorOfNewThatNamesIt(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(hello))
	cfg := testConfig(hello)
	cfg.Name, cfg.Addr = "gateway", s.Addr()
	_, err := New(cfg)
	var be *BindError
	if !errors.As(err, &be) || be.Addr != s.Addr() {
		t.Fatalf("New on a busy port: %v", err)
	}
	want := "gateway: listen on " + s.Addr() + ": the port is in use by another process; stop that one, choose another port, or use port 0 for any free one"
	if err.Error() != want {
		t.Errorf("error = %q\n want %q", err, want)
	}
}

func TestConfigErrorsNameFieldAndValue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Handler = nil }, "httpserve: Handler is nil"},
		{func(c *Config) { c.Logger = nil }, "httpserve: Logger is nil"},
		{func(c *Config) { c.IdleTimeout = 0 }, "httpserve: IdleTimeout is 0s, want more than 0"},
		{func(c *Config) { c.MaxHeaderBytes = 10 }, "httpserve: MaxHeaderBytes is 10, want at least 4096"},
		{func(c *Config) { c.Addr = "localhost" }, `address "localhost": missing port in address: want HOST:PORT, such as 127.0.0.1:3002 or [::1]:3002`},
		{func(c *Config) { c.Addr = "::1:80" }, `address "::1:80": too many colons in address: want HOST:PORT, such as 127.0.0.1:3002 or [::1]:3002`},
		{func(c *Config) { c.Addr = "127.0.0.1:70000" }, `address "127.0.0.1:70000": port "70000": want a number from 0 to 65535`},
		{func(c *Config) { c.Addr = "127.0.0.1:http" }, `address "127.0.0.1:http": port "http": want a number from 0 to 65535`},
		{func(c *Config) { c.Addr = "192.0.2.1:0" }, `test: listen on 192.0.2.1:0: no interface of this machine has that address`},
	} {
		cfg := testConfig(hello)
		tc.change(&cfg)
		_, err := New(cfg)
		if err == nil || err.Error() != tc.want {
			t.Errorf("New: %v\nwant %s", err, tc.want)
		}
	}
}

func TestStopLetsARequestFinishAndTellsStreams(t *testing.T) {
	t.Parallel()
	inWork, finish := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/work", func(w http.ResponseWriter, _ *http.Request) {
		close(inWork)
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	inStream := make(chan struct{})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		close(inStream)
		<-Stopping(r.Context())
		_, _ = io.WriteString(w, "bye")
	})
	cfg := testConfig(mux)
	cfg.Health = NewHealth()
	s := start(t, cfg)

	type answer struct {
		path, body string
	}
	answers := make(chan answer, 2)
	for _, path := range []string{"/work", "/stream"} {
		go func() {
			_, body := get(t, s.URL()+path)
			answers <- answer{path, body}
		}()
	}
	<-inWork
	<-inStream
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- s.Stop(ctx)
	}()
	if a := <-answers; a != (answer{"/stream", "bye"}) {
		t.Errorf("the stream ended with %+v", a)
	}
	select {
	case err := <-stopped:
		t.Fatalf("Stop returned (%v) while a request was under way", err)
	default:
	}
	if rep := cfg.Health.Ready(t.Context()); rep.OK() {
		t.Error("ready while stopping")
	}
	close(finish)
	if a := <-answers; a != (answer{"/work", "done"}) {
		t.Errorf("the request under way got %+v", a)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Stop: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if _, err := net.DialTimeout("tcp", s.Addr(), time.Second); err == nil {
		t.Error("the port still accepts after Stop")
	}
}

func TestStopCutsWhatDoesNotEndInTime(t *testing.T) {
	t.Parallel()
	handlerEnded := make(chan struct{})
	in := make(chan struct{})
	s := start(t, testConfig(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(in)
		<-r.Context().Done()
		close(handlerEnded)
	})))
	c := client(t)
	got := make(chan error, 1)
	go func() {
		res, err := c.Get(s.URL())
		if err == nil {
			res.Body.Close()
		}
		got <- err
	}()
	<-in
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := s.Stop(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 connections were cut") {
		t.Errorf("Stop = %v, want the deadline and the number of cut connections", err)
	}
	<-handlerEnded
	if err := <-got; err == nil {
		t.Error("the client took a cut response for a whole one")
	}
}

func TestStopBeforeServeFreesThePort(t *testing.T) {
	t.Parallel()
	s, err := New(testConfig(hello))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	if err := s.Serve(); err != nil {
		t.Errorf("Serve after Stop = %v, want nil", err)
	}
	if err := s.Serve(); err == nil {
		t.Error("a second Serve is a mistake of the caller and must be told")
	}
	ln, err := net.Listen("tcp", s.Addr())
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	ln.Close()
}

// A hijacked connection is the gateway's: it is not waited for, not closed and
// not counted as open, and the server's read timeout does not reach it.
func TestHijackedConnectionsAreLeftAlone(t *testing.T) {
	t.Parallel()
	conns := make(chan net.Conn, 1)
	cfg := testConfig(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conns <- c
	}))
	cfg.ReadTimeout = 50 * time.Millisecond
	cfg.ReadHeaderTimeout = 50 * time.Millisecond
	s := start(t, cfg)
	raw, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := io.WriteString(raw, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	server := <-conns
	defer server.Close()
	eventually(t, "the hijack is counted", func() bool { return s.Conns() == (ConnStats{Accepted: 1, Hijacked: 1}) })

	<-time.After(2 * cfg.ReadTimeout) // the timeout under test
	if err := s.Stop(t.Context()); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	go func() { _, _ = io.WriteString(raw, "ping\n") }()
	line, err := bufio.NewReader(server).ReadString('\n')
	if err != nil || line != "ping\n" {
		t.Errorf("after Stop the hijacked connection read %q, %v", line, err)
	}
}

// ReadTimeout ends with the request's body: a stream outlives it.
func TestAStreamOutlivesTheReadTimeout(t *testing.T) {
	t.Parallel()
	cfg := testConfig(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			t.Errorf("the stream's context ended: %v", context.Cause(r.Context()))
		case <-time.After(200 * time.Millisecond):
		}
		_, _ = io.WriteString(w, "still here")
	}))
	cfg.ReadTimeout = 50 * time.Millisecond
	s := start(t, cfg)
	if _, body := get(t, s.URL()); body != "still here" {
		t.Errorf("body = %q", body)
	}
}

func TestSlowAndLargeRequestsAreCut(t *testing.T) {
	t.Parallel()
	cfg := testConfig(hello)
	cfg.ReadHeaderTimeout = 50 * time.Millisecond
	cfg.IdleTimeout = 50 * time.Millisecond
	cfg.MaxHeaderBytes = 4 << 10
	s := start(t, cfg)
	for _, tc := range []struct{ name, send, want string }{
		{"a header that never ends", "GET / HTTP/1.1\r\nHost: x\r\n", ""},
		{"an idle kept-alive connection", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"},
		{"a huge header", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 16<<10) + "\r\n\r\n", "HTTP/1.1 431"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(c, tc.send); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c) // ends when the server closes
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Fatalf("the server did not close: %v", err)
			}
			if !strings.HasPrefix(string(got), tc.want) || tc.want == "" && len(got) > 0 {
				t.Errorf("got %.60q, want prefix %q", got, tc.want)
			}
		})
	}
}

func TestBounded(t *testing.T) {
	t.Parallel()
	var once sync.Once
	writeErr := make(chan error, 1)
	mux := http.NewServeMux()
	mux.Handle("/endless", Bounded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 64<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				once.Do(func() { writeErr <- err })
				return
			}
		}
	}), 50*time.Millisecond, 0))
	mux.Handle("/body", Bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	}), time.Second, 4))
	s := start(t, testConfig(mux))

	raw, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close() // and never reads
	if _, err := io.WriteString(raw, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	var ne net.Error
	if err := <-writeErr; !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("writing to a client that does not read: %v, want a timeout", err)
	}

	for body, want := range map[string]int{"four": 200, "fiver": 413} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/body", strings.NewReader(body))
		res, err := client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("body %q: %d, want %d", body, res.StatusCode, want)
		}
	}
}

func TestHooksAndLog(t *testing.T) {
	t.Parallel()
	type key string
	var log logBuffer
	states := make(chan http.ConnState, 16)
	cfg := testConfig(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("handler bug")
		}
		_, _ = fmt.Fprint(w, r.Context().Value(key("base")), r.Context().Value(key("conn")))
	}))
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	cfg.BaseContext = func(net.Listener) context.Context { return context.WithValue(context.Background(), key("base"), "b") }
	cfg.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, key("conn"), "c") }
	cfg.ConnState = func(_ net.Conn, st http.ConnState) { states <- st }
	s := start(t, cfg)
	if _, body := get(t, s.URL()); body != "bc" {
		t.Errorf("context values: %q", body)
	}
	if st := <-states; st != http.StateNew {
		t.Errorf("first state = %v", st)
	}
	// A handler's panic costs its connection alone, and is told.
	if res, err := client(t).Get(s.URL() + "/panic"); err == nil {
		res.Body.Close()
		t.Error("a panicking handler answered")
	}
	if _, body := get(t, s.URL()); body != "bc" {
		t.Errorf("after a panic: %q", body)
	}
	eventually(t, "the panic is logged", func() bool {
		return strings.Contains(log.String(), "handler bug") && strings.Contains(log.String(), "http server listening")
	})
	eventually(t, "all connections have left", func() bool {
		c := s.Conns()
		return c.New+c.Active == 0 && c.Accepted >= 3
	})
}

func TestLoopbackAndURL(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:80": true, "127.9.9.9:80": true, "[::1]:80": true, "localhost:80": true, "LOCALHOST:80": true, "[::ffff:127.0.0.1]:80": true,
		":80": false, "0.0.0.0:80": false, "[::]:80": false, "192.0.2.1:80": false, "example.test:80": false, "localhost.example.test:80": false, "junk": false,
	} {
		if got := Loopback(addr); got != want {
			t.Errorf("Loopback(%q) = %v, want %v", addr, got, want)
		}
	}
	for addr, want := range map[string]string{
		":3002": "http://127.0.0.1:3002", "0.0.0.0:3002": "http://127.0.0.1:3002", "[::]:3002": "http://127.0.0.1:3002",
		"[::1]:3002": "http://[::1]:3002", "192.0.2.1:3002": "http://192.0.2.1:3002",
	} {
		if got := URL(addr); got != want {
			t.Errorf("URL(%q) = %q, want %q", addr, got, want)
		}
	}
}
