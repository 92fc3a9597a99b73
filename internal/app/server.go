package app

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/webui"
)

// addr is where the process serves.
func (o Options) addr() string {
	if o.Gateway != nil {
		return o.Gateway.Addr()
	}
	return o.Exporter.Server.Addr()
}

func (a *App) buildServer() error {
	hc := httpserve.DefaultConfig()
	hc.Addr, hc.Handler, hc.Health, hc.Pprof, hc.Logger = a.opts.addr(), a.routes(), a.health, a.opts.Process.Pprof, a.log
	if a.gateway != nil {
		hc.Name = "gateway"
		a.gateway.LimitHTTP(&hc)
	} else {
		hc.Name = "exporter"
		hc.Limits.Max = exporterConns
	}
	var err error
	if a.http, err = httpserve.New(hc); err != nil {
		return err
	}
	a.undo.add("http server", a.http.Stop)
	return nil
}

// exporterConns is how many connections an exporter takes: scrapers and probes are few.
const exporterConns = 256

// metricsTimeout bounds a scrape.
const metricsTimeout = 10 * time.Second

// metricsInFlight is how many scrapes are answered at a time; one costs as much as a
// hundred plain requests, and asks for no token. Others get 503.
const metricsInFlight = 4

func (a *App) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.metricsHandler())
	if a.exporter != nil {
		mux.Handle("POST /admin/resume", a.guardAdmin(a.resumeHandler()))
	}
	if a.gateway != nil {
		a.gateway.Routes(mux)
		mux.Handle("/", webui.Handler())
		return mux
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("DashStream exporter: /metrics, /livez, /readyz?verbose\n"))
	})
	return mux
}

func (a *App) metricsHandler() http.Handler {
	handler := promhttp.HandlerFor(a.gather, promhttp.HandlerOpts{
		ErrorHandling: promhttp.HTTPErrorOnError, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelError), Timeout: metricsTimeout,
		MaxRequestsInFlight: metricsInFlight,
	})
	if a.exporter == nil {
		return handler
	}
	took := promauto.With(a.registry).NewHistogram(prometheus.HistogramOpts{
		Name: "dashstream_exporter_metrics_endpoint_duration_seconds", Help: "Time to answer a scrape.",
		Buckets: []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10},
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		defer func() { took.Observe(time.Since(began).Seconds()) }()
		handler.ServeHTTP(w, r)
	})
}
