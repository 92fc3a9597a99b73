package exporter

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/dashflow/dashstream/internal/aggregate"
	"github.com/dashflow/dashstream/internal/deadletter"
	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/wire"
)

// DefaultGroup is the consumer group of exporters that were given none.
const DefaultGroup = "prometheus-exporter"

// Settings is what a user can set of the exporter, wherever it runs. Start from [DefaultSettings]; see package settings for
// the tags.
type Settings struct {
	SessionTimeout settings.Seconds `name:"session-timeout-secs" envs:"PROMETHEUS_SESSION_TIMEOUT_SECS" placeholder:"SECONDS" group:"Metrics" help:"Silence after which a session is over, by the time of the log." min:"1" max:"86400"`

	LatencyBuckets Bounds              `name:"latency-buckets-ms" envs:"PROMETHEUS_LATENCY_BUCKETS_MS" placeholder:"N,..." group:"Metrics" help:"Bucket bounds of latencies in milliseconds."`
	RetryBuckets   Bounds              `name:"retry-buckets" envs:"PROMETHEUS_RETRY_BUCKETS" placeholder:"N,..." group:"Metrics" help:"Bucket bounds of retry counts."`
	ScoreBuckets   Bounds              `name:"quality-score-buckets" envs:"PROMETHEUS_QUALITY_SCORE_BUCKETS" placeholder:"N,..." group:"Metrics" help:"Bucket bounds of quality scores, which lie between 0 and 1."`
	TurnBuckets    Bounds              `name:"session-turn-buckets" envs:"PROMETHEUS_SESSION_TURN_BUCKETS" placeholder:"N,..." group:"Metrics" help:"Bucket bounds of the turns of a session."`
	DeadLetters    deadletter.Settings `embed:""`
}

// DefaultSettings returns the settings of a user who set nothing.
func DefaultSettings() Settings {
	d := aggregate.DefaultConfig()
	return Settings{
		SessionTimeout: settings.Seconds(d.SessionTimeout),
		DeadLetters:    deadletter.DefaultSettings(),
		LatencyBuckets: d.Buckets.LatencyMS, RetryBuckets: d.Buckets.Retries, ScoreBuckets: d.Buckets.QualityScore,
		TurnBuckets: d.Buckets.SessionTurns,
	}
}

func (s Settings) aggregate() aggregate.Config {
	c := aggregate.DefaultConfig()
	c.SessionTimeout = s.SessionTimeout.Duration()
	c.Buckets = aggregate.Buckets{
		LatencyMS: s.LatencyBuckets, Retries: s.RetryBuckets, QualityScore: s.ScoreBuckets,
		SessionTurns: s.TurnBuckets,
	}
	return c
}

// ServerSettings is what an exporter has in a process of its own.
type ServerSettings struct {
	BindIP string `name:"metrics-bind-ip" envs:"METRICS_BIND_IP" placeholder:"IP" group:"Exporter" help:"Address to serve /metrics and health on."`
	Port   int    `name:"metrics-port" envs:"METRICS_PORT" placeholder:"PORT" group:"Exporter" help:"Port to serve on; 0 takes a free one." min:"0" max:"65535"`

	Token settings.Secret `name:"token" envs:"DASHSTREAM_TOKEN" placeholder:"SECRET" group:"Exporter" help:"Token that POST /admin/resume must show; without one it is refused, and SIGHUP does the same."`

	MaxPayloadBytes int `name:"max-payload-bytes" envs:"WEBSOCKET_MAX_PAYLOAD_BYTES,DASHSTREAM_MAX_PAYLOAD_BYTES" placeholder:"BYTES" group:"Exporter" help:"Largest record, framed and decompressed; a larger one cannot be handled." min:"1024" max:"104857600"`
}

// DefaultServerSettings returns the settings of a user who set nothing.
func DefaultServerSettings() ServerSettings {
	return ServerSettings{BindIP: "0.0.0.0", Port: 9190, MaxPayloadBytes: wire.DefaultMaxBytes}
}

// Addr returns the address to listen on.
func (s ServerSettings) Addr() string { return net.JoinHostPort(s.BindIP, strconv.Itoa(s.Port)) }

// Validate reports an address that cannot be listened on, and a token that is none.
func (s ServerSettings) Validate() error {
	if s.Token.IsSet() {
		if err := httpserve.CheckToken(s.Token.Reveal()); err != nil {
			return &settings.Error{Name: "DASHSTREAM_TOKEN", Reason: err.Error()}
		}
	}
	if err := httpserve.ValidateAddr(s.Addr()); err != nil {
		return &settings.Error{Name: "METRICS_BIND_IP", Value: s.BindIP, Reason: err.Error()}
	}
	return nil
}

// Bounds are upper bounds of a histogram's buckets.
type Bounds []float64

// maxBounds is how many buckets a histogram can be given: each is a series.
const maxBounds = 100

// Allowed says what may be written.
func (Bounds) Allowed() string {
	return fmt.Sprintf("1 to %d increasing numbers, comma separated", maxBounds)
}

// MarshalText is the inverse of UnmarshalText.
func (b Bounds) MarshalText() ([]byte, error) {
	out := make([]string, len(b))
	for i, f := range b {
		out[i] = strconv.FormatFloat(f, 'g', -1, 64)
	}
	return []byte(strings.Join(out, ",")), nil
}

// UnmarshalText reads the list.
func (b *Bounds) UnmarshalText(text []byte) error {
	var out Bounds
	for item := range strings.SplitSeq(string(text), ",") {
		item = strings.TrimSpace(item)
		f, err := strconv.ParseFloat(item, 64)
		switch {
		case err != nil || f-f != 0: // neither NaN nor infinite
			return fmt.Errorf("%q is not a finite number", wire.Clip(item, 64))
		case len(out) > 0 && f <= out[len(out)-1]:
			return fmt.Errorf("%v follows %v", f, out[len(out)-1])
		case len(out) == maxBounds:
			return errors.New("too many numbers")
		}
		out = append(out, f)
	}
	*b = slices.Clip(out)
	return nil
}
