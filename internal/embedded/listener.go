package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/httpserve"
)

const (
	maxConnections  = 1024      // or a quarter of the open files that the process may have, which the log needs too
	maxRequestBytes = 100 << 20 // Kafka's socket.request.max.bytes
	minRequestBytes = 10        // key, version, correlation id, null client id
	stallTimeout    = time.Minute
	minRequestRate  = 1 << 20 // bytes per second of a large request, which has that time besides stallTimeout
)

// listener is where clients come in. kfake trusts its clients: it allocates whatever size the first four bytes say, panics
// on a request key it does not know, and stops accepting for ever after one failed accept. Any program on the machine can
// connect by mistake (a browser, a TLS client, a port scan), so the bytes are checked here before kfake sees them. It stays
// open while one kfake cluster replaces another, each of which accepts from an intake of its own, and lets Close wait for
// the connections.
type listener struct {
	net.Listener
	logger    *slog.Logger
	limit     int // connections
	refusals  httpserve.Complaints
	memory    *memory
	accepted  chan *conn // to the intake that is open
	closed    chan struct{}
	once      sync.Once
	accepting sync.WaitGroup

	mu    sync.Mutex
	conns map[*conn]struct{}
	idle  chan struct{} // closed when the listener is closed and the last connection is gone
}

// BusyError says that the address of the broker is taken.
type BusyError struct {
	Addr string
	Err  error
}

// Error names the address, who is probably there, and the ways out.
func (e *BusyError) Error() string {
	return "listen for Kafka clients on " + e.Addr + ": the port is in use by another process, most likely another dashstream up " +
		"or a Kafka broker; stop that one, choose another port, or use port 0 for any free one"
}

// Unwrap gives the error of the system.
func (e *BusyError) Unwrap() error { return e.Err }

func listen(ctx context.Context, addr string, requestBytes int64, logger *slog.Logger) (*listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, &BusyError{Addr: addr, Err: err}
		}
		return nil, fmt.Errorf("listen for Kafka clients on %s: %w", addr, err)
	}
	if ap, err := netip.ParseAddrPort(ln.Addr().String()); err != nil || !ap.Addr().IsLoopback() {
		ln.Close()
		return nil, fmt.Errorf("listen for Kafka clients on %s: bound %s, which is not on loopback", addr, ln.Addr())
	}
	l := &listener{
		Listener: ln,
		logger:   logger,
		limit:    connectionLimit(httpserve.DescriptorLimit()),
		refusals: httpserve.Complaints{Logger: logger},
		memory:   newMemory(requestBytes),
		accepted: make(chan *conn),
		closed:   make(chan struct{}),
		conns:    make(map[*conn]struct{}),
		idle:     make(chan struct{}),
	}
	l.accepting.Go(l.accept)
	return l, nil
}

// filesHint tells what sets how many descriptors there are.
const filesHint = "raise the limit on open files (ulimit -n)"

// connectionLimit returns how many clients there may be where the process may have so many open files; 0: any number.
func connectionLimit(files int) int {
	if files == 0 {
		return maxConnections
	}
	return max(1, min(maxConnections, files/4))
}

// accept passes connections to whichever intake is open until the listener is closed.
func (l *listener) accept() {
	for delay := 5 * time.Millisecond; ; {
		nc, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, or the client left between SYN and accept: the listener itself is fine.
			l.refusals.Warn("accept Kafka client; "+filesHint, "error", err)
			select {
			case <-time.After(delay):
			case <-l.closed:
				return
			}
			delay = min(2*delay, time.Second)
			continue
		}
		delay = 5 * time.Millisecond
		c := l.track(nc)
		if c == nil {
			continue
		}
		select {
		case l.accepted <- c:
		case <-l.closed:
			c.Close()
			return
		}
	}
}

// drop ends every connection.
func (l *listener) drop() {
	l.mu.Lock()
	conns := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// intake is what one kfake cluster accepts from. It holds clients back until the log is ready.
type intake struct {
	l      *listener
	open   chan struct{} // closed when clients may come in
	closed chan struct{}
	once   sync.Once
	flush  func() error // makes durable what an answer may tell of; nil when that is not asked for
}

func (l *listener) intake() *intake {
	return &intake{l: l, open: make(chan struct{}), closed: make(chan struct{})}
}

// Accept waits until the broker is ready, then returns the next connection. It fails only when the intake or the listener
// is closed.
func (i *intake) Accept() (net.Conn, error) {
	select {
	case <-i.open:
	case <-i.closed:
		return nil, net.ErrClosed
	case <-i.l.closed:
		return nil, net.ErrClosed
	}
	select {
	case c := <-i.l.accepted:
		c.flush = i.flush
		return c, nil
	case <-i.closed:
		return nil, net.ErrClosed
	case <-i.l.closed:
		return nil, net.ErrClosed
	}
}

// Close stops this intake; the listener stays.
func (i *intake) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// Addr is the listener's.
func (i *intake) Addr() net.Addr { return i.l.Addr() }

// listenFn hands the intake to kfake, which listens for each of its brokers; there is one.
func (i *intake) listenFn(string, string) (net.Listener, error) { return i, nil }

func (l *listener) track(nc net.Conn) *conn {
	c := &conn{Conn: nc, l: l, gone: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		nc.Close()
		return nil
	default:
	}
	if len(l.conns) >= l.limit {
		nc.Close()
		hint := ""
		if l.limit < maxConnections {
			hint = "; " + filesHint
		}
		l.refusals.Warn("refuse Kafka client: too many connections"+hint, "limit", l.limit)
		return nil
	}
	l.conns[c] = struct{}{}
	return c
}

func (l *listener) untrack(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	l.checkIdle()
}

// checkIdle runs under mu.
func (l *listener) checkIdle() {
	select {
	case <-l.closed:
	default:
		return
	}
	if len(l.conns) > 0 {
		return
	}
	select {
	case <-l.idle:
	default:
		close(l.idle)
	}
}

// Close stops accepting; connections stay until their owner closes them.
func (l *listener) Close() error {
	var err error
	l.once.Do(func() {
		err = l.Listener.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.closed)
		l.checkIdle()
	})
	l.accepting.Wait()
	return err
}

