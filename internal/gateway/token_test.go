package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The token of a file that was replaced went on to be good, so that one that was
// revoked let everybody in until the next restart.
func TestAReplacedTokenFileTakesTheOldTokenAway(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		next := path + ".next"
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	write("first-token\n")
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	settings := gateway.DefaultSettings()
	settings.TokenFile = path
	kafka := kafkaclient.Default()
	kafka.Topic = topic
	fromFile, err := settings.Config(kafka, "v")
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	s := startLogged(t, c.Brokers(), topic, slog.New(slog.NewTextHandler(&log, nil)), func(cfg *gateway.Config) {
		cfg.Token, cfg.TokenFile = fromFile.Token, fromFile.TokenFile
	})
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	awaits := func(what string, statuses map[string]int) {
		t.Helper()
		testkafka.Eventually(t, what, func(context.Context) error {
			for token, want := range statuses {
				for _, path := range []string{"/v1/session", "/v1/stream"} {
					if path == "/v1/stream" && want == 204 {
						want = 200
					}
					if got, body := get(t, s.URL+path, bearer(token)); got != want || strings.Contains(body, "-token\n") {
						return fmt.Errorf("%s with %s: status %d, want %d; body %q", path, token, got, want, body)
					}
				}
			}
			return nil
		})
	}
	awaits("the first token", map[string]int{"first-token": 204, "second-token": 401})
	open := testclient.Dial(t, s.URL, "dashstream.v1+json", bearer("first-token"))
	open.Subscribe(testclient.Earliest(), nil)

	write("second-token\n") // of another length
	awaits("the second token alone", map[string]int{"first-token": 401, "second-token": 204})
	write("third--token\n") // and of the same
	awaits("the third token alone", map[string]int{"second-token": 401, "third--token": 204})

	// A file that gives no token: nobody may connect, not even by the last one.
	for _, bad := range []string{"", "short", "two\nlines-of-text"} {
		write(bad)
		awaits("a file with "+bad, map[string]int{"third--token": 503, "short": 503})
		if err := s.g.TokenReady(); err == nil || !strings.Contains(err.Error(), path) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("ready with a file with %q: %v", bad, err)
		}
		write("third--token")
		awaits("the token again", map[string]int{"third--token": 204})
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	awaits("no file", map[string]int{"third--token": 503})
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	awaits("a directory", map[string]int{"third--token": 503})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write("fourth-token")
	awaits("the fourth token", map[string]int{"third--token": 401, "fourth-token": 204})
	if err := s.g.TokenReady(); err != nil {
		t.Errorf("ready: %v", err)
	}

	// A session that is open is not asked again.
	fill(t, c, topic, 1, 3)
	open.Until("records in the open session", func() bool { return len(open.Records) == 3 })
	if text := log.String(); !strings.Contains(text, "the token was replaced") || !strings.Contains(text, "no client may connect") || !strings.Contains(text, "clients may connect again") || strings.Contains(text, "-token\"") || strings.Contains(text, "third--token") {
		t.Errorf("the log is\n%s", text)
	}
	if n := value(t, s.reg, "websocket_rejected_connections_total"); n == 0 {
		t.Error("no rejected connection is counted")
	}
}
