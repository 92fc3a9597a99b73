package dashstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/producersettings"
	"github.com/dashflow/dashstream/internal/settings"
)

// Option configures a [Producer]. An option given in code beats the environment, whatever their order.
type Option struct {
	env   bool
	apply func(*config) error
}

// Defaults of what options change. Sizes are in bytes.
const (
	DefaultQueueBytes      = 32 << 20
	DefaultMaxStateBytes   = 4 << 20
	DefaultCheckpointEvery = 50
	DefaultMaxIdleThreads  = 16384
	DefaultRunIdleTimeout  = time.Hour
	DefaultDeliveryTimeout = 2 * time.Minute
	DefaultFlushTimeout    = 5 * time.Second
	DefaultLinger          = 5 * time.Millisecond
)

type config struct {
	kafka     kafkaclient.Settings
	kafkaOpts []kgo.Opt
	clientID  string
	envNames  []string // of the environment, where it is read
	logger    *slog.Logger
	clock     func() time.Time
	trace     func(context.Context) (traceparent, tracestate string)

	queueBytes      int
	maxStateBytes   int
	checkpointEvery int
	maxIdleThreads  int
	runIdleTimeout  time.Duration
	deliveryTimeout time.Duration
	flushTimeout    time.Duration
	linger          time.Duration

	state          bool
	redact         bool
	redactPatterns []*regexp.Regexp
	redactNames    []string
}

func newConfig(opts []Option) (config, error) {
	env := producersettings.Default()
	c := config{
		kafka:           kafkaclient.Default(),
		clientID:        "dashstream-producer",
		logger:          slog.New(slog.DiscardHandler),
		clock:           time.Now,
		queueBytes:      DefaultQueueBytes,
		maxStateBytes:   DefaultMaxStateBytes,
		checkpointEvery: DefaultCheckpointEvery,
		maxIdleThreads:  DefaultMaxIdleThreads,
		runIdleTimeout:  DefaultRunIdleTimeout,
		deliveryTimeout: DefaultDeliveryTimeout,
		flushTimeout:    env.FlushTimeout.Duration(),
		linger:          DefaultLinger,
		state:           true,
		redact:          bool(env.Redact),
	}
	var errs []error
	for _, env := range []bool{true, false} {
		for _, o := range opts {
			if o.apply != nil && o.env == env {
				errs = append(errs, o.apply(&c))
			}
		}
	}
	errs = append(errs, c.kafka.Validate())
	for _, u := range producersettings.Unknown(c.envNames, &c.kafka) {
		c.logger.Warn("no setting has the name of this variable", "name", u.Name, "nearest", u.Nearest)
	}
	return c, errors.Join(errs...)
}

// FromEnv reads the environment: the Kafka variables (KAFKA_BROKERS, KAFKA_TOPIC, KAFKA_TENANT_ID,
// KAFKA_SECURITY_PROTOCOL and the others of docs/configuration.md), DASHFLOW_STATE_REDACT and
// DASHFLOW_FLUSH_TIMEOUT_SECS. Without it, New reads no environment. A variable that begins with DASHSTREAM_ and is no
// setting is told to the logger of WithLogger: it is a misspelt one, most likely.
func FromEnv() Option {
	values := FromLookup(os.LookupEnv)
	return Option{env: true, apply: func(c *config) error {
		for _, variable := range os.Environ() {
			name, _, _ := strings.Cut(variable, "=")
			c.envNames = append(c.envNames, name)
		}
		return values.apply(c)
	}}
}

// FromLookup is FromEnv over another source of variables than the process. Misspelt names are not looked for there.
func FromLookup(lookup func(name string) (value string, ok bool)) Option {
	return Option{env: true, apply: func(c *config) error {
		kafka, err := kafkaclient.FromEnv(settings.Lookup(lookup))
		producer, err2 := producersettings.FromEnv(settings.Lookup(lookup))
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		c.kafka = kafka
		c.redact = bool(producer.Redact)
		c.flushTimeout = producer.FlushTimeout.Duration()
		return nil
	}}
}

