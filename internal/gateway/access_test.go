package gateway_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// tryDial returns the HTTP status of a handshake; 101 when it succeeded.
func tryDial(t *testing.T, s *server, protocols []string, header http.Header) int {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws", &websocket.DialOptions{Subprotocols: protocols, HTTPHeader: header})
	if err == nil {
		_ = conn.CloseNow()
	}
	if resp == nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func get(t *testing.T, url string, header http.Header) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, readBody(t, resp)
}

// readBody returns the body of an answer, but for that of an event stream, which
// does not end.
func readBody(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return ""
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestATokenIsAskedOfEveryClient(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	const token = "a-secret-token"
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) { cfg.Token = token })
	bearer := func(tok string) http.Header { return http.Header{"Authorization": {"Bearer " + tok}} }
	sub := func(tok string) []string {
		return []string{"dashstream.v1+json", "dashstream.bearer." + base64.RawURLEncoding.EncodeToString([]byte(tok))}
	}
	for _, tc := range []struct {
		name      string
		protocols []string
		header    http.Header
		want      int
	}{
		{"none", nil, nil, 401},
		{"wrong", nil, bearer("another-token"), 401},
		{"prefix of it", nil, bearer(token[:5]), 401},
		{"basic", nil, http.Header{"Authorization": {"Basic " + token}}, 401},
		{"header", nil, bearer(token), 101},
		{"subprotocol", sub(token), nil, 101},
		{"wrong subprotocol", sub("another"), nil, 401},
		{"wrong header beside a good subprotocol", sub(token), bearer("x"), 401},
	} {
		if got := tryDial(t, s, tc.protocols, tc.header); got != tc.want {
			t.Errorf("%s: status %d, want %d", tc.name, got, tc.want)
		}
	}
	for path, want := range map[string]int{"/v1/stream": 401, "/v1/session": 401, "/version": 200} {
		got, body := get(t, s.URL+path, nil)
		if got != want || strings.Contains(body, token) {
			t.Errorf("%s: status %d, want %d; body %s", path, got, want, body)
		}
	}
	if got, _ := get(t, s.URL+"/v1/session", bearer(token)); got != 204 {
		t.Errorf("/v1/session with the token: %d, want 204", got)
	}
	if got := value(t, s.reg, "websocket_rejected_connections_total"); got != 7 {
		t.Errorf("%v rejected connections are counted, want 7", got)
	}
}

func TestForeignOriginsAreRefused(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	plain := start(t, c, topic, nil)
	allowing := start(t, c, topic, func(cfg *gateway.Config) { cfg.AllowedOrigins = []string{"https://app.example"} })
	own := func(s *server) string { return s.URL }
	for _, tc := range []struct {
		s      *server
		origin string
		host   string
		want   int
	}{
		{plain, "", "", 101},
		{plain, own(plain), "", 101},
		{plain, "https://evil.example", "", 403},
		{plain, "null", "", 403},
		{plain, "file://" + strings.TrimPrefix(own(plain), "http://"), "", 403},
		{plain, strings.TrimPrefix(own(plain), "http:"), "", 403},
		{plain, strings.Replace(own(plain), "http", "https", 1), "", 101}, // behind a proxy that ends TLS
		{plain, "http://127.0.0.1.evil.example", "", 403},
		// DNS rebinding: the page's own name, pointed at loopback.
		{plain, "http://evil.example:80", "evil.example:80", 403},
		{plain, "", "evil.example", 403},
		{plain, "", "localhost:1", 101},
		// A proxy passes its own name on.
		{allowing, "", "app.example", 101},
		{allowing, "https://app.example", "", 101},
		{allowing, "https://other.example", "", 403},
	} {
		h := http.Header{}
		if tc.origin != "" {
			h.Set("Origin", tc.origin)
		}
		conn, resp, err := websocket.Dial(t.Context(), strings.Replace(tc.s.URL, "http", "ws", 1)+"/ws", &websocket.DialOptions{HTTPHeader: h, Host: tc.host})
		if err == nil {
			_ = conn.CloseNow()
		}
		if resp == nil || resp.StatusCode != tc.want {
			t.Errorf("origin %q host %q: %v, want %d", tc.origin, tc.host, resp, tc.want)
		}
	}
}

