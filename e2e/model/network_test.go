package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// socketBytes is what a direction of a connection holds before a write waits,
// as the buffers of a socket do. It is small, so that clients that do not read
// are felt.
const socketBytes = 64 << 10

// network connects by port, in memory: durably blocking in a bubble of fake
// time, which real sockets are not. What a script breaks, it breaks here.
type network struct {
	mu        sync.Mutex
	next      int
	listeners map[int]*listener
	// conns are the open connections by the port that was dialled.
	conns map[int]map[*conn]struct{}
	// down refuses, frozen delivers nothing more, until the time.
	down, frozen map[int]time.Time
}

func newNetwork() *network {
	return &network{next: 20000, listeners: map[int]*listener{}, conns: map[int]map[*conn]struct{}{}, down: map[int]time.Time{}, frozen: map[int]time.Time{}}
}

type listener struct {
	n      *network
	port   int
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func portOf(address string) (int, error) {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return 0, err
	}
	return a.Port, nil
}

// listen takes a port; 0 takes a free one.
func (n *network) listen(_, address string) (net.Listener, error) {
	port, err := portOf(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == 0 {
		n.next++
		port = n.next
	}
	if n.listeners[port] != nil {
		return nil, fmt.Errorf("listen %s: %w", address, syscall.EADDRINUSE)
	}
	l := &listener{n: n, port: port, accept: make(chan net.Conn, 256), closed: make(chan struct{})}
	n.listeners[port] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.n.mu.Lock()
		delete(l.n.listeners, l.port)
		l.n.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.accept:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.port} }

func (n *network) dial(_ context.Context, _, address string) (net.Conn, error) {
	port, err := portOf(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	l := n.listeners[port]
	if l == nil || time.Now().Before(n.down[port]) {
		return nil, refused
	}
	n.next++
	here := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: n.next}
	up, down := newPipe(), newPipe()
	client := &conn{n: n, port: port, in: down, out: up, local: here, remote: l.Addr()}
	server := &conn{n: n, port: port, in: up, out: down, local: l.Addr(), remote: here}
	client.peer, server.peer = server, client
	if until := n.frozen[port]; time.Now().Before(until) {
		client.freeze(until)
	}
	select {
	case l.accept <- server:
	default:
		return nil, refused
	}
	if n.conns[port] == nil {
		n.conns[port] = map[*conn]struct{}{}
	}
	n.conns[port][client] = struct{}{}
	return client, nil
}

// cut breaks every connection to a port, as a killed process does, and refuses
// new ones for the time given.
func (n *network) cut(port int, refuse time.Duration) {
	n.mu.Lock()
	n.down[port] = time.Now().Add(refuse)
	conns := n.conns[port]
	n.conns[port] = nil
	n.mu.Unlock()
	for c := range conns {
		c.reset()
	}
}

// freeze delivers nothing from or to a port for the time given: the peer is
// there and does not answer.
func (n *network) freeze(port int, d time.Duration) {
	until := time.Now().Add(d)
	n.mu.Lock()
	n.frozen[port] = until
	conns := make([]*conn, 0, len(n.conns[port]))
	for c := range n.conns[port] {
		conns = append(conns, c)
	}
	n.mu.Unlock()
	for _, c := range conns {
		c.freeze(until)
	}
}

// open lists the connections to a port that nobody has closed.
func (n *network) open(port int) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []string
	for c := range n.conns[port] {
		list = append(list, fmt.Sprintf("from %v: ended by the client: %v, by the server: %v", c.local, c.out.ended(), c.in.ended()))
	}
	return list
}

// pipe is one direction.
type pipe struct {
	mu   sync.Mutex
	cond *sync.Cond
	buf  []byte
	// err is what the reader gets after the bytes: io.EOF, or at once after a reset.
	err         error
	reset       bool
	frozen      time.Time
	read, write time.Time
}

func newPipe() *pipe {
	p := &pipe{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// wakeAt has waiters look again when a deadline comes.
func (p *pipe) wakeAt(t time.Time) {
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.cond.Broadcast()
		})
	}
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

type conn struct {
	n             *network
	port          int
	in, out       *pipe
	local, remote net.Addr
	peer          *conn
}

func (c *conn) Read(b []byte) (int, error) {
	p := c.in
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.reset:
			return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
		case passed(p.read):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case errors.Is(p.err, net.ErrClosed):
			return 0, p.err
		case time.Now().Before(p.frozen):
		case len(p.buf) > 0:
			n := copy(b, p.buf)
			p.buf = p.buf[:copy(p.buf, p.buf[n:])]
			p.cond.Broadcast()
			return n, nil
		case p.err != nil:
			return 0, p.err
		}
		p.cond.Wait()
	}
}

func (c *conn) Write(b []byte) (int, error) {
	total := 0
	for {
		n, err := c.put(b, true)
		total += n
		if b = b[n:]; err != nil || len(b) == 0 {
			return total, err
		}
	}
}

// TryWrite takes what there is room for, as a write to a socket that does not
// block.
func (c *conn) TryWrite(b []byte) (int, error) { return c.put(b, false) }

func (c *conn) put(b []byte, wait bool) (int, error) {
	p := c.out
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		room := socketBytes - len(p.buf)
		switch {
		case p.reset:
			return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET}
		case p.err != nil:
			return 0, net.ErrClosed
		case passed(p.write):
			return 0, os.ErrDeadlineExceeded
		case room > 0:
			n := min(room, len(b))
			p.buf = append(p.buf, b[:n]...)
			p.cond.Broadcast()
			return n, nil
		case !wait:
			return 0, nil
		}
		p.cond.Wait()
	}
}

// Close ends both directions: the peer reads what is there and then io.EOF, and
// its writes fail.
func (c *conn) Close() error {
	c.out.end(io.EOF, false)
	c.in.end(net.ErrClosed, true)
	c.forget()
	return nil
}

// CloseWrite ends one direction, as net.TCPConn does.
func (c *conn) CloseWrite() error {
	c.out.end(io.EOF, false)
	return nil
}

func (c *conn) reset() {
	for _, p := range []*pipe{c.in, c.out} {
		p.mu.Lock()
		p.reset, p.buf = true, nil
		p.cond.Broadcast()
		p.mu.Unlock()
	}
	c.forget()
}

func (c *conn) forget() {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	delete(c.n.conns[c.port], c)
	delete(c.n.conns[c.port], c.peer)
}

func (p *pipe) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err != nil || p.reset
}

func (p *pipe) end(err error, drop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || errors.Is(err, net.ErrClosed) {
		p.err = err
	}
	if drop {
		p.buf = nil
	}
	p.cond.Broadcast()
}

func (c *conn) freeze(until time.Time) {
	for _, p := range []*pipe{c.in, c.out} {
		p.mu.Lock()
		p.frozen = until
		p.mu.Unlock()
		p.wakeAt(until)
	}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.read, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.write, t)
	return nil
}

func (p *pipe) setDeadline(at *time.Time, t time.Time) {
	p.mu.Lock()
	*at = t
	p.cond.Broadcast()
	p.mu.Unlock()
	p.wakeAt(t)
}