func option(apply func(*config)) Option {
	return Option{apply: func(c *config) error { apply(c); return nil }}
}

// WithBrokers names the brokers to ask first, as host:port; the port is 9092 where it is missing.
func WithBrokers(brokers ...string) Option {
	return Option{apply: func(c *config) error {
		var list kafkaclient.Brokers
		text, err := kafkaclient.Brokers(brokers).MarshalText()
		if err == nil {
			err = list.UnmarshalText(text)
		}
		if err != nil {
			return fmt.Errorf("WithBrokers(%q): %w; allowed: %s", brokers, err, list.Allowed())
		}
		c.kafka.Brokers = list
		c.kafka.GivenAs("KAFKA_BROKERS", "WithBrokers")
		return nil
	}}
}

// WithTopic names the topic; dashstream-quality otherwise. Nothing creates it by itself: "dashstream topics ensure" does.
func WithTopic(topic string) Option {
	return option(func(c *config) {
		c.kafka.Topic = topic
		c.kafka.GivenAs("KAFKA_TOPIC", "WithTopic")
	})
}

// WithTenant names the tenant written into every message; default otherwise.
func WithTenant(tenant string) Option { return option(func(c *config) { c.kafka.TenantID = tenant }) }

// WithKafkaOptions adds options to the Kafka client after all others, for what has no variable: a TLS configuration made
// in code, hooks, or kgo.ProducerBatchCompression, which makes small messages take a fraction of the space if every reader
// knows the codec. Options that weaken acknowledgement, idempotence or the partitioner break the order of a thread.
func WithKafkaOptions(opts ...kgo.Opt) Option {
	return option(func(c *config) { c.kafkaOpts = append(c.kafkaOpts, opts...) })
}

// WithClientID names the client for the brokers' logs and quotas.
func WithClientID(id string) Option { return option(func(c *config) { c.clientID = id }) }

// WithLogger receives what an operator should know: that telemetry is being lost, and why. There is no line per message.
// Without it nothing is logged.
func WithLogger(l *slog.Logger) Option {
	return Option{apply: func(c *config) error {
		if l == nil {
			return errors.New("WithLogger(nil): leave the option out instead")
		}
		c.logger = l
		return nil
	}}
}

// WithClock replaces time.Now as the source of timestamps and durations. Timers are not affected.
func WithClock(now func() time.Time) Option {
	return Option{apply: func(c *config) error {
		if now == nil {
			return errors.New("WithClock(nil): leave the option out instead")
		}
		c.clock = now
		return nil
	}}
}

// WithTraceContext adds the W3C trace context of the ctx given to StartRun to each record of the run, as the Kafka headers
// traceparent and tracestate. Empty strings add nothing; what breaks the grammar of the W3C is left out, which the logger
// is told once, and a traceparent that is left out takes the tracestate with it. The values of tracestate are redacted.
func WithTraceContext(f func(context.Context) (traceparent, tracestate string)) Option {
	return option(func(c *config) { c.trace = f })
}

func atLeast[T int | time.Duration](name string, value, least T, set func(*config, T)) Option {
	return Option{apply: func(c *config) error {
		if value < least {
			return fmt.Errorf("%s(%v): allowed is %v or more", name, value, least)
		}
		set(c, value)
		return nil
	}}
}

// WithQueueBytes bounds the memory of messages that wait to be sent; DefaultQueueBytes otherwise. What does not fit is
// dropped, the least important first; the package documentation says in which order.
func WithQueueBytes(n int) Option {
	return atLeast("WithQueueBytes", n, 64<<10, func(c *config, n int) { c.queueBytes = n })
}

// WithStateStreaming(false) keeps state out of every message: no initial state, diff, checkpoint or final state is sent.
func WithStateStreaming(on bool) Option { return option(func(c *config) { c.state = on }) }

