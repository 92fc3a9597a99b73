package httpserve

import (
	"net"
	"net/netip"
	"strings"
)

// Loopback reports whether addr, HOST:PORT, is reachable only from this machine.
// An empty host and an unspecified address mean all interfaces, so they are not.
// A host name other than localhost is not either: what it resolves to can change.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// URL is the http URL of addr, HOST:PORT, for a client on this machine: a
// wildcard host becomes loopback.
func URL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if host == "" {
		host = "127.0.0.1"
	} else if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		// [::] takes IPv4 too on the systems that we run on.
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
