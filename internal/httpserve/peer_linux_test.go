package httpserve

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/testclient"
)

// A peer that had gone without a word, its power cut or its network gone, kept a stream for a quarter of an hour: each
// ping went into the system's buffer, and nothing failed.
func TestPeerThatVanishesIsGivenUp(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	cfg := testConfig(nil)
	cfg.PeerTimeout = time.Second
	cfg.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			ended <- err
			return
		}
		defer func() { _ = conn.Close() }()
		text := "HTTP/1.1 200 OK\r\n\r\n"
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				ended <- err
				return
			}
			text = ": ping\n\n"
			select {
			case <-Stopping(r.Context()):
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	conn := ask(t, start(t, cfg))
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	testclient.Vanish(t, conn)
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("the stream ended with %v, want that the peer timed out", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a peer that acknowledges nothing for a second is still served after half a minute")
	}
}
