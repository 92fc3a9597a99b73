package httpserve

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ConnLimits bounds what connections take before anything is known about who
// made them: descriptors, and memory for headers. Zero means no limit, but for
// Max.
type ConnLimits struct {
	// Max is how many connections there may be at a time, hijacked ones included.
	// It is lowered to what the process's file descriptors allow when others have
	// to have some too.
	Max int
	// PerSite is how many of them may come from one [Site].
	PerSite int
	// HeaderBytes bounds the headers that are being read, or belong to a request
	// under way, in all; what every connection has free does not count. A quarter of
	// it is for one site.
	HeaderBytes int64
	// Exempt says which addresses, such as a proxy's, stand for many clients and
	// have no limit of their own. May be nil.
	Exempt func(netip.Addr) bool
	// MaxHint and PerSiteHint tell a refused client what sets the limit.
	MaxHint, PerSiteHint string
	// Refused is told of each refusal. May be nil.
	Refused func(Refusal)
}

// Refusal is why a connection was ended before a request was answered.
type Refusal string

const (
	// RefusedMax: there are as many connections as there may be.
	RefusedMax Refusal = "http_connections"
	// RefusedPerSite: one site has as many as it may have.
	RefusedPerSite Refusal = "http_connections_per_ip"
	// RefusedHeaders: headers take as much memory as they may.
	RefusedHeaders Refusal = "http_header_memory"
)

// Refusals lists the reasons, for metrics.
func Refusals() []string {
	return []string{string(RefusedMax), string(RefusedPerSite), string(RefusedHeaders)}
}

const (
	// freeHeader is what the header of each connection has free: net/http reads into
	// a buffer of this size anyway.
	freeHeader = 4 << 10
	// headerShares is how many sites the memory for headers is for, at least.
	headerShares = 4
	// refusalTime bounds telling a client that it is refused. A new connection takes
	// a few hundred bytes at once.
	refusalTime = 100 * time.Millisecond
)

// Site is what connections are counted for: an IPv4 address, or the /64 network
// of an IPv6 address, which is what one customer gets and may take any address
// of.
func Site(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() || a.IsLoopback() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// SiteName writes what [Site] returned.
func SiteName(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "an address that cannot be told"
	case a.Is6() && !a.IsLoopback():
		return netip.PrefixFrom(a, 64).String()
	}
	return a.String()
}

// usage is what a site, or all of them, take at the moment.
type usage struct {
	conns  int
	header int64
}

// limitedListener accepts connections within the limits.
type limitedListener struct {
	net.Listener
	limits      ConnLimits
	peerTimeout time.Duration
	complaints  Complaints

	mu     sync.Mutex
	all    usage
	bySite map[netip.Addr]*usage
}

func newLimitedListener(ln net.Listener, l ConnLimits, peerTimeout time.Duration, logger *slog.Logger) *limitedListener {
	return &limitedListener{Listener: ln, limits: l, peerTimeout: peerTimeout, complaints: Complaints{Logger: logger}, bySite: map[netip.Addr]*usage{}}
}

// Accept returns the next connection for which there is room. Others are told
// why not, and closed.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
				l.complaints.Warn("no file descriptor is left for a connection; "+descriptorHint, "error", err)
			}
			return nil, err // which net/http tries again after a while, where that can help
		}
		a := &account{l: l}
		a.reading.Store(true)
		var addr netip.Addr
		if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
			addr = ap.Addr().Unmap().WithZone("")
		}
		if l.limits.Exempt == nil || !l.limits.Exempt(addr) {
			a.site, a.counted = Site(addr), true
		}
		if why, message := l.enter(a); message != "" {
			l.refused(why)
			l.complaints.Warn("a connection is refused: "+message, "reason", string(why))
			refuse(c, "429 Too Many Requests", message)
			_ = c.Close() // it was refused; there is nobody to tell
			continue
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = setPeerTimeout(tcp, l.peerTimeout) // it fails where the peer has gone already
			return &tcpConn{TCPConn: tcp, account: a}, nil
		}
		return &plainConn{Conn: c, account: a}, nil
	}
}

// refuse answers with a status before the request is known, as far as the client
// takes it.
func refuse(c net.Conn, status, message string) {
	message += "\n"
	_ = c.SetWriteDeadline(time.Now().Add(refusalTime))
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(message), message)
}

