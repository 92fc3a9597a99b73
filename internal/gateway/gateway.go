package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/wire"
)

// protocolVersion is told in hello.
const protocolVersion = 1

// Config says how clients are served. Start from [DefaultConfig].
type Config struct {
	Feed feed.Config
	// Limits bound a record: framed, and decompressed for JSON clients.
	Limits wire.Limits
	// Token, when not empty, is asked of every client. TokenFile, when not empty, is
	// where it was read; the file is read again for clients that come later.
	Token, TokenFile string
	// Open says that serving without a token beyond loopback is meant.
	Open bool
	// AllowedOrigins are the origins of other sites whose pages may connect,
	// such as https://example.org; * allows all.
	AllowedOrigins []string
	// MaxConnections and MaxConnectionsPerIP bound sessions.
	MaxConnections, MaxConnectionsPerIP int
	// TrustedProxies may say who the client is, in X-Forwarded-For.
	TrustedProxies []netip.Prefix
	// SendTimeout is how long a client may take nothing before it is cut off.
	SendTimeout time.Duration
	// HandshakeTimeout bounds the WebSocket handshake, and how long a message
	// that a client has begun may take.
	HandshakeTimeout time.Duration
	// SubscribeTimeout bounds what a subscription has to ask Kafka.
	SubscribeTimeout time.Duration
	// PingInterval is how often a client is asked for a sign of life; one that gives
	// none for twice as long is cut off, or later where it has much to read: by
	// SendTimeout for each 64 KiB, at most 5 minutes in all.
	PingInterval time.Duration
	// ProgressInterval is how often a client whose filter matches nothing is
	// told how far the stream has come.
	ProgressInterval time.Duration
	// MaxClientFrameBytes and MaxClientFramesPerSecond bound what a client
	// sends; twice as many frames may come at once.
	MaxClientFrameBytes, MaxClientFramesPerSecond int
	// Version is told in hello and /version.
	Version string
}

// DefaultConfig returns the configuration that the commands start from.
func DefaultConfig(topic string) Config {
	return Config{
		Feed: feed.DefaultConfig(topic), Limits: wire.DefaultLimits(),
		MaxConnections: 10_000, MaxConnectionsPerIP: 100,
		SendTimeout: 5 * time.Second, HandshakeTimeout: 5 * time.Second, SubscribeTimeout: 15 * time.Second,
		PingInterval: 20 * time.Second, ProgressInterval: 2 * time.Second,
		MaxClientFrameBytes: 256 << 10, MaxClientFramesPerSecond: 50,
		Version: "unknown",
	}
}

// Validate reports every setting that cannot be used.
func (c Config) Validate() error {
	errs := []error{c.Feed.Validate()}
	positive := func(name string, v int64) {
		if v <= 0 {
			errs = append(errs, fmt.Errorf("%s: %d: must be above 0", name, v))
		}
	}
	positive("max connections", int64(c.MaxConnections))
	positive("max connections per IP", int64(c.MaxConnectionsPerIP))
	positive("send timeout", int64(c.SendTimeout))
	positive("handshake timeout", int64(c.HandshakeTimeout))
	positive("subscribe timeout", int64(c.SubscribeTimeout))
	positive("ping interval", int64(c.PingInterval))
	positive("progress interval", int64(c.ProgressInterval))
	positive("max client frame bytes", int64(c.MaxClientFrameBytes))
	positive("max client frames per second", int64(c.MaxClientFramesPerSecond))
	positive("record limit", int64(c.Limits.Framed))
	positive("decompressed record limit", int64(c.Limits.Decoded))
	return errors.Join(errs...)
}

// Deps are what a gateway works with.
type Deps struct {
	// Feed carries the options that reach the cluster.
	Feed       feed.Deps
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Gateway serves the log to clients.
type Gateway struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	feed    *feed.Feed
	hub     *hub
	limiter *limiter
	tokens  *tokens

	stop     context.CancelFunc
	sessions sync.WaitGroup
}

