package httpserve

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// ask opens a connection to a server and sends a request.
func ask(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A client that asked for pages and took none of them held its connection for ever.
func TestAnswerThatIsNotTakenEnds(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	cfg := testConfig(nil)
	cfg.ResponseTimeout = 100 * time.Millisecond
	cfg.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		page := make([]byte, 1<<20)
		for {
			if _, err := w.Write(page); err != nil {
				ended <- err
				return
			}
		}
	})
	ask(t, start(t, cfg))
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the answer ended with %v, want that its time was over", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("an answer that may take 100 ms is still being given after half a minute")
	}
}