// A page of an allowed origin reads the event stream with fetch, and shows its
// token in a header: the browser asks first.
func TestPagesOfAllowedOriginsMayReadTheEventStream(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) {
		cfg.Token, cfg.AllowedOrigins = "a-long-enough-token", []string{"https://app.example"}
	})
	for _, tc := range []struct {
		method, path, origin, token string
		status                      int
		allow                       string
	}{
		{"OPTIONS", "/v1/stream", "https://app.example", "", 204, "https://app.example"},
		{"OPTIONS", "/v1/session", "https://app.example", "", 204, "https://app.example"},
		{"OPTIONS", "/v1/stream", "https://evil.example", "", 403, ""},
		{"OPTIONS", "/v1/stream", "https://app.example.evil.example", "", 403, ""},
		{"OPTIONS", "/v1/stream", "null", "", 403, ""},
		{"GET", "/v1/stream", "https://app.example", "a-long-enough-token", 200, "https://app.example"},
		{"GET", "/v1/stream", "https://app.example", "wrong", 401, "https://app.example"},
		{"GET", "/v1/stream", "https://evil.example", "a-long-enough-token", 403, ""},
		{"GET", "/v1/session", "https://app.example", "a-long-enough-token", 204, "https://app.example"},
		{"GET", "/v1/session", "https://evil.example", "a-long-enough-token", 403, ""},
		{"HEAD", "/v1/stream", "", "a-long-enough-token", 200, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, s.URL+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.origin != "" {
			req.Header.Set("Origin", tc.origin)
		}
		if tc.method == "OPTIONS" {
			req.Header.Set("Access-Control-Request-Method", "GET")
			req.Header.Set("Access-Control-Request-Headers", "authorization,last-event-id")
		}
		if tc.token != "" {
			req.Header.Set("Authorization", "Bearer "+tc.token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		h := resp.Header
		name := fmt.Sprintf("%s %s from %q", tc.method, tc.path, tc.origin)
		if resp.StatusCode != tc.status || h.Get("Access-Control-Allow-Origin") != tc.allow || !slices.Contains(h.Values("Vary"), "Origin") || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: status %d and headers %v, want %d and allowed origin %q", name, resp.StatusCode, h, tc.status, tc.allow)
		}
		if preflight := tc.method == "OPTIONS" && tc.status == 204; preflight != strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("%s: allowed headers %q", name, h.Get("Access-Control-Allow-Headers"))
		}
	}
}

func TestConnectionLimitsCountTheRealClient(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) {
		cfg.MaxConnections, cfg.MaxConnectionsPerIP = 5, 2
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	forwarded := func(v string) http.Header { return http.Header{"X-Forwarded-For": {v}} }
	open := func(v string) int {
		conn, resp, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws", &websocket.DialOptions{HTTPHeader: forwarded(v)})
		if err == nil {
			t.Cleanup(func() { _ = conn.CloseNow() })
		}
		return resp.StatusCode
	}
	for i, tc := range []struct {
		xff  string
		want int
	}{
		{"203.0.113.7", 101},
		// What stands left of the client's own address, it may have made up.
		{"198.51.100.1, 203.0.113.7, 10.1.2.3", 101},
		{"198.51.100.2, 203.0.113.7", 429},
		{"203.0.113.8", 101},
		{"not an address", 101}, // counts for the proxy itself
		{"2001:db8::1", 101},
		{"203.0.113.10", 429}, // the sixth in all
	} {
		if got := open(tc.xff); got != tc.want {
			t.Errorf("%d: X-Forwarded-For %q: status %d, want %d", i, tc.xff, got, tc.want)
		}
	}
}

func TestSlotsAreGivenBack(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) { cfg.MaxConnections, cfg.MaxConnectionsPerIP = 3, 3 })
	for range 20 {
		var open []*testclient.Client
		for range 2 {
			cl := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
			cl.Subscribe(testclient.Earliest(), nil)
			cl.Until("caught up", func() bool { return cl.CaughtUp == 1 })
			open = append(open, cl)
		}
		sse := testclient.SSE(t, s.URL, "?from=earliest", "")
		sse.Until("caught up", func() bool { return sse.CaughtUp == 1 })
		if got := tryDial(t, s, nil, nil); got != 429 {
			t.Fatalf("a fourth client: status %d, want 429", got)
		}
		for _, cl := range append(open, sse) {
			cl.Close()
		}
		testkafka.Eventually(t, "all clients are gone", func(context.Context) error {
			if n := value(t, s.reg, "websocket_connected_clients"); n != 0 {
				return fmt.Errorf("%v are connected", n)
			}
			return nil
		})
	}
	// Refused requests hold no slot either.
	for range 10 {
		_, _ = get(t, s.URL+"/v1/stream?from=nonsense", nil)
		_, _ = get(t, s.URL+"/ws", nil)
		_ = tryDial(t, s, []string{"chat"}, nil)
	}
	if got := tryDial(t, s, nil, nil); got != 101 {
		t.Errorf("after refused requests: status %d, want 101", got)
	}
}

