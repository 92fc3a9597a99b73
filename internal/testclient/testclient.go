// Package testclient is a client of the gateway for tests: WebSocket, in both
// subprotocols, and server-sent events. It shares no code with the gateway and
// holds every frame to the protocol's promise.
package testclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/streampb"
)

// patience bounds every wait.
const patience = 30 * time.Second

// Client is a client of any kind. It fails its test when the server breaks the
// protocol's promise: a record that comes again or out of order, a cursor that
// goes back or does not cover its records.
type Client struct {
	t    testing.TB
	next func(context.Context) (*streampb.ServerFrame, error)
	send func(*streampb.ClientFrame) error
	// Close cuts the connection without a word.
	Close func()

	Hello *streampb.Hello
	// StreamID and Positions are the cursor.
	StreamID  string
	Positions map[int32]int64
	// epochs holds the leader epoch of positions, where it was told.
	epochs map[int32]int32
	// Records are those of this session, or since its last reset.
	Records []*streampb.Record
	Gaps    []*streampb.Gap
	Resets  []*streampb.Reset
	Errors  []*streampb.Error
	// Subscribed, CaughtUp and Progress count frames.
	Subscribed, CaughtUp, Progress int
	// LastEventID is the id of the last server-sent event.
	LastEventID string
}

// Dial connects a WebSocket client that speaks one of the two subprotocols.
func Dial(t testing.TB, base, protocol string, header http.Header) *Client {
	t.Helper()
	c, err := TryDial(t, base, protocol, header)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TryDial is Dial for a server that may not be there.
func TryDial(t testing.TB, base, protocol string, header http.Header) (*Client, error) {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(base, "http", "ws", 1)+"/ws", &websocket.DialOptions{
		Subprotocols: []string{protocol}, HTTPHeader: header,
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: Cut((&net.Dialer{}).DialContext), DisableKeepAlives: true}},
	})
	if err != nil {
		return nil, err
	}
	if got := conn.Subprotocol(); got != protocol {
		t.Fatalf("subprotocol %q, want %q", got, protocol)
	}
	conn.SetReadLimit(64 << 20)
	binary := protocol == "dashstream.v1+proto"
	c := &Client{t: t, Positions: map[int32]int64{}, epochs: map[int32]int32{}}
	c.next = func(ctx context.Context) (*streampb.ServerFrame, error) {
		typ, b, err := conn.Read(ctx)
		if err != nil {
			return nil, err
		}
		if (typ == websocket.MessageBinary) != binary {
			t.Fatalf("a %v message on %s", typ, protocol)
		}
		f := &streampb.ServerFrame{}
		if binary {
			err = proto.Unmarshal(b, f)
		} else {
			err = protojson.Unmarshal(b, f)
		}
		if err != nil {
			t.Fatalf("frame of %d bytes: %v", len(b), err)
		}
		return f, nil
	}
	c.send = func(f *streampb.ClientFrame) error {
		t.Helper()
		typ, b := websocket.MessageText, []byte(nil)
		var err error
		if binary {
			typ = websocket.MessageBinary
			b, err = proto.Marshal(f)
		} else {
			b, err = protojson.Marshal(f)
		}
		if err != nil {
			t.Fatal(err)
		}
		return conn.Write(t.Context(), typ, b)
	}
	c.Close = func() { _ = conn.CloseNow() }
	t.Cleanup(c.Close)
	return c, nil
}

// SSE connects to the event stream as a browser's EventSource would.
func SSE(t testing.TB, base, query, lastID string) *Client {
	t.Helper()
	c, err := TrySSE(t, base, query, lastID)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TrySSE is SSE for a server that may not be there, or refuse.
func TrySSE(t testing.TB, base, query, lastID string) (*Client, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/stream"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		cancel()
		return nil, fmt.Errorf("%s %s: %s", resp.Status, resp.Header.Get("Content-Type"), b)
	}
	in := bufio.NewReaderSize(resp.Body, 1<<20)
	c := &Client{t: t, Positions: map[int32]int64{}, epochs: map[int32]int32{}, Close: func() { cancel(); _ = resp.Body.Close() }}
	t.Cleanup(c.Close)
	c.next = func(ctx context.Context) (*streampb.ServerFrame, error) {
		defer context.AfterFunc(ctx, c.Close)()
		var event, data, id string
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return nil, err
			}
			line = strings.TrimSuffix(line, "\n")
			switch {
			case line == "" && data != "":
				if event == "close" {
					return nil, errors.New(data)
				}
				f := &streampb.ServerFrame{}
				if err := protojson.Unmarshal([]byte(data), f); err != nil {
					t.Fatalf("event %s: %v in %s", event, err, data)
				}
				if id != "" {
					c.LastEventID = id
				}
				return f, nil
			case strings.HasPrefix(line, "event: "):
				event = line[7:]
			case strings.HasPrefix(line, "data: "):
				data = line[6:]
			case strings.HasPrefix(line, "id: "):
				id = line[4:]
			}
		}
	}
	return c, nil
}

// Subscribe asks for the stream.
func (c *Client) Subscribe(start *streampb.Start, filter *streampb.Filter) {
	c.t.Helper()
	if err := c.TrySubscribe(start, filter); err != nil {
		c.t.Fatal(err)
	}
}

