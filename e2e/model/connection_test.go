package model

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/streampb"
)

// connection is a session on the wire, of any kind.
type connection struct {
	next  func() (*streampb.ServerFrame, error)
	send  func(*streampb.ClientFrame)
	close func()
}

type received struct {
	frame *streampb.ServerFrame
	err   error
}

// refusedError is an HTTP answer in place of a session.
type refusedError struct {
	status int
	body   string
}

func (e *refusedError) Error() string { return fmt.Sprintf("refused: %d %s", e.status, e.body) }

func (e *refusedError) comeBack() bool {
	return e.status == http.StatusServiceUnavailable || e.status == http.StatusTooManyRequests
}

// pump takes frames until the session ends.
func (c *client) pump(ctx context.Context, con *connection) <-chan received {
	frames := make(chan received)
	c.w.running.Go(func() {
		for {
			f, err := con.next()
			select {
			case frames <- received{f, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return frames
}

// wrongEnd says what is wrong with how a session ended. A network that fails
// explains much, but not that the server finds fault with the client.
func (con *connection) wrongEnd(err error) string {
	code := int(websocket.CloseStatus(err))
	if sse := (*sseClosed)(nil); errors.As(err, &sse) {
		code = sse.code
	}
	if code >= 4500 || code == 4004 || code == 1002 || code == 1003 || code == 1007 || code == 1009 || code == 1011 {
		return err.Error()
	}
	var bad *badFrameError
	if errors.As(err, &bad) {
		return err.Error()
	}
	return ""
}

// badFrameError is a frame that is none.
type badFrameError struct{ err error }

func (e *badFrameError) Error() string { return "bad frame: " + e.err.Error() }

type sseClosed struct {
	code int
	text string
}

func (e *sseClosed) Error() string { return "closed: " + e.text }

func (c *client) connect(ctx context.Context, gw *gatewayProcess, kind string) (*connection, error) {
	transport := &http.Transport{DialContext: c.w.net.dial, DisableKeepAlives: true, DisableCompression: true}
	hc := &http.Client{Transport: transport}
	if kind == "sse" {
		return c.connectSSE(ctx, hc, gw)
	}
	dctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	protocol := "dashstream.v1+" + kind
	ws, resp, err := websocket.Dial(dctx, "ws://"+gw.address+"/ws", &websocket.DialOptions{HTTPClient: hc, Subprotocols: []string{protocol}})
	if err != nil {
		if resp != nil && resp.StatusCode >= 400 {
			return nil, &refusedError{status: resp.StatusCode}
		}
		return nil, err
	}
	ws.SetReadLimit(64 << 20)
	con := &connection{close: func() { _ = ws.CloseNow() }}
	con.next = func() (*streampb.ServerFrame, error) {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return nil, err
		}
		f := &streampb.ServerFrame{}
		if kind == "proto" {
			err = proto.Unmarshal(b, f)
		} else {
			err = protojson.Unmarshal(b, f)
		}
		if err != nil {
			return nil, &badFrameError{err}
		}
		return f, nil
	}
	con.send = func(f *streampb.ClientFrame) {
		typ, b := websocket.MessageText, []byte(nil)
		var err error
		if kind == "proto" {
			typ = websocket.MessageBinary
			b, err = proto.Marshal(f)
		} else {
			b, err = protojson.Marshal(f)
		}
		if err != nil {
			c.fail("%v", err)
			return
		}
		wctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		_ = ws.Write(wctx, typ, b) // the end shows when reading
	}
	return con, nil
}

// eventID is a cursor as server-sent events carry it, by docs/protocol.md.
func eventID(cur *streampb.Cursor) string {
	parts := make([]string, len(cur.GetPartitions()))
	for i, p := range cur.GetPartitions() {
		parts[i] = fmt.Sprintf("%d=%d", p.GetPartition(), p.GetNextOffset())
	}
	return cur.GetStreamId() + ":" + strings.Join(parts, ",")
}

func (c *client) connectSSE(ctx context.Context, hc *http.Client, gw *gatewayProcess) (*connection, error) {
	c.ask()
	q := url.Values{"thread": c.plan.Filter.Threads, "tenant": c.plan.Filter.Tenants}
	for _, t := range c.plan.Filter.Types {
		q.Add("type", t.String())
	}
	switch c.plan.Start {
	case "since":
		q.Set("since_ms", strconv.FormatInt(c.asked.sinceMs, 10))
	default:
		q.Set("from", c.plan.Start)
	}
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gw.address+"/v1/stream?"+q.Encode(), nil)
	if err != nil {
		cancel()
		return nil, err
	}
	if c.asked.cursor != nil {
		req.Header.Set("Last-Event-ID", eventID(c.asked.cursor))
	}
	timeout := time.AfterFunc(10*time.Second, cancel)
	resp, err := hc.Do(req)
	timeout.Stop()
	if err != nil {
		cancel()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		cancel()
		_ = resp.Body.Close()
		return nil, &refusedError{status: resp.StatusCode, body: string(b)}
	}
	in := bufio.NewReader(resp.Body)
	con := &connection{close: func() { cancel(); _ = resp.Body.Close() }}
	con.next = func() (*streampb.ServerFrame, error) { return c.nextEvent(in) }
	return con, nil
}

func (c *client) nextEvent(in *bufio.Reader) (*streampb.ServerFrame, error) {
	var event, data, id string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			event = value
		case "data":
			data = value
		case "id":
			id = value
		case "":
			switch {
			case event == "close":
				closed := &sseClosed{text: data}
				_, digits, _ := strings.Cut(data, `"code":`)
				closed.code, _ = strconv.Atoi(strings.TrimRight(digits[:min(4, len(digits))], ",} "))
				return nil, closed
			case data != "":
				f := &streampb.ServerFrame{}
				if err := protojson.Unmarshal([]byte(data), f); err != nil {
					return nil, &badFrameError{fmt.Errorf("event %s: %w", event, err)}
				}
				if err := c.checkID(f, id); err != nil {
					return nil, &badFrameError{err}
				}
				return f, nil
			}
		}
	}
}

// checkID holds an event's id to the cursor in the frame: an EventSource keeps
// only the id, so it must be there where the position moves.
func (c *client) checkID(f *streampb.ServerFrame, id string) error {
	var cur *streampb.Cursor
	switch f := f.GetFrame().(type) {
	case *streampb.ServerFrame_Subscribed:
		cur = f.Subscribed.GetCursor()
	case *streampb.ServerFrame_Batch:
		cur = f.Batch.GetCursor()
	case *streampb.ServerFrame_Progress:
		cur = f.Progress.GetCursor()
	case *streampb.ServerFrame_Gap:
		cur = f.Gap.GetCursor()
	case *streampb.ServerFrame_Reset_:
		cur = f.Reset_.GetCursor()
	case *streampb.ServerFrame_CaughtUp:
		cur = f.CaughtUp.GetCursor()
	}
	if cur == nil {
		return nil
	}
	stream, positions, ok := strings.Cut(id, ":")
	if !ok || stream != cur.GetStreamId() {
		return fmt.Errorf("event id %q for a cursor of stream %s", id, cur.GetStreamId())
	}
	for _, p := range cur.GetPartitions() {
		if !strings.Contains(","+positions+",", fmt.Sprintf(",%d=%d,", p.GetPartition(), p.GetNextOffset())) {
			return fmt.Errorf("event id %q does not hold partition %d at %d", id, p.GetPartition(), p.GetNextOffset())
		}
	}
	return nil
}
