package cli

import (
	"io"
	"log/slog"

	"github.com/dashflow/dashstream/internal/settings"
)

// logSettings are the settings that every command has.
type logSettings struct {
	Level  logLevel  `name:"log-level" envs:"DASHSTREAM_LOG_LEVEL" placeholder:"LEVEL" group:"Logging" help:"How much to log, on standard error."`
	Format logFormat `name:"log-format" envs:"DASHSTREAM_LOG_FORMAT" placeholder:"FORMAT" group:"Logging" help:"How a log line looks."`
}

func defaultLogSettings() logSettings { return logSettings{Level: "info", Format: "text"} }

type logLevel string

func (l *logLevel) UnmarshalText(text []byte) error {
	return settings.OneOf(l, text, "debug", "info", "warn", "error")
}

func (logLevel) Allowed() string { return "debug, info, warn, error" }

type logFormat string

func (f *logFormat) UnmarshalText(text []byte) error { return settings.OneOf(f, text, "text", "json") }

func (logFormat) Allowed() string { return "text, json" }

func (s logSettings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	// The four words of logLevel are the four that slog reads.
	_ = level.UnmarshalText([]byte(s.Level))
	options := &slog.HandlerOptions{Level: level}
	if s.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
