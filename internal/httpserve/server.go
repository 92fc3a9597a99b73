package httpserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"
)

// Server is one bound listener and what it serves. Its methods may be called
// from any goroutine.
type Server struct {
	name string
	ln   net.Listener
	http *http.Server
	log  *slog.Logger
	conn connTracker

	// stopping is closed when Stop begins, so that endless responses can end.
	stopping chan struct{}
	stopOnce sync.Once
	// served is closed when the accept loop has ended; Serve may never be called.
	served  chan struct{}
	serveMu sync.Mutex
	serving bool
	stopped bool
	health  *Health
	cancel  context.CancelFunc
}

type stoppingKey struct{}

// New binds the address, so that a busy port is an error here and port 0 has a
// number afterwards. Connections are accepted from then on by the system and
// answered once Serve runs. A Server that will not be served must be stopped.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ln := cfg.Listener
	if ln == nil {
		var err error
		ln, err = net.Listen("tcp", cfg.Addr)
		if err != nil {
			return nil, &BindError{Name: cfg.Name, Addr: cfg.Addr, Err: err}
		}
	}
	limits := cfg.Limits
	if n := descriptorShare(); n > 0 && (limits.Max == 0 || limits.Max > n) {
		if limits.Max > 0 {
			cfg.Logger.Warn("file descriptors allow fewer connections than are configured; "+descriptorHint, "server", cfg.Name, "configured", limits.Max, "allowed", n)
		}
		limits.Max, limits.MaxHint = n, "the limit on open files (ulimit -n) of the server sets how many there are"
	}
	ln = newLimitedListener(ln, limits, cfg.PeerTimeout, cfg.Logger.With("server", cfg.Name))
	s := &Server{
		name:     cfg.Name,
		ln:       ln,
		log:      cfg.Logger,
		health:   cfg.Health,
		stopping: make(chan struct{}),
		served:   make(chan struct{}),
	}
	s.http = &http.Server{
		Handler:           s.routes(cfg),
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
		ConnContext:       cfg.ConnContext,
		ConnState: func(c net.Conn, state http.ConnState) {
			if a := accountOf(c); a != nil {
				a.observe(state)
			}
			s.conn.observe(c, state)
			if cfg.ConnState != nil {
				cfg.ConnState(c, state)
			}
		},
	}
	base := context.Background()
	if cfg.BaseContext != nil {
		base = cfg.BaseContext(ln)
	}
	base = context.WithValue(base, stoppingKey{}, (<-chan struct{})(s.stopping))
	base, s.cancel = context.WithCancel(base)
	s.http.BaseContext = func(net.Listener) context.Context { return base }
	return s, nil
}

func (s *Server) routes(cfg Config) http.Handler {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		respondWithin(w, cfg.ResponseTimeout)
		cfg.Handler.ServeHTTP(w, r)
	})
	if cfg.Health == nil && !cfg.Pprof {
		return handler
	}
	mux := http.NewServeMux()
	if cfg.Health != nil {
		const probeTimeout = 10 * time.Second
		mux.Handle("GET /livez", Bounded(cfg.Health.Livez(), probeTimeout, 0))
		mux.Handle("GET /readyz", Bounded(cfg.Health.Readyz(), probeTimeout, 0))
	}
	if cfg.Pprof {
		guard := cfg.PprofGuard
		if guard == nil {
			guard = func(h http.Handler) http.Handler { return h }
		}
		// No write deadline: a profile of ?seconds=60 takes that long.
		for path, h := range map[string]http.HandlerFunc{
			"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
		} {
			mux.Handle("GET /debug/pprof/"+path, guard(h))
		}
	}
	// Not mux.Handle("/"): a ServeMux redirects paths that it would clean, and
	// which paths exist is the Handler's business.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		probe := cfg.Health != nil && (r.URL.Path == "/livez" || r.URL.Path == "/readyz")
		if probe || cfg.Pprof && strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
			mux.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// Addr is the bound address, with the port that the system chose.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// URL is where a browser on this machine finds the server. A wildcard address
// is shown as loopback.
func (s *Server) URL() string { return URL(s.Addr()) }

// Loopback reports whether only this machine can connect.
func (s *Server) Loopback() bool { return Loopback(s.Addr()) }

// Conns is the number of connections at this moment and since the start.
func (s *Server) Conns() ConnStats { return s.conn.stats() }

// Serve answers requests until Stop, and then returns nil. It may be called
// once. An error means that the listener broke: the process serves no longer.
func (s *Server) Serve() error {
	s.serveMu.Lock()
	if s.serving {
		s.serveMu.Unlock()
		return fmt.Errorf("httpserve: %s: Serve was called twice", s.name)
	}
	s.serving = true
	if s.stopped {
		s.serveMu.Unlock()
		close(s.served)
		return nil
	}
	s.serveMu.Unlock()
	defer close(s.served)
	s.log.Info("http server listening", slog.String("server", s.name), slog.String("addr", s.Addr()))
	err := s.http.Serve(s.ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("httpserve: %s: serve %s: %w", s.name, s.Addr(), err)
}

// Stop ends the server: /readyz fails, the listener closes, [Stopping] fires,
// and requests under way may finish until ctx ends. Then they are cut and the
// error says how many. Hijacked connections are left alone. Stop is idempotent
// and safe before Serve; a second call waits like the first.
func (s *Server) Stop(ctx context.Context) error {
	s.serveMu.Lock()
	s.stopped = true
	serving := s.serving
	s.serveMu.Unlock()
	if s.health != nil {
		s.health.SetStopping()
	}
	s.stopOnce.Do(func() { close(s.stopping) })

	err := s.http.Shutdown(ctx)
	open := s.conn.stats()
	// Cut before cancel: a handler that ends because its context did would
	// otherwise still send what the client takes for a whole response.
	defer s.cancel()
	switch {
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("httpserve: %s: %d connections were cut before they finished: %w",
			s.name, open.New+open.Active+open.Idle, errors.Join(context.Cause(ctx), s.http.Close()))
	case err != nil:
		err = fmt.Errorf("httpserve: %s: close: %w", s.name, err)
	}
	if serving {
		// The accept loop ends at once when its listener is closed.
		<-s.served
		return err
	}
	// Shutdown closes only listeners that Serve has taken over.
	if cerr := s.ln.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}

// Stopping returns a channel that is closed when the server of a request's
// context begins to stop, and nil, which blocks for ever, outside a Server. An
// endless response selects on it beside the context's Done.
func Stopping(ctx context.Context) <-chan struct{} {
	ch, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return ch
}
