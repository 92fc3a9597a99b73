package gateway_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// A refusal that names neither the value nor the setting leaves its reader to
// guess which proxy, origin or limit it was.
func TestARefusalNamesTheValueAndTheSetting(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	ask := func(s *server, path, host string, header http.Header) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		maps.Copy(req.Header, header)
		return send(t, req)
	}
	want := func(what string, status, wantStatus int, body string, texts ...string) {
		t.Helper()
		if status != wantStatus || strings.Contains(body, "a-secret-token") || strings.Count(body, "\n") != 1 {
			t.Errorf("%s: status %d, want %d; body %q", what, status, wantStatus, body)
		}
		for _, text := range texts {
			if !strings.Contains(body, text) {
				t.Errorf("%s: %q does not say %s", what, body, text)
			}
		}
	}
	plain := start(t, c, topic, nil)
	for _, path := range []string{"/v1/stream", "/v1/session", "/ws"} {
		status, body := ask(plain, path, "", http.Header{"Origin": {"https://evil.example"}})
		want(path+" from a foreign origin", status, 403, body, `"https://evil.example"`, "--allowed-origins (DASHSTREAM_ALLOWED_ORIGINS)")
		status, body = ask(plain, path, "rebound.example:80", nil)
		want(path+" by a foreign host name", status, 403, body, `"rebound.example:80"`, "--allowed-origins (DASHSTREAM_ALLOWED_ORIGINS)")
	}
	status, body := ask(plain, "/v1/session", "", http.Header{"Origin": {"https://" + strings.Repeat("x", 10_000)}})
	want("a long origin", status, 403, body)
	if len(body) > 1000 {
		t.Errorf("an answer of %d bytes repeats all that was sent", len(body))
	}

	limited := start(t, c, topic, func(cfg *gateway.Config) {
		cfg.Token, cfg.MaxConnections, cfg.MaxConnectionsPerIP = "a-secret-token", 3, 2
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	from := func(addr string) http.Header {
		return http.Header{"X-Forwarded-For": {addr}, "Authorization": {"Bearer a-secret-token"}}
	}
	for _, addr := range []string{"2001:db8::1", "2001:db8::2"} {
		testclient.Dial(t, limited.URL, "dashstream.v1+json", from(addr))
	}
	status, body = ask(limited, "/v1/stream", "", from("2001:db8::3"))
	want("a third client of a network", status, 429, body, "2001:db8::/64", "all 2 ", "--websocket-max-connections-per-ip (WEBSOCKET_MAX_CONNECTIONS_PER_IP)")
	testclient.Dial(t, limited.URL, "dashstream.v1+json", from("192.0.2.1"))
	status, body = ask(limited, "/ws", "", from("192.0.2.2"))
	want("a fourth client", status, 429, body, "all 3 ", "--websocket-max-connections (WEBSOCKET_MAX_CONNECTIONS)")
}

func send(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, readBody(t, resp)
}

// The page answers at / for what no other pattern takes, and said 404 of an
// endpoint that is there.
func TestOtherMethodsAreToldWhatIsAllowed(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), nil)
	s.mux.Handle("/", http.NotFoundHandler())
	for path, allow := range map[string]string{"/ws": "GET", "/v1/stream": "GET, HEAD, OPTIONS", "/v1/session": "GET, HEAD, OPTIONS", "/version": "GET, HEAD"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body := readBody(t, resp)
			if resp.StatusCode != 405 || resp.Header.Get("Allow") != allow || !strings.Contains(body, method) || !strings.Contains(body, allow) {
				t.Errorf("%s %s: status %d, Allow %q, %s; want 405 and %q", method, path, resp.StatusCode, resp.Header.Get("Allow"), body, allow)
			}
		}
	}
	if status, _ := get(t, s.URL+"/else", nil); status != 404 {
		t.Errorf("another path: status %d, want 404", status)
	}
}

// What is bad in a URL is refused alike by both endpoints, before a session.
func TestABadURLIsRefusedBeforeASession(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), nil)
	for query, field := range map[string]string{
		"type=nonsense": "query.type[0]", "from=nonsense": "query.from", "since_ms=-1": "subscribe.start.since_ms", "thread=": "query.thread",
	} {
		for _, path := range []string{"/ws", "/v1/stream"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path+"?"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			if path == "/ws" {
				req.Header.Set("Upgrade", "websocket")
			}
			if status, body := send(t, req); status != 400 || !strings.HasPrefix(body, field+": ") {
				t.Errorf("%s?%s: status %d, %q, want 400 and %s", path, query, status, body, field)
			}
		}
	}
}

func TestMessageTypesAreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "<!-- types:")
	table, _, _ = strings.Cut(table, "\n\nA later")
	for n, name := range dashstreampb.MessageType_name {
		if row := fmt.Sprintf("| `%s` | `%s` |", name, wire.TypeName(dashstreampb.MessageType(n))); !strings.Contains(table, row) {
			t.Errorf("docs/protocol.md does not list %s", row)
		}
	}
	if rows := strings.Count(table, "| `MESSAGE_TYPE_"); rows != len(dashstreampb.MessageType_name) {
		t.Errorf("docs/protocol.md lists %d types, there are %d", rows, len(dashstreampb.MessageType_name))
	}
}

// A page whose name was made to point at this machine could read memory.
func TestTheProfilerIsForThoseWhoMayReadTheStream(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	for _, tc := range []struct {
		token, host, origin, shown string
		want                       int
	}{
		{"", "localhost", "", "", 200},
		{"", "evil.example", "", "", 403},
		{"", "localhost", "https://evil.example", "", 403},
		{"long enough", "localhost", "", "", 401},
		{"long enough", "localhost", "", "Bearer long enough", 200},
	} {
		s := start(t, c, topic, func(cfg *gateway.Config) { cfg.Token = tc.token })
		hc := httpserve.DefaultConfig()
		s.g.LimitHTTP(&hc)
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/debug/pprof/heap", nil)
		req.Host = tc.host
		for name, v := range map[string]string{"Origin": tc.origin, "Authorization": tc.shown} {
			if v != "" {
				req.Header.Set(name, v)
			}
		}
		hc.PprofGuard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("memory")) })).ServeHTTP(rec, req)
		if rec.Code != tc.want || (rec.Body.String() == "memory") != (tc.want == 200) {
			t.Errorf("%+v: %d %q", tc, rec.Code, rec.Body)
		}
		s.stop()
	}
}
