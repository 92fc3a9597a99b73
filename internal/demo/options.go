package demo

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/producersettings"
)

// Tenant is the tenant of everything that simulated agents send.
const Tenant = "demo"

// Limits of Options.
const (
	MaxConcurrency = 10_000
	MaxRate        = 10_000.0 // runs per second
	MaxSpeed       = 10_000.0
)

// DefaultConcurrency is how many runs are under way at once where nothing else is said: enough that the page always
// moves, few enough to follow.
const DefaultConcurrency = 3

// stagger is the time of the scripts between two starts where no rate is given, so that runs do not move in step.
const stagger = 2 * time.Second

// Options say what is played and how fast. The zero value plays every scenario in turn, endlessly, as fast as possible.
type Options struct {
	// Scenario is a name of Scenarios, or AllScenarios or empty for each in turn.
	Scenario string
	// Seed decides everything that the runs do.
	Seed uint64
	// Runs is how many; 0 goes on until the context ends.
	Runs int
	// Rate is how many runs start in a second, at most; 0 starts one as soon as there is a place for it.
	Rate float64
	// Concurrency is how many runs are under way at once, at most. 0 is DefaultConcurrency or, with a Rate, as many as
	// that takes.
	Concurrency int
	// Speed is how fast the scripts' time passes: 1 is the natural pace, 2 twice as fast, 0 as fast as possible.
	Speed float64
	// Clock, when not nil, is moved with the scripts. A producer that was made with it stamps messages with the scripts'
	// time, so that timestamps and durations are those of the seed too.
	Clock *Clock
	// OnRun, when not nil, is told when a run begins and ends, on the goroutine that plays.
	OnRun func(RunInfo)
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	if o.Scenario != "" && o.Scenario != AllScenarios && !slices.ContainsFunc(scenarios(), func(s scenario) bool { return s.name == o.Scenario }) {
		return fmt.Errorf("scenario %q: allowed are %s", o.Scenario, scenarioNames())
	}
	for _, n := range []struct {
		name  string
		value float64
		most  float64
	}{
		{"runs", float64(o.Runs), math.MaxInt32}, {"rate", o.Rate, MaxRate}, {"concurrency", float64(o.Concurrency), MaxConcurrency}, {"speed", o.Speed, MaxSpeed},
	} {
		if !(n.value >= 0 && n.value <= n.most) { // NaN is neither
			return fmt.Errorf("%s %v: allowed is 0 to %s", n.name, n.value, strconv.FormatFloat(n.most, 'f', -1, 64))
		}
	}
	return nil
}

func (o Options) scenario() string {
	if o.Scenario == "" {
		return AllScenarios
	}
	return o.Scenario
}

func (o Options) concurrency() int {
	switch {
	case o.Concurrency > 0:
		return o.Concurrency
	case o.Rate > 0:
		return MaxConcurrency
	default:
		return DefaultConcurrency
	}
}

// NewProducer returns a producer for simulated agents on the cluster of the settings. Its tenant is Tenant, whatever they
// say. The caller closes it. logger may be nil, for silence, and clock, for the time of the machine.
func NewProducer(kafka kafkaclient.Settings, settings producersettings.Settings, logger *slog.Logger, clock *Clock) (*dashstream.Producer, error) {
	const clientID = "dashstream-demo"
	connection, err := kafka.ClientOptions(logger, clientID)
	if err != nil {
		return nil, err
	}
	options := []dashstream.Option{
		dashstream.WithBrokers(kafka.Brokers...), dashstream.WithTopic(kafka.Topic), dashstream.WithTenant(Tenant), dashstream.WithClientID(clientID),
		dashstream.WithKafkaOptions(connection...),
		dashstream.WithRedaction(bool(settings.Redact)), dashstream.WithFlushTimeout(settings.FlushTimeout.Duration()),
	}
	if logger != nil {
		options = append(options, dashstream.WithLogger(logger))
	}
	if clock != nil {
		options = append(options, dashstream.WithClock(clock.Now))
	}
	p, err := dashstream.New(options...)
	if err != nil {
		return nil, fmt.Errorf("make the producer of the demo: %w", err)
	}
	return p, nil
}
