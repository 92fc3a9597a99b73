package cli

import (
	"context"

	"github.com/dashflow/dashstream/internal/app"
	"github.com/dashflow/dashstream/internal/exporter"
	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// exporterCommand turns a topic of the user's cluster into metrics.
type exporterCommand struct {
	Kafka    kafkaclient.Settings    `embed:""`
	Exporter exporter.Settings       `embed:""`
	Server   exporter.ServerSettings `embed:""`
	Process  app.ProcessSettings     `embed:""`
}

func newExporterCommand() *exporterCommand {
	kafka := kafkaclient.Default()
	kafka.GroupID = exporter.DefaultGroup
	return &exporterCommand{
		Kafka: kafka, Exporter: exporter.DefaultSettings(), Server: exporter.DefaultServerSettings(), Process: app.DefaultProcessSettings(),
	}
}

// Run serves until it is told to stop.
func (c *exporterCommand) Run(ctx context.Context, p *Process) error {
	p.Log.Info("starting exporter", "kafka", c.Kafka, "listen", c.Server.Addr())
	a, err := app.New(ctx, app.Options{
		Kafka: c.Kafka, Process: c.Process, Exporter: &app.Exporter{Settings: c.Exporter, Server: c.Server}, Logger: p.Log,
		OnReady: func(a *app.App) { say(p.Stderr, "Metrics are at %s/metrics", a.URL()) },
	})
	if err != nil {
		return p.startError(ctx, err, c.Kafka)
	}
	if p.program.Hangup != nil {
		hangup := p.program.Hangup()
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			for {
				select {
				case <-ended:
					return
				case <-hangup:
					a.Resume()
				}
			}
		}()
	}
	return runApp(ctx, a)
}
