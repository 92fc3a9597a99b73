package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dashflow/dashstream/internal/buildinfo"
	"github.com/dashflow/dashstream/internal/embedded"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/webui"
)

// Options say what a process is made of.
type Options struct {
	Kafka   kafkaclient.Settings
	Gateway gateway.Settings
	// Embedded starts a broker in the process and has Kafka's brokers point to
	// it; nil uses the cluster that Kafka names.
	Embedded *embedded.Options
	// Jobs run beside the server, such as a simulated agent, and are stopped
	// before it. One that fails ends the process.
	Jobs   []Job
	Logger *slog.Logger
	// OnReady, when not nil, is called once, when the process is ready.
	OnReady func(*App)
}

// Job is something that runs beside the server, until it is done or ctx ends.
type Job struct {
	Name string
	Run  func(ctx context.Context, kafka kafkaclient.Settings) error
}

// App is one process as a value.
type App struct {
	opts     Options
	log      *slog.Logger
	kafka    kafkaclient.Settings
	registry *prometheus.Registry
	health   *httpserve.Health
	broker   *embedded.Broker
	gateway  *gateway.Gateway
	http     *httpserve.Server
	undo     cleanups
	// mismatches is how many ways the topics differ from their definition.
	mismatches prometheus.Gauge
}

// New makes everything and binds the addresses: a busy port or a bad setting
// is an error here. What it made is undone when it fails. Run or Stop follows.
func New(ctx context.Context, opts Options) (*App, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := opts.Gateway.Validate(); err != nil {
		return nil, err
	}
	if opts.Gateway.Pprof && !httpserve.Loopback(opts.Gateway.Addr()) {
		return nil, &settings.Error{
			Name: "--pprof (DASHSTREAM_PPROF)", Reason: "shows memory to whoever connects, and " + opts.Gateway.Addr() + " is beyond this machine",
			Allowed: "a loopback address, such as 127.0.0.1:3002",
		}
	}
	a := &App{opts: opts, log: opts.Logger, kafka: opts.Kafka, registry: prometheus.NewRegistry(), health: httpserve.NewHealth()}
	a.mismatches = promauto.With(a.registry).NewGauge(prometheus.GaugeOpts{
		Name: "dashstream_topic_config_mismatches",
		Help: "Ways in which the topics differed from their definition when the process started; -1: they could not be looked at.",
	})
	a.mismatches.Set(-1)
	if err := a.build(ctx); err != nil {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opts.Gateway.ShutdownTimeout.Duration())
		defer cancel()
		return nil, errors.Join(err, a.undo.run(sctx))
	}
	return a, nil
}

func (a *App) build(ctx context.Context) error {
	if path := a.opts.Gateway.ReadyFile; path != "" {
		if err := prepareReadyFile(path); err != nil {
			return err
		}
	}
	if a.opts.Embedded != nil {
		broker, err := embedded.Start(ctx, *a.opts.Embedded)
		if err != nil {
			return err
		}
		a.broker = broker
		a.undo.add("embedded broker", broker.Close)
		a.kafka.Brokers = kafkaclient.Brokers{broker.Addr()}
	}
	if err := a.kafka.Validate(); err != nil {
		return err
	}
	if err := a.prepareTopics(ctx); err != nil {
		return err
	}
	version := buildinfo.Get()
	clientOptions, err := a.kafka.ClientOptions(a.log, version.UserAgent())
	if err != nil {
		return err
	}
	cfg, err := a.opts.Gateway.Config(a.kafka, version.Version)
	if err != nil {
		return err
	}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	explain := func(err error) error { return a.kafka.Explain(kafkaclient.OpConsume, err) }
	a.gateway, err = gateway.New(cfg, gateway.Deps{
		Feed: feed.Deps{Options: clientOptions, Explain: explain}, Logger: a.log, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.undo.add("gateway", func(context.Context) error { a.gateway.Close(); return nil })

	hc := httpserve.DefaultConfig()
	hc.Name, hc.Addr, hc.Handler, hc.Health, hc.Pprof, hc.Logger = "gateway", a.opts.Gateway.Addr(), a.routes(), a.health, a.opts.Gateway.Pprof, a.log
	a.gateway.LimitHTTP(&hc)
	a.http, err = httpserve.New(hc)
	if err != nil {
		return err
	}
	a.undo.add("http server", a.http.Stop)
	// Nothing stands in the way any more: the file of whoever had it does not speak for this process.
	if path := a.opts.Gateway.ReadyFile; path != "" {
		if err := removeReadyFile(path); err != nil {
			return err
		}
	}
	if a.broker != nil {
		a.health.Check("broker", func(context.Context) error { return a.broker.WriteError() })
	}
	a.health.Check("kafka", func(context.Context) error { return explain(a.gateway.Feed().Ready()) })
	if cfg.TokenFile != "" {
		a.health.Check("token", func(context.Context) error { return a.gateway.TokenReady() })
	}
	return nil
}

// metricsTimeout bounds a scrape.
const metricsTimeout = 10 * time.Second

// metricsInFlight is how many scrapes are answered at a time; one costs as much as a
// hundred plain requests, and asks for no token. Others get 503.
const metricsInFlight = 4

func (a *App) routes() http.Handler {
	mux := http.NewServeMux()
	a.gateway.Routes(mux)
	metrics := promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.HTTPErrorOnError, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelError), Timeout: metricsTimeout,
		MaxRequestsInFlight: metricsInFlight,
	})
	mux.Handle("GET /metrics", metrics)
	mux.Handle("/", webui.Handler())
	return mux
}

