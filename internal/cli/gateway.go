package cli

import (
	"context"
	"fmt"

	"github.com/dashflow/dashstream/internal/app"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// gatewayCommand serves a topic of the user's cluster to clients.
type gatewayCommand struct {
	Kafka   kafkaclient.Settings `embed:""`
	Gateway gateway.Settings     `embed:""`
}

func newGatewayCommand() *gatewayCommand {
	return &gatewayCommand{Kafka: kafkaclient.Default(), Gateway: gateway.DefaultSettings()}
}

// Run serves until it is told to stop.
func (c *gatewayCommand) Run(ctx context.Context, p *Process) error {
	p.Log.Info("starting gateway", "kafka", c.Kafka, "listen", c.Gateway.Addr())
	a, err := app.New(ctx, app.Options{
		Kafka: c.Kafka, Gateway: c.Gateway, Logger: p.Log,
		OnReady: func(a *app.App) { fmt.Fprintf(p.Stderr, "DashStream is at %s\n", a.URL()) },
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
