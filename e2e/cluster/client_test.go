package cluster

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/wire"
)

const (
	protoKind = "dashstream.v1+proto"
	jsonKind  = "dashstream.v1+json"
	sseKind   = "sse"
)

// client reads the stream from its oldest record on. One that roams ends its
// session again and again, and goes on at another gateway; one that stays is
// never to lose its session. What each frame promises package testclient checks.
type client struct {
	w       *world
	name    string
	kind    string
	gateway int
	// restless is one that roams until it is to read to the end.
	restless bool
	settled  atomic.Bool
	only     pb.MessageType // 0 for all
	chance   *rand.Rand
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu sync.Mutex
	// The cursor, in the two forms that it comes in.
	start    *streampb.Start
	eventID  string
	streamID string
	position map[int32]int64
	seen     map[int32][]sighting
	gaps     []*streampb.Gap
	resets   []*streampb.Reset
	caughtUp int
	sessions int
	// ends are why sessions ended that the client did not end, and lost those of
	// them for which it is not to blame: on a machine that has too much to do, a
	// client may take nothing and say nothing for too long.
	ends, lost []string
}

// sighting is a record that the client took.
type sighting struct {
	offset int64
	id     string
}

// newClients connects clients of each kind: those that stay at either gateway,
// those that roam, and one that filters.
func (w *world) newClients() {
	w.t.Helper()
	w.newResidents()
	for i, kind := range []string{protoKind, jsonKind, sseKind} {
		w.connect(&client{name: "roamer " + kind, kind: kind, gateway: i + 1, restless: true})
	}
	w.connect(&client{name: "filter", kind: protoKind, restless: true, only: pb.MessageType_MESSAGE_TYPE_STATE_DIFF})
}

// newResidents connects clients that stay, one of each kind.
func (w *world) newResidents() {
	w.t.Helper()
	for i, kind := range []string{protoKind, jsonKind, sseKind} {
		w.connect(&client{name: "resident " + kind, kind: kind, gateway: i})
	}
}

// newAway connects clients that are to leave before something happens; they are not
// among w.clients until they rejoin.
func (w *world) newAway() (away []*client) {
	w.t.Helper()
	for i, kind := range []string{protoKind, jsonKind, sseKind} {
		c := &client{name: "away " + kind, kind: kind, gateway: i}
		w.begin(c)
		away = append(away, c)
	}
	return away
}

func (w *world) connect(c *client) {
	w.begin(c)
	w.clients = append(w.clients, c)
}

func (w *world) begin(c *client) {
	c.w, c.chance = w, rand.New(rand.NewPCG(w.chance.Uint64(), 1))
	c.position, c.seen = map[int32]int64{}, map[int32][]sighting{}
	w.t.Cleanup(c.leave)
	c.enter()
}

// rejoin connects a client that has left, which goes on where it was.
func (w *world) rejoin(c *client) {
	w.clients = append(w.clients, c)
	c.enter()
}

func (c *client) enter() {
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.running.Go(func() { c.run(ctx) })
}

func (c *client) roams() bool { return c.restless && !c.settled.Load() }

