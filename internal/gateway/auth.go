package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/dashflow/dashstream/internal/httpserve"
)

// authorized reports whether a request carries the token: in the header
// "Authorization: Bearer …", or, from a browser's WebSocket, in a subprotocol.
// Without a configured token everybody is. An error says why that cannot be told.
func (g *Gateway) authorized(r *http.Request) (bool, error) {
	if g.cfg.Token == "" {
		return true, nil
	}
	want, err := g.tokens.current()
	if err != nil {
		return false, err
	}
	if token, given := httpserve.BearerToken(r); given {
		return httpserve.SameSecret(token, want), nil
	}
	token, ok := tokenFromProtocols(offeredProtocols(r))
	return ok && httpserve.SameSecret(token, want), nil
}

// TokenReady returns nil while clients can be told by their token, or why not.
func (g *Gateway) TokenReady() error {
	_, err := g.tokens.current()
	return err
}

// checkOrigin keeps other sites' pages from reading the stream with the browser
// of somebody who may: a request with an Origin header must come from the
// gateway's own page or from a configured origin. It returns why not.
func (g *Gateway) checkOrigin(r *http.Request) error {
	// A page can make its own name point at loopback (DNS rebinding) and then
	// is same-origin by name, with or without an Origin header. Without a
	// token, the name must be one that only this machine has, or configured.
	if g.cfg.Token == "" && !g.cfg.Open && !isLoopbackHost(r.Host) && !g.configuredHost(r.Host) {
		return fmt.Errorf("host %q: without a token, want a name or an address of this machine, or the host of an origin in --allowed-origins (DASHSTREAM_ALLOWED_ORIGINS)", clip(r.Host, maxNamed))
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" {
		own := (u.Scheme == "http" || u.Scheme == "https") && strings.EqualFold(u.Host, r.Host)
		if own || slices.ContainsFunc(g.cfg.AllowedOrigins, func(o string) bool {
			return o == "*" || strings.EqualFold(o, origin)
		}) {
			return nil
		}
	}
	return fmt.Errorf("origin %q: want that of the gateway's own page, or one in --allowed-origins (DASHSTREAM_ALLOWED_ORIGINS)", clip(origin, maxNamed))
}

// maxNamed is how much of a bad header an answer repeats, in bytes.
const maxNamed = 256

// crossOrigin lets a page of an allowed origin read the answer. Credentials are
// not allowed for: the token is in a header, and the gateway knows no cookies.
func crossOrigin(h http.Header, r *http.Request) {
	h.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
	}
}

// servePreflight tells a browser what a page of another origin may ask. It asks
// for no token, since browsers send none with this question.
func (g *Gateway) servePreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if bad := g.checkOrigin(r); bad != nil {
		h.Add("Vary", "Origin")
		g.metrics.rejected.WithLabelValues("origin").Inc()
		http.Error(w, bad.Error(), http.StatusForbidden)
		return
	}
	crossOrigin(h, r)
	h.Set("Allow", crossOriginMethods)
	if r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD")
		h.Set("Access-Control-Allow-Headers", "Authorization, Cache-Control, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}

// configuredHost reports whether a Host header names an allowed origin, as it
// does behind a proxy that passes its own name on.
func (g *Gateway) configuredHost(host string) bool {
	return slices.ContainsFunc(g.cfg.AllowedOrigins, func(o string) bool {
		u, err := url.Parse(o)
		return o == "*" || err == nil && strings.EqualFold(u.Host, host)
	})
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
