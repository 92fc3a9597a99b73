package gateway

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/dashflow/dashstream/internal/feed"
)

// serveSSE is GET /v1/stream. The checks that every client has to pass were
// made.
//
// The connection is taken over from net/http, and the body ends where the
// connection does (RFC 9112 section 6.3): so an event stream is the same kind of
// session as a WebSocket, with the same writer and the same cost.
func (g *Gateway) serveSSE(w http.ResponseWriter, r *http.Request, slot *slot) {
	sub, _, bad := subscribeFromQuery(r.URL.RawQuery, r.Header.Get("Last-Event-ID"))
	if bad == nil {
		_, bad = checkSubscribe(sub)
	}
	if bad != nil {
		slot.release()
		g.metrics.controlFailures.Inc()
		http.Error(w, bad.Error(), http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodHead {
		slot.release()
		sseHeader(w.Header())
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		slot.release()
		http.Error(w, "server-sent events need HTTP/1.1 here", http.StatusHTTPVersionNotSupported)
		return
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		slot.release()
		_ = conn.Close()
		return
	}
	s, ok := g.hub.add(conn, slot.peer, encodingSSE)
	if !ok {
		slot.release()
		g.metrics.rejected.WithLabelValues("stopping").Inc()
		_ = conn.SetWriteDeadline(time.Now().Add(lingerTime))
		// Best effort on a connection that ends.
		_, _ = io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		_ = conn.Close()
		return
	}
	h := http.Header{}
	sseHeader(h)
	h.Set("Connection", "close")
	crossOrigin(h, r)
	var head headerBuffer
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&head) // a headerBuffer takes everything
	head.WriteString("\r\nretry: 1000\n\n")
	s.push(head)
	s.push(append(encodingSSE.frame(g.hello()), '\n'))
	g.subscribe(s, sub)
	g.sessions.Go(func() {
		defer slot.release()
		// The client has nothing to say, but may have sent a body, or what it takes
		// for its next request; the read sees it go.
		if _, err := io.CopyN(io.Discard, s.conn, maxControlBytes); err != nil {
			g.readFailed(s, err)
		} else {
			s.close(closeTooMany)
		}
		s.linger()
	})
}

type headerBuffer []byte

func (b *headerBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

func (b *headerBuffer) WriteString(s string) { *b = append(*b, s...) }

func sseHeader(h http.Header) {
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	// Asks nginx not to collect events before it passes them on.
	h.Set("X-Accel-Buffering", "no")
}

// sseID gives the id line and the empty line that end an event.
func sseID(c feed.Cursor) []byte {
	return append(append([]byte("id: "), c.String()...), "\n\n"...)
}

// json gives a close code as the data of a close event.
func (c CloseCode) json() string {
	b, err := json.Marshal(struct {
		Code   uint16 `json:"code"`
		Reason string `json:"reason"`
		Resume bool   `json:"resume"`
	}{c.Code, c.Reason, c.Resume})
	if err != nil {
		return "{}" // numbers, a constant and a bool always encode
	}
	return string(b)
}