// New makes a gateway; Close frees what it made.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.Registerer == nil {
		deps.Registerer = prometheus.NewRegistry()
	}
	m := newMetrics(deps.Registerer, time.Now())
	cfg.Feed.Linger = func(int) time.Duration { return 0 }
	cfg.Feed.RecordBytes = cfg.Limits.Decoded
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	// A record that may come has to fit into a batch that may.
	cfg.Feed.BatchBytes = max(cfg.Feed.BatchBytes, 2*int64(cfg.Limits.Framed))
	deps.Feed.Observer = feedObserver{m: m, limits: cfg.Limits}
	if deps.Feed.Logger == nil {
		deps.Feed.Logger = deps.Logger
	}
	g := &Gateway{
		cfg: cfg, log: deps.Logger, metrics: m,
		limiter: &limiter{total: cfg.MaxConnections, perIP: cfg.MaxConnectionsPerIP, trusted: cfg.TrustedProxies},
		tokens:  &tokens{path: cfg.TokenFile, log: deps.Logger, token: cfg.Token},
	}
	cfg.Feed.Linger = g.linger
	f, err := feed.New(cfg.Feed, deps.Feed)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	g.feed, g.stop = f, stop
	g.hub = newHub(ctx, cfg, f, deps.Logger, m)
	g.observe(deps.Registerer)
	return g, nil
}

func (g *Gateway) linger(readers int) time.Duration { return g.hub.pace.linger(time.Now(), readers) }

// Feed returns the log as the gateway reads it.
func (g *Gateway) Feed() *feed.Feed { return g.feed }

// Run reads and dispatches until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { g.hub.run(ctx) })
	err := g.feed.Run(ctx)
	wg.Wait()
	return err
}

// Shutdown ends all sessions with a close code that tells clients to come
// back, and waits for them until ctx ends. It is called before Run's context
// ends.
func (g *Gateway) Shutdown(ctx context.Context) {
	g.hub.shutdown(ctx)
	done := make(chan struct{})
	go func() {
		g.sessions.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Close frees the gateway after Run has returned.
func (g *Gateway) Close() {
	g.stop()
	g.feed.Close()
}

// Routes adds the gateway's endpoints to a mux.
func (g *Gateway) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /ws", g.guard(g.serveWS))
	mux.HandleFunc("GET /v1/stream", g.guard(g.serveSSE))
	mux.HandleFunc("GET /v1/session", g.serveSession)
	mux.HandleFunc("OPTIONS /v1/stream", g.servePreflight)
	mux.HandleFunc("OPTIONS /v1/session", g.servePreflight)
	mux.HandleFunc("GET /version", g.serveVersion)
	// A page at / takes what no pattern takes, any method of these paths too.
	for path, methods := range map[string]string{
		"/ws": "GET", "/v1/stream": crossOriginMethods, "/v1/session": crossOriginMethods, "/version": "GET, HEAD",
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", methods)
			http.Error(w, fmt.Sprintf("%s takes no %s: want %s", path, clip(r.Method, 64), methods), http.StatusMethodNotAllowed)
		})
	}
}

// crossOriginMethods are those of the paths that pages of other sites may use.
const crossOriginMethods = "GET, HEAD, OPTIONS"

// refuse answers a request that gets no session, and counts it.
func (g *Gateway) refuse(w http.ResponseWriter, reason string, status int, message string) {
	g.metrics.rejected.WithLabelValues(reason).Inc()
	http.Error(w, message, status)
}

