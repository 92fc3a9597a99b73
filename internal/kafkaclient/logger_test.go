package kafkaclient

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A broker that is down makes the client repeat itself; the log has a few lines of it, and how many were left out.
func TestLoggerDoesNotFlood(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Unix(0, 0)
	l := newClientLogger(slog.New(slog.NewTextHandler(&out, nil)))
	l.now = func() time.Time { return now }
	for range 1000 {
		l.Log(kgo.LogLevelWarn, "unable to open connection", "addr", "a:1")
	}
	l.Log(kgo.LogLevelError, "another matter")
	if n := strings.Count(out.String(), "unable to open connection"); n != logBurst {
		t.Errorf("%d lines, want %d", n, logBurst)
	}
	if !strings.Contains(out.String(), "another matter") {
		t.Error("one message must not silence another")
	}
	now = now.Add(logWindow)
	l.Log(kgo.LogLevelWarn, "unable to open connection", "addr", "a:1")
	if want := "suppressed=" + strconv.Itoa(1000-logBurst); !strings.Contains(out.String(), want) {
		t.Errorf("no %s in %s", want, out.String())
	}
	for i := range 10 * maxMessages {
		l.Log(kgo.LogLevelWarn, strconv.Itoa(i))
	}
	if len(l.seen) > maxMessages {
		t.Errorf("remembers %d messages", len(l.seen))
	}
}

func TestLoggerLevels(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for level, want := range map[slog.Level]kgo.LogLevel{
		slog.LevelDebug: kgo.LogLevelInfo, slog.LevelInfo: kgo.LogLevelWarn, slog.LevelWarn: kgo.LogLevelWarn,
		slog.LevelError: kgo.LogLevelError, levelTrace: kgo.LogLevelDebug, slog.LevelError + 1: kgo.LogLevelNone,
	} {
		l := newClientLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})))
		if got := l.Level(); got != want {
			t.Errorf("slog %s gives %s, want %s", level, got, want)
		}
	}
}
