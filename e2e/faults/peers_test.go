package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/testprocess"
)

// connect opens a connection that ends with the test.
func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{Timeout: testprocess.Patience}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

const upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: dashstream.v1+json\r\n"

// request sends a request without a body and, where an answer is wanted, reads the head of it.
func request(t *testing.T, c net.Conn, path, header string, status int) {
	t.Helper()
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(&oneByte{c}, 16), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s: %s, want %d", path, resp.Status, status)
	}
}

// oneByte reads no more than is asked for, so that what follows stays in the connection.
type oneByte struct{ r io.Reader }

func (o *oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// trickle sends one byte a second until the other side ends the connection, and fails where it does not. What comes is
// read, so that an answer is no end.
func trickle(t *testing.T, c net.Conn, what string) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, c) // however it ends
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testprocess.Patience)
	defer cancel()
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			t.Errorf("%s: it is not cut off", what)
			return
		case <-time.After(time.Second):
			// A write may fail in the moment in which the other side ends it.
			_, _ = c.Write([]byte("x"))
		}
	}
}

// TestSlowPeersAreCutOff: a client that sends one byte a second, in any place where the program waits for the rest, or takes
// nothing of an answer, ends at a deadline. Others do not notice.
func TestSlowPeersAreCutOff(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir(), smallCaches...)
	startAgents(t, s.Kafka, "agent-")
	clients := follow(t, s.URL())
	clients.moving("clients read")
	before := holds(t, s.URL())
	const each = 8
	var peers sync.WaitGroup
	for _, tc := range []struct {
		name string
		slow bool // by more than some seconds
		addr string
		send func(c net.Conn)
	}{
		{name: "header", addr: s.HTTP, send: func(c net.Conn) { write(t, c, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ") }},
		{name: "WebSocket handshake", addr: s.HTTP, send: func(c net.Conn) { write(t, c, "GET /ws HTTP/1.1\r\nHost: localhost\r\n"+upgrade+"X-Slow: ") }},
		{name: "WebSocket frame header", addr: s.HTTP, send: func(c net.Conn) {
			request(t, c, "/ws", upgrade, http.StatusSwitchingProtocols)
			write(t, c, "\x81\xfe\x10") // a masked text message of 4 KiB and more
		}},
		{name: "WebSocket frame", addr: s.HTTP, send: func(c net.Conn) {
			request(t, c, "/ws", upgrade, http.StatusSwitchingProtocols)
			write(t, c, "\x81\xfe\x10\x00mask")
		}},
		{name: "body", slow: true, addr: s.HTTP, send: func(c net.Conn) {
			write(t, c, "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
		}},
		{name: "body of what has none", slow: true, addr: s.HTTP, send: func(c net.Conn) {
			write(t, c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
		}},
		{name: "Kafka request", slow: true, addr: s.Kafka, send: func(c net.Conn) { write(t, c, "\x00\x00\x10\x00\x00\x12\x00\x00") }},
	} {
		if tc.slow && !*fullFlag {
			continue
		}
		for range each {
			c := connect(t, tc.addr)
			tc.send(c)
			peers.Go(func() { trickle(t, c, tc.name) })
		}
	}
	if *fullFlag {
		for range each {
			c := connect(t, s.HTTP)
			peers.Go(func() { takeNothing(t, c) })
		}
	}
	clients.moving("clients are served meanwhile")
	ready(t, s.URL())
	peers.Wait()
	clients.moving("clients are served after it")
	backTo(t, s.URL(), before)
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// takeNothing asks for the page again and again and reads nothing of it, until the other side ends the connection.
func takeNothing(t *testing.T, c net.Conn) {
	const ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
	if err := c.SetWriteDeadline(time.Now().Add(2 * testprocess.Patience)); err != nil {
		t.Error(err)
		return
	}
	for {
		if _, err := io.WriteString(c, strings.Repeat(ask, 100)); err != nil {
			if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
				t.Error("a client that takes nothing of an answer is not cut off")
			}
			return
		}
	}
}

// connected is how many sessions a server has.
func connected(t *testing.T, url string) float64 {
	t.Helper()
	return metrics(t, url)["websocket_connected_clients"]
}

// soon polls like testprocess.Eventually, for what takes the product longer.
func soon(t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func sessions(t *testing.T, url string, want float64) func() error {
	return func() error {
		if n := connected(t, url); n != want {
			return fmt.Errorf("%v sessions, want %v", n, want)
		}
		return nil
	}
}
