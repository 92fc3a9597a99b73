package gateway

import (
	"encoding/binary"
	"net/http"
	"net/netip"
	"testing"
	"time"
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

// A proxy that was written as IPv4 in IPv6 was never found, and an address with a
// port counted all clients as the proxy.
func TestTheClientBehindAProxyIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ trust, remote, forwarded, want string }{
		{"::ffff:10.0.0.0/104", "10.0.0.1:1", "192.0.2.1", "192.0.2.1"},
		{"::ffff:10.0.0.0/104", "[::ffff:10.0.0.1]:1", "192.0.2.1", "192.0.2.1"},
		{"::ffff:10.0.0.0/104", "11.0.0.1:1", "192.0.2.1", "11.0.0.1"},
		{"10.0.0.0/8", "10.0.0.1:1", "192.0.2.1:5678", "192.0.2.1"},
		{"10.0.0.0/8", "10.0.0.1:1", "[2001:db8::1]:5678", "2001:db8::1"},
		{"10.0.0.0/8", "10.0.0.1:1", "[2001:db8::1]", "2001:db8::1"},
		{"10.0.0.0/8", "10.0.0.1:1", "192.0.2.1:5678, 10.0.0.2:80", "192.0.2.1"},
		{"10.0.0.0/8", "10.0.0.1:1", "192.0.2.1, unknown", "10.0.0.1"},
		{"10.0.0.0/8", "10.0.0.1:1", "192.0.2.1, [::1", "10.0.0.1"},
	} {
		var trusted Prefixes
		if err := trusted.UnmarshalText([]byte(tc.trust)); err != nil {
			t.Fatal(err)
		}
		l := &limiter{trusted: trusted}
		if got := l.peerOf(&http.Request{RemoteAddr: tc.remote, Header: http.Header{"X-Forwarded-For": {tc.forwarded}}}); got.String() != tc.want {
			t.Errorf("%s trusted, %s for %q counts as %v, want %s", tc.trust, tc.remote, tc.forwarded, got, tc.want)
		}
	}
	var p Prefixes
	if err := p.UnmarshalText([]byte("::ffff:0.0.0.0/90")); err == nil {
		t.Errorf("a network of both kinds is taken as %v", p)
	}
}

// However much a client has to read, there is a time at which it counts as dead.
func TestPatienceWithASilentClientIsBounded(t *testing.T) {
	t.Parallel()
	s := &session{hub: &hub{cfg: DefaultConfig("t")}}
	for _, tc := range []struct {
		written, confirmed int64
		want               time.Duration
	}{
		{0, 0, 40 * time.Second},
		{1 << 20, 1 << 20, 40 * time.Second},
		{1 << 20, 0, 2 * time.Minute},
		{1 << 20, 1 << 19, 80 * time.Second},
		{1 << 60, 0, 5 * time.Minute},
	} {
		s.written.Store(tc.written)
		s.confirmed.Store(0)
		s.pong(binary.BigEndian.AppendUint64(nil, uint64(tc.confirmed)))
		if got := s.patience(); got != tc.want {
			t.Errorf("%d bytes written and %d read: %v, want %v", tc.written, tc.confirmed, got, tc.want)
		}
	}
	// A client that claims to have read more than there was is not believed.
	s.pong(binary.BigEndian.AppendUint64(nil, 1<<61))
	s.pong([]byte("whatever"))
	if got := s.patience(); got != 5*time.Minute {
		t.Errorf("%v after lies, want 5 minutes", got)
	}
}