// leave ends the client.
func (c *client) leave() {
	c.stop()
	c.running.Wait()
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil && !c.w.t.Failed() {
		sctx, cancel := ctx, context.CancelFunc(func() {})
		if c.roams() {
			sctx, cancel = context.WithTimeout(ctx, 200*time.Millisecond+time.Duration(c.chance.IntN(4000))*time.Millisecond)
		}
		err := c.session(sctx)
		planned := sctx.Err() != nil
		cancel()
		if !planned {
			c.ended(err)
		}
		if c.roams() {
			c.gateway++
		}
		if planned {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// ended notes a session that the client did not end.
func (c *client) ended(err error) {
	text := err.Error()
	if code := websocket.CloseStatus(err); code >= 4500 || code == 4004 {
		c.w.t.Errorf("%s: the session ended: %s", c.name, text)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends = append(c.ends, text)
	if !strings.Contains(text, "slow consumer") && !strings.Contains(text, "client timeout") {
		c.lost = append(c.lost, text)
	}
}

// session is one connection, until ctx or the connection ends.
func (c *client) session(ctx context.Context) error {
	c.mu.Lock()
	start, eventID := c.start, c.eventID
	c.sessions++
	c.mu.Unlock()
	var tc *testclient.Client
	var err error
	if c.kind == sseKind {
		tc, err = testclient.TrySSE(c.w.t, c.w.url(c.gateway), "?from=earliest", eventID)
	} else {
		tc, err = testclient.TryDial(c.w.t, c.w.url(c.gateway), c.kind, nil)
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer tc.Close()
	if c.kind != sseKind {
		if start == nil {
			start = testclient.Earliest()
		}
		filter := &streampb.Filter{}
		if c.only != 0 {
			filter.Types = []pb.MessageType{c.only}
		}
		tc.Subscribe(start, filter)
	}
	defer context.AfterFunc(ctx, tc.Close)() // which ends an event stream too
	for {
		before := *tc
		if err := tc.Step(ctx); err != nil {
			return err
		}
		if err := c.take(tc, &before); err != nil {
			c.w.t.Errorf("%s, session %d: %v", c.name, c.sessions, err)
			return err
		}
	}
}

// take applies what a frame brought.
func (c *client) take(tc, before *testclient.Client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(tc.Resets) > len(before.Resets):
		r := tc.Resets[len(tc.Resets)-1]
		c.resets = append(c.resets, r)
		if c.streamID != r.GetPreviousStreamId() {
			return fmt.Errorf("reset %v, but the client holds stream %q", r, c.streamID)
		}
		c.position, c.seen, c.gaps = map[int32]int64{}, map[int32][]sighting{}, nil
	case tc.Subscribed > before.Subscribed && len(tc.Resets) == 0 && c.streamID != "":
		if tc.StreamID != c.streamID {
			return fmt.Errorf("subscribed to stream %s, without a reset, with a cursor of %s", tc.StreamID, c.streamID)
		}
		for p, o := range c.position {
			if at, ok := tc.Positions[p]; !ok || at != o {
				return fmt.Errorf("subscribed at %v, the cursor was %v", tc.Positions, c.position)
			}
		}
	}
	for _, r := range tc.Records {
		id, err := c.identify(r)
		if err != nil {
			return err
		}
		c.seen[r.GetPartition()] = append(c.seen[r.GetPartition()], sighting{r.GetOffset(), id})
	}
	tc.Records = nil
	c.gaps = append(c.gaps, tc.Gaps[len(before.Gaps):]...)
	c.caughtUp += tc.CaughtUp - before.CaughtUp
	if tc.Subscribed == 0 {
		return nil // nothing is known yet of where it is
	}
	c.streamID, c.position = tc.StreamID, maps.Clone(tc.Positions)
	c.start, c.eventID = tc.Resume(), tc.LastEventID
	return nil
}

// identify returns the id of a record's message.
func (c *client) identify(r *streampb.Record) (string, error) {
	m := r.GetMessage()
	if c.kind == protoKind {
		var err error
		if m, err = wire.Decode(r.GetValue(), wire.DefaultLimits()); err != nil {
			return "", fmt.Errorf("partition %d offset %d: %w", r.GetPartition(), r.GetOffset(), err)
		}
	}
	if m == nil {
		return "", fmt.Errorf("partition %d offset %d came without a message: %v", r.GetPartition(), r.GetOffset(), r.GetError())
	}
	return messageID(m), nil
}

// at returns an error until the client is at the end of the log.
func (c *client) at(l *log) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, end := range l.ends {
		if at, ok := c.position[p]; !ok || at < end {
			return fmt.Errorf("it is at %v, the log ends at %v; %d sessions, %d resets, ended by %q", c.position, l.ends, c.sessions, len(c.resets), c.ends)
		}
	}
	return nil
}

// verify holds what the client has to the log: each record that matches once, in
// order, and nothing else.
func (c *client) verify(l *log) {
	t := c.w.t
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.gaps) > 0 {
		t.Errorf("%s: gaps %v, but nothing was taken from the log", c.name, c.gaps)
	}
	n := 0
	for _, p := range slices.Sorted(maps.Keys(l.ends)) {
		got := c.seen[p]
		n += len(got)
		if err := c.compare(got, l.partitions[p]); err != nil {
			t.Errorf("%s: partition %d: %v", c.name, p, err)
		}
	}
	t.Logf("%s: %d records in %d sessions, %d resets, sessions lost: %q", c.name, n, c.sessions, len(c.resets), c.ends)
}

// compare says in what the records that came differ from those of the log.
func (c *client) compare(got []sighting, want []entry) error {
	for _, e := range want {
		if c.only != 0 && e.kind != c.only {
			continue
		}
		switch {
		case len(got) == 0:
			return fmt.Errorf("offset %d (message %s) did not come, and none after it", e.offset, e.id)
		case got[0].offset != e.offset:
			return fmt.Errorf("offset %d (message %s) did not come, but %v", e.offset, e.id, got[0])
		case got[0].id != e.id:
			return fmt.Errorf("offset %d came as message %s, the log holds %s", e.offset, got[0].id, e.id)
		}
		got = got[1:]
	}
	if len(got) > 0 {
		return fmt.Errorf("%v came, and the log does not hold it", got[0])
	}
	return nil
}

// kept fails the test if a client that stays lost its session for another reason
// than that it took nothing for too long, which the gateway counts.
func (w *world) kept() {
	w.t.Helper()
	slow, lost := 0.0, map[string][]string{}
	for i := range w.gateways {
		slow += w.metric(i, "websocket_slow_client_disconnects_total")
	}
	n := 0
	for _, c := range w.clients {
		c.mu.Lock()
		if !c.restless && len(c.lost) > 0 {
			lost[c.name] = c.lost
			n += len(c.lost)
		}
		c.mu.Unlock()
	}
	if n > int(slow) {
		w.t.Errorf("sessions were lost: %q, of which %v clients were too slow", lost, slow)
	}
}

// unreset fails the test if a client was told to start over.
func (w *world) unreset() {
	w.t.Helper()
	for _, c := range w.clients {
		c.mu.Lock()
		if len(c.resets) > 0 {
			w.t.Errorf("%s was told to start over, and nothing that was acknowledged was cut: %v", c.name, c.resets)
		}
		c.mu.Unlock()
	}
}
