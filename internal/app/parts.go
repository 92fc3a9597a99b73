package app

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/buildinfo"
	"github.com/dashflow/dashstream/internal/exporter"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// part is what reads the stream: the gateway, the exporter.
type part struct {
	// name is what /livez calls its loop, and what it does when it fails.
	name, what string
	run        func(context.Context) error
	started    <-chan struct{}
	lastBeat   func() time.Time
}

// livenessTimeout is how long a reading loop may stand still. It goes round
// at least every few seconds, whether or not Kafka answers.
const livenessTimeout = time.Minute

// explain adds the likely cause to an error of reading.
func (a *App) explain(err error) error { return a.kafka.Explain(kafkaclient.OpConsume, err) }

func (a *App) buildGateway(options []kgo.Opt) error {
	cfg, err := a.opts.Gateway.Config(a.kafka, buildinfo.Get().Version)
	if err != nil {
		return err
	}
	g, err := gateway.New(cfg, gateway.Deps{
		Feed: feed.Deps{Options: options, Explain: a.explain}, Logger: a.log, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.gateway = g
	a.undo.add("gateway", func(context.Context) error { g.Close(); return nil })
	a.health.Check("kafka", func(context.Context) error { return a.explain(g.Feed().Ready()) })
	if cfg.TokenFile != "" {
		a.health.Check("token", func(context.Context) error { return g.TokenReady() })
	}
	a.parts = append(a.parts, part{"feed", "read the stream", g.Run, g.Feed().Started(), g.Feed().LastBeat})
	return nil
}

func (a *App) buildExporter(options []kgo.Opt) error {
	maxBytes := a.opts.Exporter.Server.MaxPayloadBytes
	if a.opts.Gateway != nil {
		maxBytes = a.opts.Gateway.MaxPayloadBytes
	}
	e, err := exporter.New(exporter.NewConfig(a.opts.Exporter.Settings, a.kafka, maxBytes), exporter.Deps{
		Options: options, Logger: a.log.With("component", "exporter"), Registerer: a.registry, Explain: a.explain,
	})
	if err != nil {
		return err
	}
	a.exporter = e
	a.undo.add("exporter", e.Close)
	a.gather = e.Gatherer(a.gather)
	a.health.Detail("exporter", func() any { return e.Accounts() })
	a.health.Check("exporter", func(context.Context) error { return a.explain(e.Ready()) })
	a.parts = append(a.parts, part{"exporter", "export metrics", e.Run, e.Started(), e.LastBeat})
	return nil
}

// watch passes the progress of a part's loop on to /livez.
func (a *App) watch(ctx context.Context, p part) {
	beat := a.health.Heartbeat(p.name, livenessTimeout)
	defer beat.Done()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if at := p.lastBeat(); at.After(last) {
				last = at
				beat.Beat()
			}
		}
	}
}
