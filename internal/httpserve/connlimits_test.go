package httpserve

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// refusals counts what a server refuses.
type refusals struct {
	mu sync.Mutex
	n  map[Refusal]int
}

func (r *refusals) add(why Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == nil {
		r.n = map[Refusal]int{}
	}
	r.n[why]++
}

func (r *refusals) count(why Refusal) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n[why]
}

// raw is a connection of which the test writes every byte.
type raw struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, s *Server) *raw {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &raw{c, bufio.NewReader(c)}
}

// ask sends a request with some bytes in its header and returns the answer.
func (c *raw) ask(header int) (int, string) {
	go func() {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("a", header)+"\r\n\r\n") // a refusal may be faster
	}()
	return c.answer()
}

func (c *raw) answer() (int, string) {
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, err.Error()
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return res.StatusCode, string(body)
}

// Connections that say nothing took descriptors and memory without a limit.
func TestConnectionsAreLimitedBeforeTheySayAnything(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		limits ConnLimits
		why    Refusal
		want   string
	}{
		{"from a site", ConnLimits{PerSite: 2, PerSiteHint: "--per-ip sets it"}, RefusedPerSite, "too many connections from 127.0.0.1: all 2 that one address may have are in use; --per-ip sets it"},
		{"in all", ConnLimits{Max: 2, MaxHint: "--max sets it"}, RefusedMax, "too many connections: all 2 are in use; --max sets it"},
		{"in all, also where a site has no limit", ConnLimits{Max: 2, PerSite: 1, Exempt: func(netip.Addr) bool { return true }}, RefusedMax, "too many connections: all 2 are in use"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var refused refusals
			cfg := testConfig(hello)
			cfg.Limits = tc.limits
			cfg.Limits.Refused = refused.add
			s := start(t, cfg)
			silent, kept := dial(t, s), dial(t, s)
			if code, body := kept.ask(0); code != 200 {
				t.Fatalf("within the limit: %d %q", code, body)
			}
			if code, body := dial(t, s).answer(); code != 429 || !strings.HasPrefix(body, tc.want) {
				t.Errorf("beyond the limit: %d %q, want 429 %q", code, body, tc.want)
			}
			if got := refused.count(tc.why); got != 1 {
				t.Errorf("%d refusals counted as %s, want 1", got, tc.why)
			}
			_ = silent.Close()
			eventually(t, "a place is free again", func() bool {
				code, _ := dial(t, s).ask(0)
				return code == 200
			})
			if code, body := kept.ask(0); code != 200 {
				t.Errorf("one that was admitted: %d %q", code, body)
			}
		})
	}
}

// A connection that was taken over has its place until its owner closes it.
func TestATakenOverConnectionKeepsItsPlace(t *testing.T) {
	t.Parallel()
	taken := make(chan net.Conn, 1)
	cfg := testConfig(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X") != "" {
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
		}
		taken <- c
	}))
	cfg.Limits = ConnLimits{PerSite: 1, HeaderBytes: 1 << 20}
	s := start(t, cfg)
	client := dial(t, s)
	if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	c := <-taken
	if _, ok := c.(interface{ CloseWrite() error }); !ok {
		t.Errorf("a %T cannot be closed for writing alone", c)
	}
	if code, _ := dial(t, s).answer(); code != 429 {
		t.Errorf("beside a connection that was taken over: %d, want 429", code)
	}
	// What it says now is no header.
	sent := make(chan error, 1)
	go func() {
		_, err := client.Write(make([]byte, 2<<20))
		sent <- err
	}()
	if _, err := io.CopyN(io.Discard, c, 2<<20); err != nil {
		t.Errorf("read from a connection that was taken over: %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	_ = c.Close()
	_ = c.Close() // counts once
	if code, body := dial(t, s).ask(1); code != 200 {
		t.Errorf("after it was closed: %d %q", code, body)
	}
}

// Headers that do not end took a quarter of a megabyte for each connection.
func TestHeadersThatDoNotEndAreBoundedInAll(t *testing.T) {
	t.Parallel()
	var refused refusals
	cfg := testConfig(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	cfg.MaxHeaderBytes = 256 << 10
	cfg.Limits = ConnLimits{HeaderBytes: 400 << 10, Refused: refused.add} // 100 KiB for a site
	s := start(t, cfg)
	// Within it, again and again: what an answered request took is given back.
	kept := dial(t, s)
	for range 20 {
		if code, body := kept.ask(60 << 10); code != 200 {
			t.Fatalf("a large header: %d %q", code, body)
		}
	}
	if got := refused.count(RefusedHeaders); got != 0 {
		t.Fatalf("%d refused, want none", got)
	}
	// The answer may be there before its request has ended for the server.
	eventually(t, "the connection is idle", func() bool { return s.Conns().Idle == 1 })
	begin := func() *raw {
		c := dial(t, s)
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("a", 60<<10)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := begin(), begin()
	ends := make(chan int, 2)
	for _, c := range []*raw{first, second} {
		go func() {
			code, _ := c.answer()
			ends <- code
		}()
	}
	if got := <-ends; got != 431 {
		t.Errorf("headers beyond the memory for them: %d, want 431", got)
	}
	if got := refused.count(RefusedHeaders); got != 1 {
		t.Errorf("%d refusals counted, want 1", got)
	}
	// A request of the usual size never needs of it.
	if code, body := dial(t, s).ask(1 << 10); code != 200 {
		t.Errorf("beside it: %d %q", code, body)
	}
	_ = first.Close()
	_ = second.Close()
	<-ends
	eventually(t, "the memory is given back", func() bool {
		code, _ := dial(t, s).ask(90 << 10)
		return code == 200
	})
	// A body is not a header.
	body := dial(t, s)
	if _, err := io.WriteString(body, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("b", 1000000)); err != nil {
		t.Fatal(err)
	}
	if code, answer := body.answer(); code != 200 {
		t.Errorf("a body of 1 MB: %d %q", code, answer)
	}
}

func TestAServerLeavesDescriptorsToOthers(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]int{0: 0, 1: 1, 64: 32, 1024: 512, 4096: 2048, 20_000: 17_952} {
		if got := shareOf(limit); got != want {
			t.Errorf("of %d descriptors %d connections, want %d", limit, got, want)
		}
	}
}

func TestSitesOfAddresses(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8:0:0:ffff::1": "2001:db8::/64",
		"::1": "::1", "fe80::1%eth0": "fe80::/64",
	} {
		if got := SiteName(Site(netip.MustParseAddr(addr))); got != want {
			t.Errorf("%s is of %s, want %s", addr, got, want)
		}
	}
}
