package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dashflow/dashstream/internal/buildinfo"
	"github.com/dashflow/dashstream/internal/embedded"
	"github.com/dashflow/dashstream/internal/exporter"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// Options say what a process is made of.
type Options struct {
	Kafka   kafkaclient.Settings
	Process ProcessSettings
	// Gateway serves clients and Exporter shows metrics of the stream; nil
	// leaves one out. With both, the exporter has no server of its own.
	Gateway  *gateway.Settings
	Exporter *Exporter
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

// Exporter is an exporter in a process.
type Exporter struct {
	Settings exporter.Settings
	// Server is where it serves by itself; not used beside a gateway.
	Server exporter.ServerSettings
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
	exporter *exporter.Exporter
	parts    []part
	gather   prometheus.Gatherer
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
	if opts.Gateway != nil {
		if err := opts.Gateway.Validate(); err != nil {
			return nil, err
		}
	}
	if err := opts.Process.validate(opts.addr()); err != nil {
		return nil, err
	}
	a := &App{opts: opts, log: opts.Logger, kafka: opts.Kafka, registry: prometheus.NewRegistry(), health: httpserve.NewHealth()}
	a.gather = a.registry
	a.mismatches = promauto.With(a.registry).NewGauge(prometheus.GaugeOpts{
		Name: "dashstream_topic_config_mismatches",
		Help: "Ways in which the topics differed from their definition when the process started; -1: they could not be looked at.",
	})
	a.mismatches.Set(-1)
	if err := a.build(ctx); err != nil {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opts.Process.ShutdownTimeout.Duration())
		defer cancel()
		return nil, errors.Join(err, a.undo.run(sctx))
	}
	return a, nil
}

func (a *App) build(ctx context.Context) error {
	if path := a.opts.Process.ReadyFile; path != "" {
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
	build := buildinfo.Get()
	promauto.With(a.registry).NewGauge(prometheus.GaugeOpts{
		Name: "dashflow_build_info", Help: "Which build this is; always 1.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "build_date": build.BuildDate, "go_version": build.GoVersion},
	}).Set(1)
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	clientOptions, err := a.kafka.ClientOptions(a.log, build.UserAgent())
	if err != nil {
		return err
	}
	if a.opts.Gateway != nil {
		if err := a.buildGateway(clientOptions); err != nil {
			return err
		}
	}
	if a.opts.Exporter != nil {
		if err := a.buildExporter(clientOptions); err != nil {
			return err
		}
	}
	if err := a.buildServer(); err != nil {
		return err
	}
	// Nothing stands in the way any more: the file of whoever had it does not speak for this process.
	if path := a.opts.Process.ReadyFile; path != "" {
		if err := removeReadyFile(path); err != nil {
			return err
		}
	}
	if a.broker != nil {
		a.health.Check("broker", func(context.Context) error { return a.broker.WriteError() })
	}
	return nil
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
	for _, p := range a.parts {
		readers.Go(func() { fail(cancel, p.what, p.run(reading)) })
		readers.Go(func() { a.watch(reading, p) })
	}
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
	stopping, done := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Process.ShutdownTimeout.Duration())
	defer done()
	a.health.SetStopping()
	stopWorking()
	jobs.Wait()
	if a.gateway != nil {
		a.gateway.Shutdown(stopping)
	}
	err := a.http.Stop(stopping)
	servers.Wait()
	stopReading()
	readers.Wait()
	if path := a.opts.Process.ReadyFile; path != "" && !ofAnother(path) {
		err = errors.Join(err, removeReadyFile(path))
	}
	// The broker gets a time of its own: what clients took must not cost the
	// clean end of the log.
	closing, closed := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Process.ShutdownTimeout.Duration())
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
	for _, p := range a.parts {
		select {
		case <-ctx.Done():
			return nil
		case <-p.started:
		}
	}
	if path := a.opts.Process.ReadyFile; path != "" {
		if err := writeReadyFile(path, readiness{HTTP: a.Addr(), Kafka: a.KafkaAddr()}); err != nil {
			return err
		}
	}
	if a.opts.OnReady != nil {
		a.opts.OnReady(a)
	}
	return nil
}
