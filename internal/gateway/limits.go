package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/dashflow/dashstream/internal/httpserve"
)

// limiter counts connections in all and for each client address.
type limiter struct {
	total, perIP int
	trusted      []netip.Prefix

	mu    sync.Mutex
	count int
	byIP  map[netip.Addr]int
}

// slot is one admitted connection. It is given back once, however often
// release is called.
type slot struct {
	l    *limiter
	peer netip.Addr
	once sync.Once
}

func (s *slot) release() {
	s.once.Do(func() {
		s.l.mu.Lock()
		defer s.l.mu.Unlock()
		s.l.count--
		if s.l.byIP[s.peer]--; s.l.byIP[s.peer] <= 0 {
			delete(s.l.byIP, s.peer)
		}
	})
}

// fullError says which limit on connections was reached.
type fullError struct {
	limit   string // as a label
	message string
}

func (e *fullError) Error() string { return e.message }

const (
	totalHint = "--websocket-max-connections (WEBSOCKET_MAX_CONNECTIONS) sets how many there are"
	perIPHint = "--websocket-max-connections-per-ip (WEBSOCKET_MAX_CONNECTIONS_PER_IP) sets how many that is"
	// spareConns and spareConnsPerIP are connections beside those of sessions: pages,
	// scrapes, probes, and clients that are told why they get no session.
	spareConns      = 256
	spareConnsPerIP = 64
)

// LimitHTTP gives the configuration of a server of the gateway the limits that
// connections have before they are sessions.
func (g *Gateway) LimitHTTP(c *httpserve.Config) {
	c.MaxHeaderBytes = maxHeaderBytes
	// An event stream has no answer to a ping: what tells that its client has gone is
	// the system. One that is only slow has its time to read.
	c.PeerTimeout = max(3*g.cfg.PingInterval, 2*g.cfg.SendTimeout)
	c.PprofGuard = g.Guard
	c.Limits.Max, c.Limits.MaxHint = g.cfg.MaxConnections+spareConns, totalHint
	c.Limits.PerSite, c.Limits.PerSiteHint = g.cfg.MaxConnectionsPerIP+spareConnsPerIP, perIPHint
	c.Limits.Exempt = g.limiter.isTrusted
	c.Limits.Refused = func(why httpserve.Refusal) { g.metrics.rejected.WithLabelValues(string(why)).Inc() }
}

// admit takes a slot, or says which limit was reached.
func (l *limiter) admit(peer netip.Addr) (*slot, *fullError) {
	peer = httpserve.Site(peer)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= l.total {
		return nil, &fullError{"connections", fmt.Sprintf("too many connections: all %d are in use; "+totalHint, l.total)}
	}
	if l.byIP[peer] >= l.perIP {
		return nil, &fullError{"connections_per_ip", fmt.Sprintf("too many connections from %s: all %d that one address may have are in use; "+perIPHint, httpserve.SiteName(peer), l.perIP)}
	}
	if l.byIP == nil {
		l.byIP = map[netip.Addr]int{}
	}
	l.count++
	l.byIP[peer]++
	return &slot{l: l, peer: peer}, nil
}

// peerOf returns the client's address. Forwarded addresses are believed only
// from a trusted proxy, and read from right to left: the first address that is
// not a trusted proxy's is the client. Whatever stands left of it, the client
// may have made up.
func (l *limiter) peerOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	peer, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	peer = peer.Unmap().WithZone("")
	if !l.isTrusted(peer) {
		return peer
	}
	var hops []string
	for _, h := range r.Header.Values("X-Forwarded-For") {
		hops = append(hops, strings.Split(h, ",")...)
	}
	for i := len(hops) - 1; i >= 0; i-- {
		hop, ok := parseHop(strings.TrimSpace(hops[i]))
		if !ok {
			return peer
		}
		peer = hop.Unmap().WithZone("")
		if !l.isTrusted(peer) {
			return peer
		}
	}
	return peer
}

// parseHop reads an address as proxies write it: bare, in brackets, or with a port.
func parseHop(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr(), true
	}
	if bare, ok := strings.CutPrefix(s, "["); ok {
		if bare, ok = strings.CutSuffix(bare, "]"); !ok {
			return netip.Addr{}, false
		}
		s = bare
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

func (l *limiter) isTrusted(a netip.Addr) bool {
	for _, p := range l.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
