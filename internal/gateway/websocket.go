package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/time/rate"

	"github.com/dashflow/dashstream/internal/streampb"
)

// Subprotocols of GET /ws. A client that offers none gets JSON, so that any
// WebSocket tool shows the stream.
const (
	protocolProto = "dashstream.v1+proto"
	protocolJSON  = "dashstream.v1+json"
	// protocolBearer carries a token where a client cannot set a header, which
	// is every browser: the prefix and the token in unpadded base64url. It is
	// never selected.
	protocolBearer = "dashstream.bearer."
)

func offeredProtocols(r *http.Request) []string {
	var out []string
	for _, h := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(h, ",") {
			if p = strings.TrimSpace(p); p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

// tokenFromProtocols returns the token among the offered subprotocols.
func tokenFromProtocols(offered []string) (string, bool) {
	for _, p := range offered {
		if enc, ok := strings.CutPrefix(p, protocolBearer); ok {
			token, err := base64.RawURLEncoding.DecodeString(enc)
			return string(token), err == nil
		}
	}
	return "", false
}

// selectProtocol returns the subprotocol to speak and its encoding.
func selectProtocol(offered []string) (name string, enc encoding, ok bool) {
	named := false
	for _, p := range offered {
		switch {
		case p == protocolProto:
			return p, encodingProto, true
		case p == protocolJSON:
			return p, encodingJSON, true
		case strings.HasPrefix(p, protocolBearer):
		default:
			named = true
		}
	}
	return "", encodingJSON, !named
}

// serveWS is GET /ws. The checks that every client has to pass were made.
func (g *Gateway) serveWS(w http.ResponseWriter, r *http.Request, slot *slot) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		slot.release()
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this is a WebSocket endpoint: connect with a WebSocket client, or use /v1/stream for server-sent events", http.StatusUpgradeRequired)
		return
	}
	name, enc, ok := selectProtocol(offeredProtocols(r))
	if !ok {
		slot.release()
		http.Error(w, "no known subprotocol: want "+protocolProto+" or "+protocolJSON, http.StatusBadRequest)
		return
	}
	sub, ask, bad := subscribeFromQuery(r.URL.RawQuery, "")
	if bad == nil {
		_, bad = checkSubscribe(sub)
	}
	if bad != nil {
		slot.release()
		g.metrics.controlFailures.Inc()
		http.Error(w, bad.Error(), http.StatusBadRequest)
		return
	}
	up := ws.HTTPUpgrader{
		Timeout:  g.cfg.HandshakeTimeout,
		Protocol: func(p string) bool { return p == name },
	}
	conn, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		// The upgrader has answered.
		slot.release()
		g.metrics.rejected.WithLabelValues("handshake").Inc()
		return
	}
	var buffered []byte
	if n := rw.Reader.Buffered(); n > 0 {
		buffered, _ = rw.Reader.Peek(n) // n bytes are there
		buffered = bytes.Clone(buffered)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		slot.release()
		_ = conn.Close()
		return
	}
	s, ok := g.hub.add(conn, slot.peer, enc)
	if !ok {
		slot.release()
		g.metrics.rejected.WithLabelValues("stopping").Inc()
		_ = conn.SetWriteDeadline(time.Now().Add(lingerTime))
		_, _ = conn.Write(enc.closing(closeRestart)) // best effort on a connection that ends
		_ = conn.Close()
		return
	}
	s.push(enc.frame(g.hello()))
	if ask {
		g.subscribe(s, sub)
	}
	// The handler returns, so that net/http's own buffers and goroutine go; the
	// reader below is all that an idle session has.
	g.sessions.Go(func() {
		defer slot.release()
		g.readWS(s, buffered)
		s.linger()
	})
}

// subscribe checks a Subscribe and hands it to the session.
func (g *Gateway) subscribe(s *session, sub *streampb.Subscribe) {
	checked, bad := checkSubscribe(sub)
	if bad != nil {
		s.refuse(bad)
		return
	}
	if c := checked.start.Cursor; c != nil {
		known := g.feed.Partitions()
		for p := range c.Offsets {
			checked.doubtful = checked.doubtful || int(p) >= known
		}
	}
	s.want(checked)
}

