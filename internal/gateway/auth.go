package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// authorized reports whether a request carries the token: in the header
// "Authorization: Bearer …", or, from a browser's WebSocket, in a subprotocol.
// Without a configured token everybody is.
func (g *Gateway) authorized(r *http.Request) bool {
	if g.cfg.Token == "" {
		return true
	}
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		return strings.EqualFold(scheme, "Bearer") && sameSecret(strings.TrimSpace(token), g.cfg.Token)
	}
	token, ok := tokenFromProtocols(offeredProtocols(r))
	return ok && sameSecret(token, g.cfg.Token)
}

// sameSecret compares in constant time, the length included.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// originAllowed keeps other sites' pages from reading the stream with the
// browser of somebody who may: a request with an Origin header must come from
// the gateway's own page or from a configured origin.
func (g *Gateway) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	for _, o := range g.cfg.AllowedOrigins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
	}
	if !strings.EqualFold(u.Host, r.Host) {
		return false
	}
	// A page can make its own name point at loopback (DNS rebinding) and then
	// is same-origin by name. Without a token, the name must be one that only
	// this machine can have.
	if g.cfg.Token == "" && !g.cfg.Open {
		return isLoopbackHost(r.Host)
	}
	return true
}

// isLoopbackHost reports whether a Host header names this machine.
func isLoopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
