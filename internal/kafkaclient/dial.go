package kafkaclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// dialer opens the connections of a client.
type dialer struct {
	network string        // tcp, tcp4 or tcp6
	timeout time.Duration // for the whole attempt, TLS handshake included
	tls     *tls.Config   // nil for plaintext
}

// dial connects to host, a host:port. Its errors are typed: net.OpError for what happens below TLS, *HandshakeError for
// TLS. On a plaintext connection the first read fails with *ProtocolError when the other side does not speak Kafka.
func (d *dialer) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, d.network, addr)
	if err != nil {
		return nil, err
	}
	if d.tls == nil {
		return &plainConn{Conn: conn, addr: addr}, nil
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
	return tlsConn, nil
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

// ProtocolError is a plaintext connection whose other side answers in another protocol.
type ProtocolError struct {
	Addr   string
	Spoken string // "TLS" or "HTTP"
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("%s speaks %s, not plaintext Kafka", e.Addr, e.Spoken)
}

// plainConn looks at the first bytes of the answer. A Kafka answer begins with its size, which would be over 350 MB if
// it looked like a TLS record or an HTTP status line.
type plainConn struct {
	net.Conn
	addr  string
	begun atomic.Bool
}

func (c *plainConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	// A size split over two reads goes unnoticed and leaves the client's own, less telling error.
	if n >= 4 && c.begun.CompareAndSwap(false, true) {
		switch {
		case (p[0] == tlsAlert || p[0] == tlsHandshake) && p[1] == tlsMajor:
			return 0, &ProtocolError{Addr: c.addr, Spoken: "TLS"}
		case bytes.HasPrefix(p[:n], []byte("HTTP")):
			return 0, &ProtocolError{Addr: c.addr, Spoken: "HTTP"}
		}
	}
	return n, err
}

// The first bytes of a TLS record.
const (
	tlsAlert     = 21
	tlsHandshake = 22
	tlsMajor     = 3
)