// drain waits until every connection is closed.
func (l *listener) drain(ctx context.Context) error {
	select {
	case <-l.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// conn checks the framing of what a client sends: a size within limits, then a request key that Kafka defines. It holds
// a large request back until it is whole. kfake reads from one goroutine at a time, so the fields need no lock.
type conn struct {
	net.Conn
	l     *listener
	once  sync.Once
	flush func() error // of the intake

	head [6]byte   // size and key of the frame being read
	have int       // bytes of head seen
	rest int       // bytes of the frame still to come, valid once the size is known
	due  time.Time // when the frame has to be whole, valid once a byte of it was seen

	gathered [][]byte      // of a large frame that is whole
	held     int64         // of the listener's memory, which guards it
	gone     chan struct{} // closed with the connection
}

var (
	errFrame = errors.New("not a Kafka client")

	knownKeys = func() (known [128]bool) {
		for key := range known {
			known[key] = kmsg.RequestForKey(int16(key)) != nil
		}
		return known
	}()
)

func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.gathered) > 0 {
		return c.handOver(p), nil
	}
	if c.have == 0 {
		c.l.memory.release(c) // kfake has the last request in its queue
	}
	n, err := c.receive(p)
	if err == nil && c.have == 4 && c.rest > maxPromisedBytes {
		if err := c.gather(); err != nil {
			return 0, err // not a byte of the size: kfake would make room
		}
	}
	return n, err
}

// receive reads from the network, and no further than the size of a frame or its end.
func (c *conn) receive(p []byte) (int, error) {
	switch {
	case c.have < 4:
		p = p[:min(len(p), 4-c.have)]
	case c.rest < len(p):
		p = p[:c.rest]
	}
	// Between requests a client may be silent as long as it likes; one that it has begun has to come whole, and not a byte
	// now and then.
	deadline := time.Time{}
	if c.have > 0 {
		deadline = c.due
	}
	if err := c.Conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n == 0 {
		return 0, err
	}
	if c.have == 0 {
		c.due = time.Now().Add(stallTimeout)
	}
	if bad := c.check(p[:n]); bad != nil {
		c.l.logger.Warn("drop connection to the Kafka port", "client", c.RemoteAddr().String(), "error", bad)
		c.Close()
		return 0, bad
	}
	return n, err
}

// check follows the frame through the bytes just read.
func (c *conn) check(p []byte) error {
	if c.have >= 4 {
		c.rest -= len(p)
	}
	if c.have < len(c.head) {
		n := copy(c.head[c.have:], p)
		c.have += n
	}
	if c.have < 4 {
		return nil
	}
	if c.have == 4 {
		size := binary.BigEndian.Uint32(c.head[:4])
		if size < minRequestBytes || size > maxRequestBytes {
			return fmt.Errorf("%w: request starts with %q, a size of %d bytes (allowed %d to %d)", errFrame, c.head[:4], size, minRequestBytes, maxRequestBytes)
		}
		c.rest = int(size)
		c.due = c.due.Add(time.Duration(size) * (time.Second / minRequestRate))
		return nil
	}
	if c.have == len(c.head) {
		if key := binary.BigEndian.Uint16(c.head[4:6]); int(key) >= len(knownKeys) || !knownKeys[key] {
			return fmt.Errorf("%w: request key %d is unknown", errFrame, key)
		}
	}
	if c.rest == 0 {
		c.have = 0
	}
	return nil
}

// Write gives a client that stopped reading a minute to take a response; then the connection ends, as it would when the
// client's machine died.
func (c *conn) Write(p []byte) (int, error) {
	if c.flush != nil {
		if err := c.flush(); err != nil {
			c.Close()
			return 0, err
		}
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		close(c.gone)
		c.l.memory.release(c)
		c.l.untrack(c)
	})
	return err
}
