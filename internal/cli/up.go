package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/dashflow/dashstream/internal/app"
	"github.com/dashflow/dashstream/internal/demo"
	"github.com/dashflow/dashstream/internal/embedded"
	"github.com/dashflow/dashstream/internal/exporter"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/producersettings"
	"github.com/dashflow/dashstream/internal/settings"
)

// upCommand runs everything in one process, on the embedded broker.
type upCommand struct {
	DataDir     string `name:"data-dir" envs:"DASHSTREAM_DATA_DIR" placeholder:"DIR" group:"Embedded broker" help:"Directory of the log; it is made when absent."`
	KafkaListen string `name:"kafka-listen" envs:"DASHSTREAM_KAFKA_LISTEN" placeholder:"HOST:PORT" group:"Embedded broker" help:"Loopback address of the broker; port 0 takes a free one."`
	Fsync       bool   `name:"fsync" envs:"DASHSTREAM_FSYNC" group:"Embedded broker" help:"Write each batch to the disk before it is acknowledged, so that it survives the death of the machine."`
	Topic       string `name:"kafka-topic" envs:"KAFKA_TOPIC,DASHSTREAM_TOPIC" aliases:"topic" placeholder:"TOPIC" group:"Embedded broker" help:"Topic of the telemetry." allowed:"1 to 249 letters, digits, dots, underscores and dashes"`

	Demo     bool    `name:"demo" envs:"DASHSTREAM_DEMO" group:"Demo" help:"Run simulated agents in the process, up to three at once, for ever. Their runs say that they are a demo."`
	DemoSeed seed    `name:"demo-seed" envs:"DASHSTREAM_DEMO_SEED" placeholder:"N" group:"Demo" help:"Decides everything that the simulated agents do." unset:"a new one, which is printed"`
	DemoRate float64 `name:"demo-rate" envs:"DASHSTREAM_DEMO_RATE" placeholder:"R" group:"Demo" help:"Start at most R runs a second, as many at once as that takes; 0 is the default." unset:"one as soon as there is a place for it" min:"0" max:"10000"`

	Gateway  gateway.Settings    `embed:""`
	Exporter exporter.Settings   `embed:""`
	Process  app.ProcessSettings `embed:""`
}

func newUpCommand() *upCommand {
	return &upCommand{DataDir: ".dashstream", KafkaListen: embedded.DefaultListen, Topic: kafkaclient.DefaultTopic, Gateway: gateway.DefaultSettings(), Exporter: exporter.DefaultSettings(), Process: app.DefaultProcessSettings()}
}

// Validate is called when the settings were read.
func (c *upCommand) Validate() error {
	var errs []error
	bad := func(name, value string, err error) {
		if err != nil {
			errs = append(errs, &settings.Error{Name: name, Value: value, Reason: err.Error()})
		}
	}
	if c.DataDir == "" {
		bad("DASHSTREAM_DATA_DIR", "", errors.New("no directory"))
	}
	bad("DASHSTREAM_KAFKA_LISTEN", c.KafkaListen, embedded.CheckListen(c.KafkaListen))
	bad("KAFKA_TOPIC", c.Topic, kafkaclient.CheckTopicName(c.Topic))
	return errors.Join(errs...)
}

// ValidateFields is called when a setting could not be read: each of these rules is about one.
func (c *upCommand) ValidateFields() error { return c.Validate() }

// notices says what was set and has no effect. A flag was meant for this command, so one in vain is an error; a variable
// may be there for others.
func (c *upCommand) notices(p *Process) error {
	for _, env := range []string{"KAFKA_BROKERS", "KAFKA_BOOTSTRAP_SERVERS"} {
		if value, ok := p.program.env(env); ok && value != "" {
			say(p.Stderr, "%s: %s is not used: up has a broker of its own. To serve that cluster: %s gateway", programName, env, programName)
		}
	}
	if c.Demo {
		return nil
	}
	for _, name := range []string{"demo-seed", "demo-rate"} {
		if _, given := p.flags[name]; given {
			return usageError(programName+" up --help", "--%s has no effect without --demo", name)
		}
	}
	return nil
}

func (c *upCommand) broker() *embedded.Options {
	return &embedded.Options{DataDir: c.DataDir, Listen: c.KafkaListen, Fsync: c.Fsync}
}

// Run serves until it is told to stop.
func (c *upCommand) Run(ctx context.Context, p *Process) error {
	if err := c.notices(p); err != nil {
		return err
	}
	kafka := kafkaclient.Default()
	kafka.Topic = c.Topic
	broker := c.broker()
	broker.Logger = p.Log.With("component", "broker")
	var jobs []app.Job
	var simulated string
	if c.Demo {
		o := demo.Options{Seed: c.DemoSeed.choose(), Rate: c.DemoRate, Speed: 1}
		jobs = append(jobs, demoJob(o, p.Log.With("component", "demo")))
		simulated = fmt.Sprintf("  Demo runs have the seed %d\n", o.Seed)
	}
	a, err := app.New(ctx, app.Options{
		Kafka: kafka, Gateway: &c.Gateway, Exporter: &app.Exporter{Settings: c.Exporter}, Process: c.Process, Logger: p.Log,
		Embedded: broker, Jobs: jobs,
		OnReady: func(a *app.App) {
			say(p.Stderr, "\n  DashStream is at  %s\n  Kafka is at       %s (topic %s, data in %s)\n%s", a.URL(), a.KafkaAddr(), c.Topic, c.DataDir, simulated)
		},
	})
	if err != nil {
		return p.startError(ctx, err, kafka)
	}
	return runApp(ctx, a)
}

// demoJob runs simulated agents until the process ends. That telemetry of theirs was lost is no reason to end it.
func demoJob(o demo.Options, log *slog.Logger) app.Job {
	return app.Job{Name: "demo", Run: func(ctx context.Context, kafka kafkaclient.Settings) error {
		producer, err := demo.NewProducer(kafka, producersettings.Default(), log, nil)
		if err != nil {
			return err
		}
		_, err = demo.Run(ctx, o, producer)
		if lost := new(demo.LostError); errors.As(err, &lost) {
			log.Warn("telemetry of the demo was lost", "error", lost)
			err = nil
		}
		return err
	}}
}