// readWS reads the client's frames until the session ends.
func (g *Gateway) readWS(s *session, buffered []byte) {
	var in io.Reader = s.conn
	if len(buffered) > 0 {
		in = io.MultiReader(bytes.NewReader(buffered), s.conn)
	}
	limiter := rate.NewLimiter(rate.Limit(g.cfg.MaxClientFramesPerSecond), 2*g.cfg.MaxClientFramesPerSecond)
	var message []byte
	var opcode ws.OpCode
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			g.readFailed(s, err)
			return
		}
		s.heard()
		if !limiter.AllowN(time.Now(), g.frameWeight(h.Length)) {
			g.metrics.controlFlood.Inc()
			s.close(closeTooMany)
			return
		}
		if !h.Masked || h.Rsv != 0 || h.OpCode.IsReserved() || h.OpCode.IsControl() && (h.Length > ws.MaxControlFramePayloadSize || !h.Fin) {
			s.close(closeBadFrame)
			return
		}
		if h.Length < 0 || h.Length+int64(len(message)) > int64(g.clientFrameBytes()) {
			g.metrics.controlOversized.Inc()
			s.close(closeTooLarge)
			return
		}
		// A message that was begun has to come whole within the deadline, however
		// many fragments it comes in, and memory follows what came, not what the
		// header claims.
		if message == nil {
			if err := s.conn.SetReadDeadline(time.Now().Add(g.cfg.HandshakeTimeout)); err != nil {
				g.readFailed(s, err)
				return
			}
		}
		payload, err := readPayload(in, h.Length)
		if err != nil {
			g.readFailed(s, err)
			return
		}
		ws.Cipher(payload, h.Mask, 0)
		switch h.OpCode {
		case ws.OpPing, ws.OpPong:
			if h.OpCode == ws.OpPong {
				s.pong(payload)
			} else {
				s.send(append(appendWSHeader(nil, opPong, len(payload)), payload...))
			}
			if message == nil {
				// Between messages an idle client may take its time again.
				if err := s.readForever(); err != nil {
					g.readFailed(s, err)
					return
				}
			}
			continue
		case ws.OpClose:
			s.close(closeNormal)
			return
		case ws.OpText, ws.OpBinary:
			if message != nil {
				s.close(closeBadFrame)
				return
			}
			opcode = h.OpCode
			message = payload
		case ws.OpContinuation:
			if message == nil {
				s.close(closeBadFrame)
				return
			}
			message = append(message, payload...)
		}
		if !h.Fin {
			if message == nil {
				message = []byte{}
			}
			continue
		}
		if err := s.readForever(); err != nil {
			g.readFailed(s, err)
			return
		}
		if !g.clientMessage(s, opcode, message) {
			return
		}
		message = nil
	}
}

// frameWeight is how many frames one of n bytes counts as: to read it costs as much.
// Of the largest, five are what may come in two seconds. What is too large is refused
// as such.
func (g *Gateway) frameWeight(n int64) int {
	limit := int64(g.clientFrameBytes())
	if n < 0 || n > limit {
		return 1
	}
	return 1 + int(n*int64(g.cfg.MaxClientFramesPerSecond)*2/5/limit)
}

// readPayload reads n bytes, growing as they come.
func readPayload(in io.Reader, n int64) ([]byte, error) {
	const atOnce = 4 << 10
	if n <= atOnce {
		b := make([]byte, n)
		_, err := io.ReadFull(in, b)
		return b, err
	}
	var b bytes.Buffer
	b.Grow(atOnce)
	_, err := io.CopyN(&b, in, n)
	return b.Bytes(), err
}

// clientMessage handles one whole message and reports whether the session goes
// on.
func (g *Gateway) clientMessage(s *session, opcode ws.OpCode, message []byte) bool {
	if (s.enc == encodingProto) != (opcode == ws.OpBinary) {
		s.refuse(badField("frame", "this subprotocol takes %s messages", map[bool]string{true: "binary", false: "text"}[s.enc == encodingProto]))
		return true
	}
	f, bad := decodeClientFrame(s.enc, message)
	if bad != nil {
		s.refuse(bad)
		return true
	}
	switch f := f.GetFrame().(type) {
	case *streampb.ClientFrame_Subscribe:
		g.subscribe(s, f.Subscribe)
	case *streampb.ClientFrame_Ack:
		c, bad := checkCursor("ack.cursor", f.Ack.GetCursor())
		if bad != nil {
			s.refuse(bad)
			return true
		}
		s.ack(c, g.feed.StreamID(), g.feed.Partitions())
	default:
		s.refuse(badField("frame", "empty: want subscribe or ack"))
	}
	return true
}

// readFailed ends a session whose client is gone or broke off in a frame.
func (g *Gateway) readFailed(s *session, err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		// A message that was begun did not come whole: it may do so next time.
		s.close(closeTimeout)
		return
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
	default:
		g.log.Debug("reading from client failed", "peer", s.peer, "error", err)
	}
	s.close(closeNormal)
}

// closing gives the bytes that tell a client why its session ends.
func (e encoding) closing(c CloseCode) []byte {
	if e == encodingSSE {
		return append(sseEvent("close", []byte(c.json())), '\n')
	}
	b := appendWSHeader(nil, opClose, 2+len(c.Reason))
	b = binary.BigEndian.AppendUint16(b, c.Code)
	return append(b, c.Reason...)
}
