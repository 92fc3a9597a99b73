package cli

import (
	"context"
	"errors"

	"github.com/dashflow/dashstream/internal/app"
	"github.com/dashflow/dashstream/internal/embedded"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// upCommand runs everything in one process, on the embedded broker.
type upCommand struct {
	DataDir     string `name:"data-dir" envs:"DASHSTREAM_DATA_DIR" placeholder:"DIR" group:"Embedded broker" help:"Directory of the log; it is made when absent."`
	KafkaListen string `name:"kafka-listen" envs:"DASHSTREAM_KAFKA_LISTEN" placeholder:"HOST:PORT" group:"Embedded broker" help:"Loopback address of the broker; port 0 takes a free one."`
	Fsync       bool   `name:"fsync" envs:"DASHSTREAM_FSYNC" group:"Embedded broker" help:"Write each batch to the disk before it is acknowledged, so that it survives the death of the machine."`
	Topic       string `name:"kafka-topic" envs:"KAFKA_TOPIC,DASHSTREAM_TOPIC" aliases:"topic" placeholder:"TOPIC" group:"Embedded broker" help:"Topic of the telemetry." allowed:"1 to 249 letters, digits, dots, underscores and dashes"`

	Gateway gateway.Settings `embed:""`
}

func newUpCommand() *upCommand {
	return &upCommand{DataDir: ".dashstream", KafkaListen: embedded.DefaultListen, Topic: kafkaclient.DefaultTopic, Gateway: gateway.DefaultSettings()}
}

// Validate is called when the settings were read.
func (c *upCommand) Validate() error {
	return errors.Join(c.broker().Validate(), kafkaclient.CheckTopicName(c.Topic))
}

func (c *upCommand) broker() *embedded.Options {
	return &embedded.Options{DataDir: c.DataDir, Listen: c.KafkaListen, Fsync: c.Fsync}
}

// Run serves until it is told to stop.
func (c *upCommand) Run(ctx context.Context, p *Process) error {
	kafka := kafkaclient.Default()
	kafka.Topic = c.Topic
	broker := c.broker()
	broker.Logger = p.Log.With("component", "broker")
	a, err := app.New(ctx, app.Options{
		Kafka: kafka, Gateway: c.Gateway, Logger: p.Log,
		Embedded: broker,
		OnReady: func(a *app.App) {
			say(p.Stderr, "\n  DashStream is at  %s\n  Kafka is at       %s (topic %s, data in %s)\n", a.URL(), a.KafkaAddr(), c.Topic, c.DataDir)
		},
	})
	if err != nil {
		return startError(err)
	}
	return runApp(ctx, a)
}
