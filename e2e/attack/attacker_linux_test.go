package attack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/testprocess"
)

// attacker sends bytes to a server from an address of its own, and pays as little
// for them as it can: its frames are masked with zeros.
type attacker struct {
	t      *testing.T
	server *testprocess.Server
	site   net.IP
	// units counts what was sent of what is dear for the server.
	units int
	// held are connections that stay open meanwhile.
	held []net.Conn
}

func (a *attacker) dial() net.Conn {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), testprocess.Patience)
	defer cancel()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: a.site}}).DialContext(ctx, "tcp", a.server.HTTP)
	if err != nil {
		a.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(testprocess.Patience)) // an attack that hangs fails
	return c
}

func (a *attacker) write(c net.Conn, text string) {
	a.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		a.t.Fatal(err)
	}
}

func (a *attacker) reader(c net.Conn) *bufio.Reader { return bufio.NewReaderSize(c, 64<<10) }

func (a *attacker) hold(c net.Conn) { a.held = append(a.held, c) }

func (a *attacker) letGo() {
	for _, c := range a.held {
		_ = c.Close()
	}
	a.held = nil
}

// put writes records of a thread, so many of each text.
func (a *attacker) put(thread string, n int, texts ...string) {
	a.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(a.server.Kafka), kgo.DefaultProduceTopic(topic))
	if err != nil {
		a.t.Fatal(err)
	}
	defer cl.Close()
	for i, text := range texts {
		for j := range n {
			if err := cl.ProduceSync(a.t.Context(), &kgo.Record{Key: []byte(thread), Value: value(a.t, thread, i*n+j+1, text)}).FirstErr(); err != nil {
				a.t.Fatal(err)
			}
		}
	}
}

// streamID asks for the id of the stream.
func (a *attacker) streamID() string {
	a.t.Helper()
	body := get(a.t, a.server, "/version")
	_, id, _ := strings.Cut(body, `"streamId":"`)
	id, _, _ = strings.Cut(id, `"`)
	return id
}

func get(t *testing.T, s *testprocess.Server, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// goroutines returns how many the program has.
func goroutines(t *testing.T, s *testprocess.Server) int {
	t.Helper()
	_, rest, _ := strings.Cut(get(t, s, "/metrics"), "\ngo_goroutines ")
	n, err := strconv.Atoi(strings.Fields(rest + " none")[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// heldMore returns an error while the program has more descriptors and goroutines
// than before, but for a few that its own clients come and go with.
func heldMore(t *testing.T, s *testprocess.Server, descriptors, running int) error {
	t.Helper()
	const few = 12
	u, n := usageOf(t, s.PID), goroutines(t, s)
	if u.descriptors > descriptors+few || n > running+2*few {
		return fmt.Errorf("%d descriptors and %d goroutines, before %d and %d", u.descriptors, n, descriptors, running)
	}
	return nil
}

// request is the head of a request, without the empty line that ends it.
func request(line string, headers ...string) string {
	return line + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + strings.Join(headers, "")
}

// socket is an attacker's WebSocket.
type socket struct {
	net.Conn
	in *bufio.Reader
}

func (a *attacker) websocket(query, protocol string) *socket {
	a.t.Helper()
	c := a.dial()
	head := request("GET /ws"+query, "Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
		"Sec-WebSocket-Extensions: permessage-deflate\r\n", "Sec-WebSocket-Protocol: dashstream.v1+"+protocol+"\r\n")
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		a.t.Fatal(err)
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
		a.t.Fatalf("handshake: %v, %v", resp, err)
	}
	return &socket{c, in}
}

// frame is a masked frame.
func frame(op ws.OpCode, fin bool, payload []byte) []byte {
	var b bytes.Buffer
	_ = ws.WriteHeader(&b, ws.Header{Fin: fin, OpCode: op, Masked: true, Length: int64(len(payload))}) // a buffer takes all
	b.Write(payload)
	return b.Bytes()
}

// end reads to the end of a session and returns its close code, 0 where it had none.
func (s *socket) end() int {
	for {
		h, err := ws.ReadHeader(s.in)
		if err != nil {
			return 0
		}
		if h.OpCode != ws.OpClose {
			if _, err := io.CopyN(io.Discard, s.in, h.Length); err != nil {
				return 0
			}
			continue
		}
		b := make([]byte, h.Length)
		if _, err := io.ReadFull(s.in, b); err != nil || len(b) < 2 {
			return 0
		}
		return int(b[0])<<8 | int(b[1])
	}
}

// count reads frames until one holds last, and returns how many held a text, and how
// many came.
func (s *socket) count(text, last string) (n, frames int, err error) {
	for {
		h, err := ws.ReadHeader(s.in)
		if err != nil {
			return n, frames, err
		}
		b := make([]byte, h.Length)
		if _, err := io.ReadFull(s.in, b); err != nil {
			return n, frames, err
		}
		frames++
		n += bytes.Count(b, []byte(text))
		if bytes.Contains(b, []byte(last)) {
			return n, frames, nil
		}
	}
}

// usage is what a process has used, and holds.
type usage struct {
	cpu         time.Duration
	rss, peak   int64 // bytes
	descriptors int
}

func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var u usage
	_, rest, _ := strings.Cut(read("stat"), ") ")
	fields := strings.Fields(rest)
	for _, i := range []int{11, 12} { // user and system time, in ticks of 10 ms
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		u.cpu += time.Duration(n) * 10 * time.Millisecond
	}
	for line := range strings.Lines(read("status")) {
		for name, to := range map[string]*int64{"VmRSS:": &u.rss, "VmHWM:": &u.peak} {
			if f := strings.Fields(line); len(f) == 3 && f[0] == name {
				*to, _ = strconv.ParseInt(f[1], 10, 64)
				*to *= 1024
			}
		}
	}
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	u.descriptors = len(list)
	return u
}
