package gateway

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestConnectionsAreCountedBySite(t *testing.T) {
	t.Parallel()
	l := &limiter{total: 100, perIP: 2}
	for _, tc := range []struct {
		addr string
		want bool
	}{
		{"192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false}, {"192.0.2.2", true},
		// Any address of one customer's network.
		{"2001:db8::1", true}, {"2001:db8::2", true}, {"2001:db8::3", false}, {"2001:db8:0:1::1", true},
		{"::1", true}, {"::1", true}, {"::1", false},
	} {
		if s, _ := l.admit(netip.MustParseAddr(tc.addr)); (s != nil) != tc.want {
			t.Errorf("%s: admitted %v, want %v", tc.addr, s != nil, tc.want)
		}
	}
}

func TestASlotIsGivenBackOnce(t *testing.T) {
	t.Parallel()
	l := &limiter{total: 1, perIP: 1}
	a := netip.MustParseAddr("2001:db8::1")
	s, _ := l.admit(a)
	s.release()
	s.release()
	if l.count != 0 || len(l.byIP) != 0 {
		t.Errorf("%d slots, %v by address, want none", l.count, l.byIP)
	}
}

// Invariant: whatever the headers say, an untrusted peer is counted as itself,
// and nothing panics.
func FuzzPeerOf(f *testing.F) {
	f.Add("192.0.2.1:5", "1.2.3.4, 10.0.0.1")
	f.Add("10.0.0.1:5", "1.2.3.4, , 10.0.0.2")
	f.Add("[fe80::1%eth0]:5", "::ffff:1.2.3.4")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		l := &limiter{trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		got := l.peerOf(&http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {forwarded}}})
		plain := l.peerOf(&http.Request{RemoteAddr: remote, Header: http.Header{}})
		if got != plain && !l.isTrusted(plain) {
			t.Fatalf("%q with %q counts as %v, not as %v", remote, forwarded, got, plain)
		}
	})
}
