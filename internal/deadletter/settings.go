package deadletter

import (
	"time"

	"github.com/dashflow/dashstream/internal/settings"
)

// Mode is what becomes of a partition whose letter cannot be written.
type Mode string

// The modes.
const (
	// BestEffort goes on, and counts the evidence that was lost.
	BestEffort Mode = "best_effort"
	// FailClosed stays until the letter is written.
	FailClosed Mode = "fail_closed"
)

// UnmarshalText reads a mode in any case.
func (m *Mode) UnmarshalText(text []byte) error {
	return settings.OneOf(m, text, BestEffort, FailClosed)
}

// Allowed says what may be written.
func (Mode) Allowed() string { return settings.Words(BestEffort, FailClosed) }

// Settings is what a user can set of dead letters. Start from [DefaultSettings]; see package settings for the tags.
type Settings struct {
	Mode           Mode             `name:"dlq-mode" envs:"DASHSTREAM_DLQ_MODE" placeholder:"MODE" group:"Dead letters" help:"What becomes of a partition while the dead letter of a record cannot be written: best_effort goes on and counts what evidence was lost; fail_closed stays before the record."`
	IncludePayload bool             `name:"dlq-include-full-payload" envs:"DLQ_INCLUDE_FULL_PAYLOAD" group:"Dead letters" help:"Keep the values of records in dead letters, up to 256 KiB each. They may hold what users said."`
	SendTimeout    settings.Seconds `name:"dlq-send-timeout-secs" envs:"DLQ_SEND_TIMEOUT_SECS" placeholder:"SECONDS" group:"Dead letters" help:"Longest time to write a dead letter, with all that is tried again." min:"1" max:"300"`
}

// DefaultSettings returns the settings of a user who set nothing.
func DefaultSettings() Settings {
	return Settings{Mode: BestEffort, SendTimeout: settings.Seconds(5 * time.Second)}
}