// WithCheckpointEvery makes every n-th state diff of a thread be followed by a checkpoint; 0 sends none.
func WithCheckpointEvery(n int) Option {
	return atLeast("WithCheckpointEvery", n, 0, func(c *config, n int) { c.checkpointEvery = n })
}

// WithMaxStateBytes bounds a state as JSON; DefaultMaxStateBytes otherwise. A larger one is reported as unavailable. The
// producer keeps the last state of every thread with an open run.
func WithMaxStateBytes(n int) Option {
	return Option{apply: func(c *config) error {
		if n < 1 || n > maxStateBytes {
			return fmt.Errorf("WithMaxStateBytes(%d): allowed is 1 to %d", n, maxStateBytes)
		}
		c.maxStateBytes = n
		return nil
	}}
}

// WithRedaction(false) sends everything as it is. It beats DASHFLOW_STATE_REDACT.
func WithRedaction(on bool) Option { return option(func(c *config) { c.redact = on }) }

// WithRedactionPatterns makes every match a secret, beside the built-in rules. In JSON a pattern sees each string without
// its quotes, and each number; it never sees a whole document.
func WithRedactionPatterns(patterns ...*regexp.Regexp) Option {
	return Option{apply: func(c *config) error {
		for i, p := range patterns {
			if p == nil {
				return fmt.Errorf("WithRedactionPatterns: pattern %d is nil", i)
			}
		}
		c.redactPatterns = append(c.redactPatterns, patterns...)
		return nil
	}}
}

// WithRedactionNames makes values of these fields secrets, beside the built-in names and by the rule of password. Case,
// separators and what stands before do not matter: "ssn" is also User_SSN. What stands behind matters only where its last
// word says that the field is about the secret: "ssn" is also ssns, ssn2 and ssn_of_customer, but not ssn_length.
func WithRedactionNames(names ...string) Option {
	return option(func(c *config) { c.redactNames = append(c.redactNames, names...) })
}

// WithFlushTimeout bounds Flush and Close beside their context; DefaultFlushTimeout otherwise.
func WithFlushTimeout(d time.Duration) Option {
	return atLeast("WithFlushTimeout", d, 0, func(c *config, d time.Duration) { c.flushTimeout = d })
}

// WithDeliveryTimeout bounds how long a message is tried, without a bound on the number of tries; DefaultDeliveryTimeout
// otherwise. It is measured on the wall clock: when that is set forwards by more, what waits then is given up and counted.
func WithDeliveryTimeout(d time.Duration) Option {
	return atLeast("WithDeliveryTimeout", d, time.Second, func(c *config, d time.Duration) { c.deliveryTimeout = d })
}

// WithLinger is how long a message may wait for others to share a request; DefaultLinger otherwise.
func WithLinger(d time.Duration) Option {
	return Option{apply: func(c *config) error {
		if d < 0 || d > time.Minute {
			return fmt.Errorf("WithLinger(%s): allowed is 0s to 1m0s", d)
		}
		c.linger = d
		return nil
	}}
}

// WithRunIdleTimeout ends a run that has emitted nothing for so long with GRAPH_ERROR, since nobody can be expected to end
// it; DefaultRunIdleTimeout otherwise, 0 never. A run that waits for a human (Interrupt) is not ended.
func WithRunIdleTimeout(d time.Duration) Option {
	return atLeast("WithRunIdleTimeout", d, 0, func(c *config, d time.Duration) { c.runIdleTimeout = d })
}

// WithMaxIdleThreads bounds how many threads without an open run or a message in flight are remembered, with about 200
// bytes each; DefaultMaxIdleThreads otherwise. A thread that was forgotten starts at sequence 1 again, under a new epoch.
func WithMaxIdleThreads(n int) Option {
	return atLeast("WithMaxIdleThreads", n, 0, func(c *config, n int) { c.maxIdleThreads = n })
}
