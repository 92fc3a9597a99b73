package gateway

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/httpserve"
)

// Invariants: an untrusted peer is counted as itself, whatever headers it sends;
// behind a trusted proxy the client is the address right of which all are trusted,
// and nothing that stands left of it, how the chain is cut into header lines, or
// another header matters; nothing panics, and no address has a zone or is IPv4 in
// IPv6, so that one client is one.
func FuzzPeerOf(f *testing.F) {
	f.Add("192.0.2.1:5", "1.2.3.4, 10.0.0.1", "9.9.9.9", uint8(3))
	f.Add("10.0.0.1:5", "1.2.3.4, , 10.0.0.2", "", uint8(0))
	f.Add("10.0.0.1:5", "1.2.3.4,10.0.0.2,[2001:db8::1]:80, 10.0.0.3:5", "::1,10.0.0.9", uint8(1))
	f.Add("[fe80::1%eth0]:5", "::ffff:1.2.3.4", "10.0.0.1", uint8(9))
	f.Add("[::ffff:10.0.0.1]:5", "::ffff:10.0.0.2, fe80::1%eth0", "", uint8(2))
	f.Add("", "", "", uint8(0))
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	f.Fuzz(func(t *testing.T, remote, chain, left string, cut uint8) {
		l := &limiter{trusted: trusted}
		from := func(h http.Header) netip.Addr { return l.peerOf(&http.Request{RemoteAddr: remote, Header: h}) }
		alone := from(http.Header{})
		got := from(http.Header{"X-Forwarded-For": {chain}})
		if alone.IsValid() && !l.isTrusted(alone) && got != alone || !alone.IsValid() && got.IsValid() {
			t.Fatalf("%q with %q counts as %v, not as %v", remote, chain, got, alone)
		}
		if got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%q with %q counts as %v", remote, chain, got)
		}
		if got != alone {
			// It was said, and everything right of it is a trusted proxy's.
			hops := strings.Split(chain, ",")
			said := slices.ContainsFunc(hops, func(h string) bool {
				a, ok := parseHop(strings.TrimSpace(h))
				return ok && a.Unmap().WithZone("") == got
			})
			if !said {
				t.Fatalf("%q with %q counts as %v, which nobody said", remote, chain, got)
			}
			for i := len(hops) - 1; i >= 0; i-- {
				a, ok := parseHop(strings.TrimSpace(hops[i]))
				if a = a.Unmap().WithZone(""); !ok || a == got {
					break
				}
				if !l.isTrusted(a) {
					t.Fatalf("%q with %q counts as %v, although %v said so", remote, chain, got, a)
				}
			}
		}
		if !l.isTrusted(got) {
			if more := from(http.Header{"X-Forwarded-For": {left, left + "," + chain}}); more != got {
				t.Fatalf("%q with %q counts as %v, and with %q left of it as %v", remote, chain, got, left, more)
			}
		}
		if at := int(cut) % (len(chain) + 1); at < len(chain) && chain[at] == ',' {
			if lines := from(http.Header{"X-Forwarded-For": {chain[:at], chain[at+1:]}}); lines != got {
				t.Fatalf("%q with %q counts as %v, and in two lines as %v", remote, chain, got, lines)
			}
		}
		other := http.Header{"X-Forwarded-For": {chain}, "Forwarded": {"for=" + left}, "X-Real-Ip": {left}, "X-Client-Ip": {left}, "True-Client-Ip": {left}, "Cf-Connecting-Ip": {left}}
		if h := from(other); h != got {
			t.Fatalf("%q with %q counts as %v, and with other headers of %q as %v", remote, chain, got, left, h)
		}
		if s, full := (&limiter{total: 1, perIP: 1}).admit(got); full != nil {
			t.Fatalf("%v is not admitted: %v", got, full)
		} else {
			s.release()
		}
	})
}

// Invariants: a file gives a token that a header can carry, or an error that holds
// nothing of it; what surrounds a token in a file (line breaks of any system) is not
// part of it, and anything else that is no part of a token (a byte order mark, NUL,
// a second line) refuses the file; the token lets its bearer in, in both forms, and
// nothing else does.
func FuzzToken(f *testing.F) {
	for _, file := range []string{
		"a-good-token", "a-good-token\r\n", "\xef\xbb\xbfa-good-token", "a-good\x00token", "a-good-token\n\nanother-token", "", "\n", "short", " \ta-good-token ",
		strings.Repeat("x", httpserve.MaxTokenBytes), strings.Repeat("x", httpserve.MaxTokenBytes+1), strings.Repeat("\n", httpserve.MaxTokenBytes+100) + "a-good-token", "\xff\xfea\x00-\x00g\x00", "a-göod-token", "a-good-token\u00a0", "a-good-token\u2028",
	} {
		f.Add([]byte(file), "a-good-token")
	}
	f.Add([]byte("a-good-token"), "a-good-tokem")
	f.Add([]byte("a-good-token"), "A-GOOD-TOKEN")
	path := filepath.Join(f.TempDir(), "token")
	f.Fuzz(func(t *testing.T, file []byte, shown string) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := rereadToken(path)
		if err != nil {
			if text := strings.TrimSpace(string(file)); len(text) > 6 && strings.Contains(err.Error(), text) && !strings.Contains(path, text) && !strings.Contains(fixedTokenErrors, text) {
				t.Fatalf("the error says what is in the file: %v", err)
			}
			if token != "" {
				t.Fatalf("the token %q and %v", token, err)
			}
		} else if before, after, ok := strings.Cut(string(file), token); len(token) < httpserve.MinTokenBytes || len(token) > httpserve.MaxTokenBytes || !ok || strings.TrimSpace(before+after) != "" ||
			strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q gives the token %q", file, token)
		}
		g := &Gateway{cfg: Config{Token: "in use"}, tokens: &tokens{path: path, log: slog.New(slog.DiscardHandler)}}
		in := func(h http.Header) bool {
			ok, authErr := g.authorized(&http.Request{Header: h})
			if (authErr != nil) != (err != nil) {
				t.Fatalf("authorized says %v, the file %v", authErr, err)
			}
			return ok
		}
		header := func(scheme, v string) http.Header { return http.Header{"Authorization": {scheme + " " + v}} }
		protocol := func(v string) http.Header {
			return http.Header{"Sec-Websocket-Protocol": {protocolJSON + ", " + protocolBearer + base64.RawURLEncoding.EncodeToString([]byte(v))}}
		}
		if err == nil && (!in(header("Bearer", token)) || !in(header("bEARER", token)) || !in(protocol(token))) {
			t.Fatalf("the token %q does not let in", token)
		}
		if good := err == nil && strings.TrimSpace(shown) == token; in(header("Bearer", shown)) != good {
			t.Fatalf("%q lets in where the token is %q: %v", shown, token, !good)
		}
		if good := err == nil && shown == token; in(protocol(shown)) != good {
			t.Fatalf("%q as a subprotocol lets in where the token is %q: %v", shown, token, !good)
		}
		if in(header("Basic", shown)) || in(http.Header{"Authorization": {shown}}) && !strings.HasPrefix(strings.ToLower(shown), "bearer ") || in(http.Header{}) {
			t.Fatalf("%q lets in without being shown as a token", shown)
		}
	})
}

// fixedTokenErrors is what errors say whatever the file holds.
const fixedTokenErrors = "DASHSTREAM_TOKEN_FILE the token has a space, a line break or another character that no header can carry: want printable ASCII the file is empty cannot be read a token of bytes want not a regular file"
