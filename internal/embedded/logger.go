package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/time/rate"
)

// fakeLogger passes what kfake says to slog. kfake logs a failed disk write once per batch, so a full disk under load
// would flood the log: above the rate, lines are counted and the count goes out with the next line.
type fakeLogger struct {
	logger     *slog.Logger
	limit      *rate.Limiter
	suppressed atomic.Int64
}

func newFakeLogger(logger *slog.Logger) *fakeLogger {
	return &fakeLogger{logger: logger, limit: rate.NewLimiter(1, 20)}
}

// Logf implements kfake.Logger.
func (l *fakeLogger) Logf(level kfake.LogLevel, msg string, args ...any) {
	var to slog.Level
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	default: // kfake's info is one line for a client that went away
		to = slog.LevelDebug
	}
	ctx := context.Background()
	if !l.logger.Enabled(ctx, to) {
		return
	}
	if to < slog.LevelWarn {
		l.logger.Log(ctx, to, fmt.Sprintf(msg, args...))
		return
	}
	if !l.limit.Allow() {
		l.suppressed.Add(1)
		return
	}
	var attrs []slog.Attr
	if n := l.suppressed.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("suppressed", n))
	}
	l.logger.LogAttrs(ctx, to, fmt.Sprintf(msg, args...), attrs...)
}