func TestBadRequestsAreRefusedByField(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), nil)
	for query, want := range map[string]string{
		"from=nonsense":             "query.from",
		"from=abc:0=-1":             "query.from",
		"from=abc:0=1,0=2":          "query.from",
		"from=abc:00=1":             "query.from",
		"since_ms=x":                "query.since_ms",
		"since_ms=-1":               "subscribe.start.since_ms",
		"since_ms=1&from=latest":    "query",
		"type=nothing":              "query.type[0]",
		"threads=a":                 "unknown parameter",
		"thread=":                   "query.thread: empty",
		"thread":                    "query.thread: empty",
		"type=":                     "query.type: empty",
		"since_ms=":                 "query.since_ms: empty",
		"from=":                     "query.from: empty",
		"from=latest&from=earliest": "query.from: given 2 times",
		// What cannot be read was passed over, and with it the filter or the cursor.
		"from=earliest&thread=no;such":        "query.thread: a semicolon",
		"thread=a&tenant=no%zzsuch":           "query.tenant: a %",
		"from=abc:0=0,1=0;2=0":                "query.from: a semicolon",
		"from=abc:0=0%":                       "query.from: a %",
		"%66rom=a;b":                          "query.from: a semicolon",
		"fr%om=latest":                        `unknown parameter "fr%om": want from, since_ms, thread, tenant, type`,
		"thread=a&access_token=geheim":        `unknown parameter "access_token": want from`,
		"access_token=geheim%":                `unknown parameter "access_token": want from`,
		"access_token=geheim;x":               `unknown parameter "access_token": want from`,
		"geheim":                              "unknown parameter: want from",
		"thread=" + strings.Repeat("a", 2000): "subscribe.filter.threads[0]",
	} {
		got, body := get(t, s.URL+"/v1/stream?"+query, nil)
		if got != 400 || !strings.Contains(body, want) {
			t.Errorf("?%.60s: %d %q, want 400 that names %q", query, got, body, want)
		}
		if strings.Contains(body, "geheim") {
			t.Errorf("?%.60s: the answer repeats what may be a token: %q", query, body)
		}
	}
	for query, want := range map[string]string{"thread=a;b": "query.thread: a semicolon", "since_ms=": "query.since_ms: empty"} {
		_, resp, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws?"+query, nil)
		if err == nil || resp == nil || resp.StatusCode != 400 {
			t.Errorf("/ws?%s: %v, want status 400 that names %q", query, err, want)
			continue
		}
		if body := readBody(t, resp); !strings.Contains(body, want) {
			t.Errorf("/ws?%s: %q, want one that names %q", query, body, want)
		}
	}
	js := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
	js.Subscribe(testclient.Earliest(), nil)
	js.Until("caught up", func() bool { return js.CaughtUp == 1 })
	if got, _ := get(t, s.URL+"/ws", nil); got != 426 {
		t.Errorf("GET /ws without a handshake: %d, want 426", got)
	}
}

