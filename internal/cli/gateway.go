package cli

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/dashflow/dashstream/internal/app"
	"github.com/dashflow/dashstream/internal/embedded"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// gatewayCommand serves a topic of the user's cluster to clients.
type gatewayCommand struct {
	Kafka   kafkaclient.Settings `embed:""`
	Gateway gateway.Settings     `embed:""`
	Process app.ProcessSettings  `embed:""`
}

func newGatewayCommand() *gatewayCommand {
	return &gatewayCommand{Kafka: kafkaclient.Default(), Gateway: gateway.DefaultSettings(), Process: app.DefaultProcessSettings()}
}

// Run serves until it is told to stop.
func (c *gatewayCommand) Run(ctx context.Context, p *Process) error {
	p.Log.Info("starting gateway", "kafka", c.Kafka, "listen", c.Gateway.Addr())
	a, err := app.New(ctx, app.Options{
		Kafka: c.Kafka, Gateway: &c.Gateway, Process: c.Process, Logger: p.Log,
		OnReady: func(a *app.App) { say(p.Stderr, "DashStream is at %s", a.URL()) },
	})
	if err != nil {
		return p.startError(ctx, err, c.Kafka)
	}
	return runApp(ctx, a)
}

// startError gives a process that cannot start the exit code that says why. One that was told to stop meanwhile has ended as
// it is meant to.
func (p *Process) startError(ctx context.Context, err error, kafka kafkaclient.Settings) error {
	var bind *httpserve.BindError
	var busy *embedded.BusyError
	switch {
	case interrupted(ctx, err):
		return nil
	case kafkaclient.Classify(err) == kafkaclient.ClassUnknownTopic:
		return &codedError{code: ExitNoData, err: err, try: programName + " topics ensure" + p.again(kafka)}
	case errors.Is(err, embedded.ErrLocked):
		return &codedError{code: ExitInUse, err: fmt.Errorf("%w: --data-dir (DASHSTREAM_DATA_DIR)", err)}
	case errors.As(err, &bind) && errors.Is(err, syscall.EADDRINUSE):
		return &codedError{code: ExitInUse, err: fmt.Errorf("%w: --listen 127.0.0.1:0 (DASHSTREAM_LISTEN)", err)}
	case errors.As(err, &busy):
		return &codedError{code: ExitInUse, err: fmt.Errorf("%w: --kafka-listen 127.0.0.1:0 (DASHSTREAM_KAFKA_LISTEN)", err)}
	}
	return err
}

// runApp serves until ctx ends, which is how a server is meant to end.
func runApp(ctx context.Context, a *app.App) error {
	err := a.Run(ctx)
	if interrupted(ctx, err) {
		return nil
	}
	return err
}