// mayAccess reports whether the request comes from a page that may send it and
// carries the token; otherwise it was answered.
func (g *Gateway) mayAccess(w http.ResponseWriter, r *http.Request) bool {
	if bad := g.checkOrigin(r); bad != nil {
		w.Header().Add("Vary", "Origin")
		g.refuse(w, "origin", http.StatusForbidden, bad.Error())
		return false
	}
	// A page may read refusals too.
	crossOrigin(w.Header(), r)
	ok, err := g.authorized(r)
	if err != nil {
		w.Header().Set("Retry-After", "1")
		g.refuse(w, "token_unknown", http.StatusServiceUnavailable, tokenUnknown)
		return false
	}
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="dashstream"`)
		g.refuse(w, "unauthorized", http.StatusUnauthorized, "a token is needed: Authorization: Bearer …, or the subprotocol "+protocolBearer+"<base64url of the token>")
	}
	return ok
}

// Guard lets those in who may read the stream: what shows memory or changes something
// is for nobody else, and a page whose name was made to point here could ask for it.
func (g *Gateway) Guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.mayAccess(w, r) {
			h.ServeHTTP(w, r)
		}
	})
}

// guard makes the checks that every client has to pass before it costs
// anything.
func (g *Gateway) guard(serve func(http.ResponseWriter, *http.Request, *slot)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !g.mayAccess(w, r) {
			return
		}
		select {
		case <-g.feed.Started():
		default:
			w.Header().Set("Retry-After", "1")
			g.refuse(w, "not_ready", http.StatusServiceUnavailable, "the stream cannot be read yet")
			return
		}
		slot, full := g.limiter.admit(g.limiter.peerOf(r))
		if full != nil {
			w.Header().Set("Retry-After", "5")
			g.refuse(w, full.limit, http.StatusTooManyRequests, full.Error())
			return
		}
		serve(w, r, slot)
	}
}

// tokenUnknown is told to everybody while the token's file cannot be used; the
// reason is for the operator.
const tokenUnknown = "the server cannot read its token now, and lets nobody connect until it can: /readyz says why"

// serveSession tells a page whether it may connect: 204, 401, 403 or 503.
func (g *Gateway) serveSession(w http.ResponseWriter, r *http.Request) {
	if bad := g.checkOrigin(r); bad != nil {
		w.Header().Add("Vary", "Origin")
		http.Error(w, bad.Error(), http.StatusForbidden)
		return
	}
	crossOrigin(w.Header(), r)
	switch ok, err := g.authorized(r); {
	case err != nil:
		w.Header().Set("Retry-After", "1")
		http.Error(w, tokenUnknown, http.StatusServiceUnavailable)
	case !ok:
		w.Header().Set("WWW-Authenticate", `Bearer realm="dashstream"`)
		http.Error(w, "a token is needed", http.StatusUnauthorized)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// serveVersion tells what runs here and with which limits.
func (g *Gateway) serveVersion(w http.ResponseWriter, _ *http.Request) {
	hello, err := marshalJSON(g.hello())
	if err != nil {
		http.Error(w, "encode hello", http.StatusInternalServerError)
		return
	}
	body, err := json.Marshal(struct {
		Version  string          `json:"version"`
		Protocol int             `json:"protocol"`
		Hello    json.RawMessage `json:"stream"`
	}{g.cfg.Version, protocolVersion, hello})
	if err != nil {
		http.Error(w, "encode version", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n')) // a client that went away needs no answer
}

const (
	// maxHeaderBytes is what a server of the gateway has to take as the header of a
	// request: the id of the last server-sent event names every partition.
	maxHeaderBytes = 256 << 10
	// freePartitions fit into MaxClientFrameBytes with a filter; a cursor of more
	// takes at most jsonPartitionBytes for each.
	freePartitions     = 1000
	jsonPartitionBytes = 80
)

// clientFrameBytes is the largest frame that a client may send: it can always send
// back the cursor that it was given.
func (g *Gateway) clientFrameBytes() int {
	return g.cfg.MaxClientFrameBytes + jsonPartitionBytes*max(0, g.feed.Partitions()-freePartitions)
}

// hello is the first frame of a session.
func (g *Gateway) hello() *streampb.ServerFrame {
	info, _ := g.feed.Info()
	return &streampb.ServerFrame{Frame: &streampb.ServerFrame_Hello{Hello: &streampb.Hello{
		StreamId: info.StreamID, Topic: g.cfg.Feed.Topic, Partitions: g.hub.ranges(),
		Limits: &streampb.Limits{
			MaxClientFrameBytes: int32(g.clientFrameBytes()), MaxRecordBytes: int32(g.cfg.Limits.Framed), MaxFilterValues: maxFilterValues,
			SendTimeoutMs: int32(g.cfg.SendTimeout.Milliseconds()), PingIntervalMs: int32(g.cfg.PingInterval.Milliseconds()),
			MaxClientFramesPerSecond: int32(g.cfg.MaxClientFramesPerSecond),
		},
		ServerVersion: g.cfg.Version, ProtocolVersion: protocolVersion,
	}}}
}