func (l *limitedListener) refused(why Refusal) {
	if l.limits.Refused != nil {
		l.limits.Refused(why)
	}
}

// enter counts a connection, or says which limit was reached.
func (l *limitedListener) enter(a *account) (Refusal, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.limits.Max; n > 0 && l.all.conns >= n {
		return RefusedMax, hint(fmt.Sprintf("too many connections: all %d are in use", n), l.limits.MaxHint)
	}
	if a.counted {
		u := l.bySite[a.site]
		if n := l.limits.PerSite; n > 0 && u != nil && u.conns >= n {
			return RefusedPerSite, hint(fmt.Sprintf("too many connections from %s: all %d that one address may have are in use", SiteName(a.site), n), l.limits.PerSiteHint)
		}
		if u == nil {
			u = &usage{}
			l.bySite[a.site] = u
		}
		u.conns++
	}
	l.all.conns++
	return "", ""
}

func hint(message, hint string) string {
	if hint == "" {
		return message
	}
	return message + "; " + hint
}

func (l *limitedListener) leave(a *account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.conns--
	if !a.counted {
		return
	}
	if u := l.bySite[a.site]; u != nil {
		if u.conns--; u.conns <= 0 {
			delete(l.bySite, a.site)
		}
	}
}

// hold takes n bytes of the memory for headers, or gives back -n, and reports
// whether there was room.
func (l *limitedListener) hold(a *account, n int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.bySite[a.site]
	if !a.counted {
		u = nil
	}
	if limit := l.limits.HeaderBytes; n > 0 && limit > 0 && (l.all.header+n > limit || u != nil && u.header+n > limit/headerShares) {
		return false
	}
	l.all.header += n
	if u != nil {
		u.header += n
	}
	return true
}

// account is what one connection takes of the limits.
type account struct {
	l       *limitedListener
	site    netip.Addr
	counted bool // for its site too

	// reading: what comes now is a request's header.
	reading atomic.Bool
	mu      sync.Mutex
	seen    int64 // of this header
	held    int64 // of them in memory that is counted
	ended   bool
}

// read counts what is read of a header. Beyond the limit the client is answered
// here, and the connection ends for net/http, which then says nothing more.
func (a *account) read(c net.Conn, b []byte) (int, error) {
	n, err := c.Read(b)
	if n == 0 || !a.reading.Load() {
		return n, err
	}
	if !a.header(int64(n)) {
		a.l.refused(RefusedHeaders)
		refuse(c, "431 Request Header Fields Too Large", "the headers of all requests take too much memory now; come back, or send less than 4 KiB")
		return 0, io.EOF
	}
	return n, err
}

// header counts n more bytes of a header, and reports whether there was room.
func (a *account) header(n int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen += n
	more := a.seen - freeHeader - a.held
	if more <= 0 || a.ended {
		return true
	}
	if !a.l.hold(a, more) {
		return false
	}
	a.held += more
	return true
}

// observe follows net/http: a header is read until the connection is active, and
// its memory is in use until the request has been answered or taken over.
func (a *account) observe(state http.ConnState) {
	a.reading.Store(state == http.StateNew || state == http.StateIdle)
	if state == http.StateNew || state == http.StateActive {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.giveBack()
}

// giveBack forgets the header. The caller holds a.mu.
func (a *account) giveBack() {
	if a.held > 0 {
		a.l.hold(a, -a.held)
	}
	a.seen, a.held = 0, 0
}

// end gives everything back, once.
func (a *account) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.ended = true
	a.giveBack()
	a.l.leave(a)
}

// tcpConn has all that a [net.TCPConn] has, for those who look for more than a
// [net.Conn].
type tcpConn struct {
	*net.TCPConn
	account *account
}

func (c *tcpConn) Read(b []byte) (int, error) { return c.account.read(c.TCPConn, b) }

func (c *tcpConn) Close() error {
	c.account.end()
	return c.TCPConn.Close()
}

// plainConn is a connection of another kind, as in a test.
type plainConn struct {
	net.Conn
	account *account
}

func (c *plainConn) Read(b []byte) (int, error) { return c.account.read(c.Conn, b) }

func (c *plainConn) Close() error {
	c.account.end()
	return c.Conn.Close()
}

// accountOf returns what was counted for a connection.
func accountOf(c net.Conn) *account {
	switch c := c.(type) {
	case *tcpConn:
		return c.account
	case *plainConn:
		return c.account
	}
	return nil
}
