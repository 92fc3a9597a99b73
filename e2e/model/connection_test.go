package model

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
)

// connection is a session on the wire, of any kind.
type connection struct {
	next  func() received
	send  func(*streampb.ClientFrame)
	close func()
}

type received struct {
	frame *streampb.ServerFrame
	// id is that of a server-sent event.
	id  string
	err error
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
			f := con.next()
			select {
			case frames <- f:
			case <-ctx.Done():
				return
			}
			if f.err != nil {
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
	transport := &http.Transport{DialContext: testclient.Cut(c.w.net.dial), DisableKeepAlives: true, DisableCompression: true}
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
	con.next = func() received {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return received{err: err}
		}
		f := &streampb.ServerFrame{}
		if kind == "proto" {
			err = proto.Unmarshal(b, f)
		} else {
			err = protojson.Unmarshal(b, f)
		}
		if err != nil {
			return received{err: &badFrameError{err}}
		}
		return received{frame: f}
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
		if p.LeaderEpoch != nil {
			parts[i] += fmt.Sprintf("@%d", p.GetLeaderEpoch())
		}
	}
	return cur.GetStreamId() + ":" + strings.Join(parts, ",")
}

func parseEventID(id string) (*streampb.Cursor, error) {
	stream, positions, ok := strings.Cut(id, ":")
	if !ok {
		return nil, fmt.Errorf("event id %q", id)
	}
	cur := &streampb.Cursor{StreamId: stream}
	if positions == "" {
		return cur, nil // no broker has told yet where any partition is
	}
	for position := range strings.SplitSeq(positions, ",") {
		var p, epoch int32
		var o int64
		at := &streampb.PartitionOffset{Partition: &p, NextOffset: &o}
		position, after, known := strings.Cut(position, "@")
		if _, err := fmt.Sscanf(position, "%d=%d", &p, &o); err != nil {
			return nil, fmt.Errorf("event id %q: %w", id, err)
		}
		if known {
			if _, err := fmt.Sscanf(after, "%d", &epoch); err != nil {
				return nil, fmt.Errorf("event id %q: %w", id, err)
			}
			at.LeaderEpoch = &epoch
		}
		cur.Partitions = append(cur.Partitions, at)
	}
	return cur, nil
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
	con.next = func() received { return nextEvent(in) }
	return con, nil
}

func nextEvent(in *bufio.Reader) received {
	var event, data, id string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return received{err: err}
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
				return received{err: closed}
			case data != "":
				f := &streampb.ServerFrame{}
				if err := protojson.Unmarshal([]byte(data), f); err != nil {
					return received{err: &badFrameError{fmt.Errorf("event %s: %w", event, err)}}
				}
				return received{frame: f, id: id}
			}
		}
	}
}

// takeID applies an event's id. An EventSource keeps nothing else to come back
// with, so wherever a position is told the id must hold all of it: every
// partition that the client knows, as far as it has come or further, past records
// that its filter leaves out.
func (c *client) takeID(f *streampb.ServerFrame, id string) {
	switch f.GetFrame().(type) {
	case *streampb.ServerFrame_Hello, *streampb.ServerFrame_Partitions, *streampb.ServerFrame_Error:
		return
	}
	cur, err := parseEventID(id)
	if err != nil {
		c.fail("%v", err)
		return
	}
	for p, at := range c.at() {
		if !slices.ContainsFunc(cur.Partitions, func(o *streampb.PartitionOffset) bool { return o.GetPartition() == p }) {
			c.fail("event id %q leaves out partition %d, where the client is at %d", id, p, at)
			return
		}
	}
	c.merge(cur, nil)
}
