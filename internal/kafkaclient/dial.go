package kafkaclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// dialer opens the connections of a client.
type dialer struct {
	network  string        // tcp, tcp4 or tcp6
	timeout  time.Duration // for the whole attempt, TLS handshake included
	tls      *tls.Config   // nil for plaintext
	requests int64         // requests until a new connection is authenticated; 0 without SASL
}

// dial connects to host, a host:port. Its errors are typed: net.OpError for what happens below TLS, *HandshakeError for
// TLS. The first reads may fail with *ProtocolError or *HangUpError, and any with *SilentError.
func (d *dialer) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, d.network, addr)
	if err != nil {
		return nil, err
	}
	if d.tls == nil {
		return &watchedConn{Conn: conn, addr: addr, requests: d.requests}, nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	config := d.tls.Clone()
	config.ServerName = host
	tlsConn := tls.Client(conn, config)
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		// The handshake error is the news; the connection is of no further use.
		_ = conn.Close()
		return nil, &HandshakeError{Addr: addr, Err: err}
	}
	return &watchedConn{Conn: tlsConn, addr: addr, requests: d.requests}, nil
}

// HandshakeError is a TLS handshake with a broker that did not succeed.
type HandshakeError struct {
	Addr string
	Err  error
}

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("TLS handshake with %s: %v", e.Addr, e.Err)
}

// Unwrap returns the error of the TLS library.
func (e *HandshakeError) Unwrap() error { return e.Err }

// ProtocolError is a connection whose other side answers in another protocol.
type ProtocolError struct {
	Addr   string
	Spoken string // "TLS" or "HTTP"
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("%s speaks %s, not Kafka", e.Addr, e.Spoken)
}

// HangUpError is a connection that the broker closed while the client was introducing itself, without saying why.
type HangUpError struct {
	Addr string
	// Handshake is true when the broker heard only the name of the SASL mechanism, false when it heard the secret.
	Handshake bool
	// First is true when the client does not authenticate, and the broker heard no more than one request from it.
	First bool
	Err   error
}

func (e *HangUpError) Error() string {
	stage := "authentication"
	switch {
	case e.Handshake:
		stage = "the SASL handshake"
	case e.First:
		stage = "the first request"
	}
	return fmt.Sprintf("%s closed the connection during %s: %v", e.Addr, stage, e.Err)
}

// Unwrap returns the error of the read, so that the client goes on to treat it as a closed connection.
func (e *HangUpError) Unwrap() error { return e.Err }

// watchedConn gives the first errors of a connection their meaning. It looks at the first bytes of the answer: a Kafka
// answer begins with its size, which would be over 350 MB if it looked like a TLS record, an HTTP status line or a page. And it
// counts requests, each of which the client writes at once, because some brokers answer a wrong password by hanging up.
type watchedConn struct {
	net.Conn
	addr     string
	requests int64 // until authenticated
	written  atomic.Int64
	// heard are the first bytes that came, as many as hearing says. The client reads on one goroutine at a time.
	heard   [4]byte
	hearing int
}

func (c *watchedConn) Write(p []byte) (int, error) {
	c.written.Add(1)
	return c.Conn.Write(p)
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.hearing < len(c.heard) && n > 0 {
		c.hearing += copy(c.heard[c.hearing:], p[:n])
		if spoken := otherProtocol(c.heard[:c.hearing]); spoken != "" {
			return 0, &ProtocolError{Addr: c.addr, Spoken: spoken}
		}
	}
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, &SilentError{Addr: c.addr, Err: err} // the client waits for an answer only
	}
	if err != nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		switch written := c.written.Load(); {
		case written >= saslHandshakeRequest && written <= c.requests:
			err = &HangUpError{Addr: c.addr, Handshake: written == saslHandshakeRequest, Err: err}
		case c.requests == 0 && written > 0 && written <= firstRequest:
			err = &HangUpError{Addr: c.addr, First: true, Err: err}
		}
	}
	return n, err
}

// otherProtocol tells by the first bytes of an answer, four at least, that it is not Kafka's.
func otherProtocol(first []byte) string {
	switch {
	case len(first) < 4:
		return ""
	case (first[0] == tlsAlert || first[0] == tlsHandshake) && first[1] == tlsMajor:
		return "TLS"
	case isHTTP(first):
		return "HTTP"
	}
	return ""
}

// isHTTP reports whether an answer begins as a web server's: with a status line or, where the server takes what it got for a
// request of HTTP/0.9, with the page itself.
func isHTTP(first []byte) bool { return bytes.HasPrefix(first, []byte("HTTP")) || first[0] == '<' }

// A client asks for versions first, then names the mechanism, then authenticates.
const (
	saslHandshakeRequest = 2
	firstRequest         = 2 // of a client that does not authenticate
)

// The first bytes of a TLS record.
const (
	tlsAlert     = 21
	tlsHandshake = 22
	tlsMajor     = 3
)