func TestBadFramesAreAnsweredAndTheSessionGoesOn(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	s := start(t, c, topic, nil)
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	read := func() string {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, b, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read(); !strings.HasPrefix(got, `{"hello":{"streamId":`) {
		t.Fatalf("first frame %s, want hello", got)
	}
	stream := regexp.MustCompile(`"streamId":"([^"]+)"`)
	for _, tc := range []struct{ send, field string }{
		{`{`, "frame"},
		{`{}`, "frame"},
		{`{"subscribe":{"sart":{}}}`, "subscribe.sart"},
		{`{"subscribe":{"filter":{"threads":[""]}}}`, "subscribe.filter.threads[0]"},
		{`{"subscribe":{"filter":{"types":[77]}}}`, "subscribe.filter.types[0]"},
		{`{"subscribe":{"start":{"cursor":{}}}}`, "subscribe.start.cursor.stream_id"},
		{`{"subscribe":{"start":{"cursor":{"streamId":"x","partitions":[{"nextOffset":"-1"}]}}}}`, "subscribe.start.cursor.partitions[0].next_offset"},
		{`{"subscribe":{"start":{"cursor":{"streamId":"x","partitions":[{"nextOffset":"1","leaderEpoch":-1}]}}}}`, "subscribe.start.cursor.partitions[0].leader_epoch"},
		{`{"subscribe":{"start":{"cursor":{"streamId":"x","partitions":[{},{}]}}}}`, "subscribe.start.cursor.partitions[1].partition"},
		{`{"subscribe":{"start":{"sinceMs":"-5"}}}`, "subscribe.start.since_ms"},
		{`{"subscribe":{"start":{"earliest":false}}}`, "subscribe.start.earliest"},
		{`{"ack":{}}`, "ack.cursor.stream_id"},
	} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(tc.send)); err != nil {
			t.Fatal(err)
		}
		got := read()
		if !strings.Contains(got, `"code":"invalid_field","field":"`+tc.field+`"`) {
			t.Errorf("%s: answered %s, want an error of field %s", tc.send, got, tc.field)
		}
	}
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"subscribe":{}}`)); err != nil {
		t.Fatal(err)
	}
	if got := read(); !strings.HasPrefix(got, `{"subscribed":`) || !stream.MatchString(got) {
		t.Errorf("after bad frames, a good one is answered %s", got)
	}
}

func TestAbuseEndsTheSession(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) {
		cfg.MaxClientFrameBytes, cfg.MaxClientFramesPerSecond = 1000, 10
	})
	ends := func(send func(*websocket.Conn)) websocket.StatusCode {
		conn, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.CloseNow() }()
		send(conn)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				return websocket.CloseStatus(err)
			}
		}
	}
	if got := ends(func(c *websocket.Conn) {
		_ = c.Write(t.Context(), websocket.MessageText, make([]byte, 1001)) // the server may be faster than the write
	}); got != 4501 {
		t.Errorf("a frame above the limit ended with %d, want 4501", got)
	}
	if got := ends(func(c *websocket.Conn) {
		for range 200 {
			if c.Write(t.Context(), websocket.MessageText, []byte(`{"subscribe":{}}`)) != nil {
				return
			}
		}
	}); got != 4502 {
		t.Errorf("too many frames ended with %d, want 4502", got)
	}
}

// A client that begins a message and does not end it is cut off, however much
// its header claims.
func TestAMessageThatDoesNotEndIsCutOff(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) { cfg.HandshakeTimeout = 200 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"+
		"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00some"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatalf("the connection did not end: %v", err)
	}
}

func TestCloseCodesAreDocumented(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d{4}) \| ([^|]+) \| (yes|no) \|$`).FindAllStringSubmatch(string(b), -1) {
		listed[m[1]] = m[2] + "/" + m[3]
	}
	for _, c := range gateway.CloseCodes() {
		key := strconv.Itoa(int(c.Code))
		want := c.Reason + "/" + map[bool]string{true: "yes", false: "no"}[c.Resume]
		if listed[key] != want {
			t.Errorf("docs/protocol.md says %q of close code %s, the code says %q", listed[key], key, want)
		}
		delete(listed, key)
	}
	for code := range listed {
		t.Errorf("docs/protocol.md lists close code %s, which is never sent", code)
	}
}

func TestSettingsAreCheckedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*gateway.Settings)
		want   string
	}{
		{"default", func(*gateway.Settings) {}, ""},
		{"loopback needs no token", func(s *gateway.Settings) { s.Listen = "[::1]:0" }, ""},
		{"open without saying so", func(s *gateway.Settings) { s.Listen = "0.0.0.0:3002" }, "needs a token"},
		{"every interface", func(s *gateway.Settings) { s.Listen = ":3002" }, "needs a token"},
		{"a name that is not this machine", func(s *gateway.Settings) { s.Host = "gateway.example" }, "needs a token"},
		{"open", func(s *gateway.Settings) { s.Listen, s.Open = "0.0.0.0:3002", true }, ""},
		{"token", func(s *gateway.Settings) {
			s.Listen, s.Token = "0.0.0.0:3002", settings.NewSecret("long-enough")
		}, ""},
		{"short token", func(s *gateway.Settings) { s.Token = settings.NewSecret("short") }, "5 bytes: want 8 to 4096"},
		{"a token with its line break", func(s *gateway.Settings) { s.Token = settings.NewSecret("long-enough\n") }, ""},
		{"a blank token", func(s *gateway.Settings) { s.Token = settings.NewSecret(" \n") }, "is blank"},
		{"two lines", func(s *gateway.Settings) { s.Token = settings.NewSecret("long-enough\nlong-enough") }, "want printable ASCII"},
		{"no such file", func(s *gateway.Settings) { s.TokenFile = "/nowhere/token" }, "/nowhere/token"},
		{"a file without an end", func(s *gateway.Settings) { s.TokenFile = "/dev/zero" }, "want 8 to 4096"},
		{"no port", func(s *gateway.Settings) { s.Listen = "localhost" }, "DASHSTREAM_LISTEN"},
		{"origin", func(s *gateway.Settings) { s.AllowedOrigins = []string{"example.org"} }, "SCHEME://HOST"},
	} {
		s := gateway.DefaultSettings()
		tc.change(&s)
		err := s.Validate()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want an error with %q", tc.name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "long-enough") {
			t.Errorf("%s: the error shows the token", tc.name)
		}
	}
	if _, err := gateway.DefaultSettings().Config(kafkaclient.Default(), "v"); err != nil {
		t.Errorf("the default settings make no configuration: %v", err)
	}
}
