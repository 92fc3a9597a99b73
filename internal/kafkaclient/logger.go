package kafkaclient

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// One message of the client is logged at most logBurst times in logWindow; the rest is counted and told with the next
// line that passes. A broker that is down would otherwise fill the log at the pace of the retries.
const (
	logWindow   = 30 * time.Second
	logBurst    = 3
	maxMessages = 256 // distinct messages remembered; the client has a fixed set of them
)

// clientLogger is the kgo.Logger over slog. What the client calls info (each metadata update, each step of a group) is
// debug for the program around it.
type clientLogger struct {
	sl  *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	seen map[logKey]*logState
}

type logKey struct {
	level kgo.LogLevel
	msg   string
}

type logState struct {
	since      time.Time
	passed     int
	suppressed int64
}

func newClientLogger(sl *slog.Logger) *clientLogger {
	return &clientLogger{sl: sl, now: time.Now, seen: map[logKey]*logState{}}
}

// Level is for kgo.Logger.
func (l *clientLogger) Level() kgo.LogLevel {
	ctx := context.Background()
	for _, level := range []kgo.LogLevel{kgo.LogLevelDebug, kgo.LogLevelInfo, kgo.LogLevelWarn, kgo.LogLevelError} {
		if l.sl.Enabled(ctx, slogLevel(level)) {
			return level
		}
	}
	return kgo.LogLevelNone
}

// Log is for kgo.Logger.
func (l *clientLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if level == kgo.LogLevelWarn || level == kgo.LogLevelError {
		suppressed, pass := l.pass(logKey{level, msg})
		if !pass {
			return
		}
		if suppressed > 0 {
			keyvals = append(keyvals[:len(keyvals):len(keyvals)], "suppressed", suppressed)
		}
	}
	l.sl.Log(context.Background(), slogLevel(level), "kafka client: "+msg, keyvals...)
}

// pass says whether a message may be logged now, and how many like it were not since the last one that was.
func (l *clientLogger) pass(key logKey) (suppressed int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	state := l.seen[key]
	if state == nil {
		if len(l.seen) >= maxMessages {
			// Forget everything rather than stop logging what is new.
			clear(l.seen)
		}
		state = &logState{since: now}
		l.seen[key] = state
	}
	if now.Sub(state.since) >= logWindow {
		suppressed = state.suppressed
		*state = logState{since: now}
	}
	if state.passed == logBurst {
		state.suppressed++
		return 0, false
	}
	state.passed++
	return suppressed, true
}

const levelTrace = slog.LevelDebug - 4

func slogLevel(level kgo.LogLevel) slog.Level {
	switch level {
	case kgo.LogLevelError:
		return slog.LevelError
	case kgo.LogLevelWarn:
		return slog.LevelWarn
	case kgo.LogLevelInfo:
		return slog.LevelDebug
	default:
		return levelTrace
	}
}
