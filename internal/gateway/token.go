package gateway

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dashflow/dashstream/internal/settings"
)

// tokenInterval is how old what is known of the token's file may be. The file is
// small: to read it costs no more than to ask whether it changed.
const tokenInterval = time.Second

// tokens is the token that clients must show, as of now.
type tokens struct {
	path string // empty: the token does not change
	log  *slog.Logger

	mu    sync.Mutex
	token string
	// err is why the file gives no token: then nobody may connect, since what it
	// gave before may have been revoked.
	err  error
	read time.Time
}

// current returns the token, or why there is none now.
func (t *tokens) current() (string, error) {
	if t.path == "" {
		return t.token, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.read) >= tokenInterval {
		t.read = now
		t.reread()
	}
	return t.token, t.err
}

func (t *tokens) reread() {
	token, err := rereadToken(t.path)
	switch {
	case err != nil:
		if t.err == nil || t.err.Error() != err.Error() {
			t.log.Error("no client may connect: the token's file cannot be used", "error", err)
		}
		token = ""
	case t.err != nil:
		t.log.Info("clients may connect again: the token's file can be used", "path", t.path)
	case token != t.token:
		t.log.Info("the token was replaced", "path", t.path)
	}
	t.token, t.err = token, err
}

// rereadToken reads a token's file that is in use. Errors hold nothing of what is
// in it.
func rereadToken(path string) (string, error) {
	// What is not a file could keep its reader waiting; an error comes up again.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "", &settings.Error{Name: "DASHSTREAM_TOKEN_FILE", Value: path, Reason: "not a regular file"}
	}
	return Settings{TokenFile: path}.token()
}
