// Package producersettings is the settings of a producer beside those of its Kafka client: what an operator may change
// about the SDK in somebody else's program.
package producersettings

import (
	"fmt"
	"strings"
	"time"

	"github.com/dashflow/dashstream/internal/settings"
)

// Settings is loaded by package settings.
type Settings struct {
	Redact       Switch           `name:"state-redact" envs:"DASHFLOW_STATE_REDACT" placeholder:"on|off" group:"Producer" help:"Whether producers remove secrets from all that they send."`
	FlushTimeout settings.Seconds `name:"flush-timeout-secs" envs:"DASHFLOW_FLUSH_TIMEOUT_SECS" placeholder:"SECONDS" group:"Producer" help:"Longest time that a producer waits for what it sent when it is flushed or closed." min:"0" max:"3600"`
}

// Default returns the settings of a user who set nothing.
func Default() Settings {
	return Settings{Redact: true, FlushTimeout: settings.Seconds(5 * time.Second)}
}

// FromEnv returns the settings that env gives, over Default. The error joins all that is wrong.
func FromEnv(env settings.Lookup) (Settings, error) {
	s := Default()
	_, err := settings.Load(&s, settings.Source{Env: env})
	return s, err
}

// Switch is on or off.
type Switch bool

var switchWords = map[string]Switch{"true": true, "1": true, "yes": true, "on": true, "false": false, "0": false, "no": false, "off": false}

// Allowed implements settings.Allower.
func (Switch) Allowed() string { return "true, 1, yes, on; false, 0, no, off" }

// String is on or off.
func (s Switch) String() string {
	if s {
		return "on"
	}
	return "off"
}

// MarshalText is String.
func (s Switch) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the words of Allowed in any case.
func (s *Switch) UnmarshalText(text []byte) error {
	v, ok := switchWords[strings.ToLower(strings.TrimSpace(string(text)))]
	if !ok {
		return fmt.Errorf("neither on nor off")
	}
	*s = v
	return nil
}
