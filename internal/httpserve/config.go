package httpserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Config describes one listener. Start from [DefaultConfig]: zero durations and
// sizes mean zero, not a default.
type Config struct {
	// Name tells listeners apart in logs and errors, such as "gateway".
	Name string
	// Addr is HOST:PORT. An empty host means all interfaces; port 0 lets the
	// system choose, see [Server.Addr].
	Addr string
	// Handler answers every path but /livez, /readyz and, when it is on, the
	// profiler's. Required.
	Handler http.Handler
	// Health answers /livez and /readyz. When nil, these paths are the Handler's.
	Health *Health
	// Pprof serves the profiler under /debug/pprof/. It shows memory contents and
	// costs CPU on request, so it is on only when the operator asked for it.
	Pprof bool
	// PprofGuard, when set, decides who may use it.
	PprofGuard func(http.Handler) http.Handler

	// ReadHeaderTimeout bounds reading a request's header.
	ReadHeaderTimeout time.Duration
	// ReadTimeout bounds reading a whole request, body included. A handler that
	// has read the body, and a hijacked connection, are free of it.
	ReadTimeout time.Duration
	// IdleTimeout closes a kept-alive connection without requests.
	IdleTimeout time.Duration
	// ResponseTimeout bounds a request and its response, from when its header was
	// read. A hijacked connection is free of it, and so is the profiler.
	ResponseTimeout time.Duration
	// PeerTimeout is how long a peer may acknowledge nothing that was sent before
	// its connection is ended, hijacked or not. Only Linux can do so; elsewhere the
	// system's own patience counts.
	PeerTimeout time.Duration
	// MaxHeaderBytes bounds a request's header.
	MaxHeaderBytes int
	// Limits bounds connections.
	Limits ConnLimits

	// BaseContext, ConnContext and ConnState are those of [http.Server]. All may
	// be nil. The context of BaseContext is the parent of the one that
	// [Stopping] looks into.
	BaseContext func(net.Listener) context.Context
	ConnContext func(context.Context, net.Conn) context.Context
	ConnState   func(net.Conn, http.ConnState)

	// Listener, when set, is served instead of binding Addr, and is closed by
	// Stop.
	Listener net.Listener
	// Logger is required.
	Logger *slog.Logger
}

// DefaultConfig returns the timeouts and limits that suit a server open to
// browsers. A stream without an end is hijacked: see ResponseTimeout.
func DefaultConfig() Config {
	return Config{
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       30 * time.Second,
		ResponseTimeout:   time.Minute,
		PeerTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		Limits:            ConnLimits{HeaderBytes: 32 << 20},
	}
}

// Validate reports the first field that cannot be served, by name and value.
func (c Config) Validate() error {
	if c.Handler == nil {
		return errors.New("httpserve: Handler is nil")
	}
	if c.Logger == nil {
		return errors.New("httpserve: Logger is nil")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"ReadHeaderTimeout", c.ReadHeaderTimeout},
		{"ReadTimeout", c.ReadTimeout},
		{"IdleTimeout", c.IdleTimeout},
		{"ResponseTimeout", c.ResponseTimeout},
		{"PeerTimeout", c.PeerTimeout},
	} {
		if d.value <= 0 {
			return fmt.Errorf("httpserve: %s is %v, want more than 0", d.name, d.value)
		}
	}
	if c.MaxHeaderBytes < 4<<10 {
		return fmt.Errorf("httpserve: MaxHeaderBytes is %d, want at least 4096", c.MaxHeaderBytes)
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"Limits.Max", int64(c.Limits.Max)},
		{"Limits.PerSite", int64(c.Limits.PerSite)},
		{"Limits.HeaderBytes", c.Limits.HeaderBytes},
	} {
		if n.value < 0 {
			return fmt.Errorf("httpserve: %s is %d, want 0 for no limit, or more", n.name, n.value)
		}
	}
	if c.Listener != nil {
		return nil
	}
	return ValidateAddr(c.Addr)
}

// ValidateAddr reports why addr is not HOST:PORT with a numeric port. It looks
// nothing up.
func ValidateAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		why := err.Error()
		var ae *net.AddrError
		if errors.As(err, &ae) {
			why = ae.Err
		}
		return fmt.Errorf("address %q: %s: want HOST:PORT, such as 127.0.0.1:3002 or [::1]:3002", addr, why)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("address %q: port %q: want a number from 0 to 65535", addr, port)
	} else if n == 0 && strings.TrimLeft(port, "0") != "" {
		return fmt.Errorf("address %q: port %q: want a number from 0 to 65535", addr, port)
	}
	return nil
}

// BindError says that an address could not be bound, and why if that is known.
type BindError struct {
	// Name is the Config's, Addr what was asked for.
	Name string
	Addr string
	Err  error
}

func (e *BindError) Error() string {
	what := "listen on " + e.Addr
	if e.Name != "" {
		what = e.Name + ": " + what
	}
	var dns *net.DNSError
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return what + ": the port is in use by another process; stop that one, choose another port, or use port 0 for any free one"
	case errors.Is(e.Err, syscall.EACCES):
		return what + ": permission denied; ports below 1024 need a privilege, choose a higher one"
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return what + ": no interface of this machine has that address"
	case errors.As(e.Err, &dns):
		return what + ": the host name does not resolve: " + dns.Err
	}
	var op *net.OpError
	if errors.As(e.Err, &op) && op.Err != nil {
		return what + ": " + op.Err.Error()
	}
	return what + ": " + e.Err.Error()
}

func (e *BindError) Unwrap() error { return e.Err }