// Addr returns the address of pages, API and metrics, HOST:PORT.
func (a *App) Addr() string { return a.http.Addr() }

// URL returns where a browser finds the page.
func (a *App) URL() string { return a.http.URL() }

// KafkaAddr returns the address of the embedded broker; empty without one.
func (a *App) KafkaAddr() string {
	if a.broker == nil {
		return ""
	}
	return a.broker.Addr()
}

// Kafka returns the settings that reach the cluster that the process uses.
func (a *App) Kafka() kafkaclient.Settings { return a.kafka }

// livenessTimeout is how long the reading loop may stand still. It goes round
// at least every few seconds, whether or not Kafka answers.
const livenessTimeout = time.Minute

// Run serves until ctx ends or a part fails, then stops everything in order and
// returns the first failure. It may be called once.
func (a *App) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()

	var readers, servers, jobs sync.WaitGroup
	readers.Go(func() { fail(cancel, "read the stream", a.gateway.Run(reading)) })
	readers.Go(func() { a.watch(reading) })
	servers.Go(func() { fail(cancel, "serve", a.http.Serve()) })
	servers.Go(func() { fail(cancel, "start", a.announce(ctx)) })
	for _, j := range a.opts.Jobs {
		jobs.Go(func() {
			err := j.Run(working, a.kafka)
			if working.Err() == nil {
				fail(cancel, j.Name, err)
			}
		})
	}
	<-ctx.Done()

	// First what produces, so that what it says last is still served; then the
	// clients, who learn that they should come back; then the rest.
	stopping, done := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Gateway.ShutdownTimeout.Duration())
	defer done()
	a.health.SetStopping()
	stopWorking()
	jobs.Wait()
	a.gateway.Shutdown(stopping)
	err := a.http.Stop(stopping)
	servers.Wait()
	stopReading()
	readers.Wait()
	if path := a.opts.Gateway.ReadyFile; path != "" && !ofAnother(path) {
		err = errors.Join(err, removeReadyFile(path))
	}
	// The broker gets a time of its own: what clients took must not cost the
	// clean end of the log.
	closing, closed := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Gateway.ShutdownTimeout.Duration())
	defer closed()
	err = errors.Join(err, a.undo.run(closing))
	var failed *failure
	if errors.As(context.Cause(ctx), &failed) {
		err = errors.Join(failed, err)
	}
	return err
}

// Stop frees what New made, for a process that is not run.
func (a *App) Stop(ctx context.Context) error { return a.undo.run(ctx) }

// failure ends the process.
type failure struct {
	what string
	err  error
}

func (f *failure) Error() string { return f.what + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(cancel context.CancelCauseFunc, what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		cancel(&failure{what, err})
	}
}

// announce tells that the process is ready, once the stream is being read.
func (a *App) announce(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.gateway.Feed().Started():
	}
	if path := a.opts.Gateway.ReadyFile; path != "" {
		if err := writeReadyFile(path, readiness{HTTP: a.Addr(), Kafka: a.KafkaAddr()}); err != nil {
			return err
		}
	}
	if a.opts.OnReady != nil {
		a.opts.OnReady(a)
	}
	return nil
}

// watch passes the reading loop's progress on to /livez.
func (a *App) watch(ctx context.Context) {
	beat := a.health.Heartbeat("feed", livenessTimeout)
	defer beat.Done()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if at := a.gateway.Feed().LastBeat(); at.After(last) {
				last = at
				beat.Beat()
			}
		}
	}
}