// TrySubscribe is Subscribe for a server that may have gone.
func (c *Client) TrySubscribe(start *streampb.Start, filter *streampb.Filter) error {
	return c.send(&streampb.ClientFrame{Frame: &streampb.ClientFrame_Subscribe{Subscribe: &streampb.Subscribe{Start: start, Filter: filter}}})
}

// Earliest is the start at the oldest record.
func Earliest() *streampb.Start {
	return &streampb.Start{From: &streampb.Start_Earliest{Earliest: true}}
}

func (c *Client) merge(cur *streampb.Cursor) {
	if cur.GetStreamId() != c.StreamID {
		c.t.Fatalf("cursor of stream %q in stream %q", cur.GetStreamId(), c.StreamID)
	}
	for _, p := range cur.GetPartitions() {
		if p.GetNextOffset() < c.Positions[p.GetPartition()] {
			c.t.Fatalf("partition %d: the cursor goes back from %d to %d", p.GetPartition(), c.Positions[p.GetPartition()], p.GetNextOffset())
		}
		c.Positions[p.GetPartition()] = p.GetNextOffset()
		if delete(c.epochs, p.GetPartition()); p.LeaderEpoch != nil {
			c.epochs[p.GetPartition()] = p.GetLeaderEpoch()
		}
	}
}

// Step takes one frame, or returns why the session ended.
func (c *Client) Step(ctx context.Context) error {
	c.t.Helper()
	f, err := c.next(ctx)
	if err != nil {
		return err
	}
	switch f := f.GetFrame().(type) {
	case *streampb.ServerFrame_Hello:
		c.Hello = f.Hello
		c.StreamID = f.Hello.GetStreamId()
	case *streampb.ServerFrame_Subscribed:
		c.Subscribed++
		c.Positions, c.epochs = map[int32]int64{}, map[int32]int32{}
		c.StreamID = f.Subscribed.GetCursor().GetStreamId()
		c.merge(f.Subscribed.GetCursor())
	case *streampb.ServerFrame_Batch:
		at := map[int32]int64{}
		for _, r := range f.Batch.GetRecords() {
			if r.GetOffset() < c.Positions[r.GetPartition()] || r.GetOffset() < at[r.GetPartition()] {
				c.t.Fatalf("partition %d: record %d came again, or out of order (cursor %d)", r.GetPartition(), r.GetOffset(), c.Positions[r.GetPartition()])
			}
			at[r.GetPartition()] = r.GetOffset() + 1
			c.Records = append(c.Records, r)
		}
		c.merge(f.Batch.GetCursor())
		for p, o := range at {
			if c.Positions[p] < o {
				c.t.Fatalf("partition %d: the batch's cursor %d does not cover its record %d", p, c.Positions[p], o-1)
			}
		}
	case *streampb.ServerFrame_Progress:
		c.Progress++
		c.merge(f.Progress.GetCursor())
	case *streampb.ServerFrame_CaughtUp:
		c.CaughtUp++
		c.merge(f.CaughtUp.GetCursor())
	case *streampb.ServerFrame_Gap:
		c.Gaps = append(c.Gaps, f.Gap)
		c.merge(f.Gap.GetCursor())
	case *streampb.ServerFrame_Reset_:
		c.Resets = append(c.Resets, f.Reset_)
		c.Positions, c.epochs = map[int32]int64{}, map[int32]int32{}
		c.Records = nil
		c.StreamID = f.Reset_.GetCursor().GetStreamId()
		c.merge(f.Reset_.GetCursor())
	case *streampb.ServerFrame_Error:
		c.Errors = append(c.Errors, f.Error)
	}
	return nil
}

// Until steps until a condition holds.
func (c *Client) Until(what string, done func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeoutCause(c.t.Context(), patience, fmt.Errorf("waiting for %s", what))
	defer cancel()
	for !done() {
		if err := c.Step(ctx); err != nil {
			c.t.Fatalf("%s: %v (%d records, cursor %v, errors %v)", what, err, len(c.Records), c.Positions, c.Errors)
		}
	}
}

// End reads to the end of the session and returns why it ended.
func (c *Client) End() error {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		if err := c.Step(ctx); err != nil {
			return err
		}
	}
}

// Complete fails unless the records are, by partition, all below the counts,
// each once.
func (c *Client) Complete(counts ...int64) {
	c.t.Helper()
	Complete(c.t, c.Records, counts...)
}

// Complete fails unless the records are, by partition, all below the counts,
// each once, in order.
func Complete(t testing.TB, records []*streampb.Record, counts ...int64) {
	t.Helper()
	got := make([]int64, len(counts))
	for _, r := range records {
		if r.GetOffset() != got[r.GetPartition()] {
			t.Fatalf("partition %d: record %d where %d is next", r.GetPartition(), r.GetOffset(), got[r.GetPartition()])
		}
		got[r.GetPartition()]++
	}
	for p, n := range counts {
		if got[p] != n {
			t.Errorf("partition %d: %d records, want %d", p, got[p], n)
		}
	}
}

// Resume is the start where the client ended.
func (c *Client) Resume() *streampb.Start {
	cursor := &streampb.Cursor{StreamId: c.StreamID}
	for p, o := range c.Positions {
		at := &streampb.PartitionOffset{Partition: proto.Int32(p), NextOffset: proto.Int64(o)}
		if e, ok := c.epochs[p]; ok {
			at.LeaderEpoch = &e
		}
		cursor.Partitions = append(cursor.Partitions, at)
	}
	return &streampb.Start{From: &streampb.Start_Cursor{Cursor: cursor}}
}
