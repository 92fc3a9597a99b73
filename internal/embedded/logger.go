package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/time/rate"
)

// fakeLogger passes what kfake says to slog. kfake logs a failed disk write once per batch, so a full disk under load
// would flood the log: above the rate, lines are counted and the count goes out with the next one. What kfake calls
// an error while it shuts down is state it could not write; it tells nobody else, so it is kept for Close to return. Of a
// write that fails while it runs it tells here alone too, before it answers the request, in a warning that begins with
// "persist".
type fakeLogger struct {
	logger     *slog.Logger
	limit      *rate.Limiter
	suppressed atomic.Int64
	failed     func(error) // called for each write that fails

	mu      sync.Mutex
	closing bool
	errs    []error
}

func newFakeLogger(logger *slog.Logger, failed func(error)) *fakeLogger {
	return &fakeLogger{logger: logger, limit: rate.NewLimiter(1, 20), failed: failed}
}

// keepErrors makes errors from now on be kept instead of logged.
func (l *fakeLogger) keepErrors() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
}

// kept returns the errors since keepErrors.
func (l *fakeLogger) kept() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}

func (l *fakeLogger) keep(msg string, args []any) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		l.errs = append(l.errs, fmt.Errorf(msg, args...))
	}
	return l.closing
}

// Logf implements kfake.Logger.
func (l *fakeLogger) Logf(level kfake.LogLevel, msg string, args ...any) {
	var to slog.Level
	switch level {
	case kfake.LogLevelError:
		if l.keep(msg, args) {
			return
		}
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
		if strings.HasPrefix(msg, "persist ") {
			l.failed(fmt.Errorf(strings.ReplaceAll(msg, "%v", "%w"), args...))
		}
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
