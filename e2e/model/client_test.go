package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dashflow/dashstream/internal/streampb"
)

// seen is a record that a client applied.
type seen struct {
	offset int64
	number uint64
}

// life is what a client holds of one stream.
type life struct {
	streamID string
	// start is where each partition began for this client, at its cursor.
	start, at map[int32]int64
	// epochs are the leader epochs that came with at.
	epochs map[int32]*int32
	seen   map[int32][]seen
	gaps   map[int32][]*streampb.Gap
}

// clone copies all that changes; what is appended to one is not seen by the other.
func (l life) clone() life {
	c := life{streamID: l.streamID, start: maps.Clone(l.start), at: maps.Clone(l.at), epochs: maps.Clone(l.epochs), seen: map[int32][]seen{}, gaps: map[int32][]*streampb.Gap{}}
	for p, s := range l.seen {
		c.seen[p] = slices.Clip(s)
		l.seen[p] = slices.Clip(s)
	}
	for p, g := range l.gaps {
		c.gaps[p] = slices.Clip(g)
		l.gaps[p] = slices.Clip(g)
	}
	return c
}

// state is all that a client holds: earlier streams, and the current one last.
type state []life

// clone is what a client that writes itself down would find again.
func (s state) clone() state {
	c := make(state, len(s))
	for i, l := range s {
		c[i] = l.clone()
	}
	return c
}

func (s state) cursor() *streampb.Cursor {
	if len(s) == 0 {
		return nil
	}
	l := s[len(s)-1]
	c := &streampb.Cursor{StreamId: l.streamID}
	for p, o := range l.at {
		c.Partitions = append(c.Partitions, &streampb.PartitionOffset{Partition: &p, NextOffset: &o, LeaderEpoch: l.epochs[p]})
	}
	return c
}

// client plays a clientPlan and holds every frame to the promise.
type client struct {
	w    *world
	name string
	plan clientPlan

	state state
	// past is what earlier clients of this plan held; nobody resumes from it.
	past state
	// later are checks that need the whole log.
	later []func()
	// asked is what the client's last subscribe held, and what was true then.
	asked asked
	// frames were taken, and records applied, each of them checked.
	frames, applied int
	// where is the session, for messages.
	where string
	// recent are the last frames, for messages.
	recent []string
}

// note remembers a frame.
func (c *client) note(s string) {
	if c.recent = append(c.recent, s); len(c.recent) > 12 {
		c.recent = c.recent[1:]
	}
}

type asked struct {
	cursor *streampb.Cursor
	// then is the state that the cursor was taken from.
	then state
	// acked is what producers had been told by then, of the generation that
	// was current.
	generation *generation
	acked      map[int32]int64
	removed    map[int32]int64
	sinceMs    int64
	answered   bool
	caughtUp   bool
	// again says that it replaces a subscription of the same session.
	again bool
}

func (c *client) fail(format string, args ...any) {
	c.w.fail("%s, %s: %s; frames before: %s", c.name, c.where, fmt.Sprintf(format, args...), strings.Join(c.recent, " "))
}

// run plays the plan, and then waits for the end of all that was produced.
func (c *client) run() {
	for i, p := range c.plan.Sessions {
		c.where = fmt.Sprintf("session %d (%s)", i, p.Kind)
		if !c.w.pause(time.Duration(p.WaitMs) * time.Millisecond) {
			break
		}
		saved := c.state.clone()
		c.session(p, &saved)
		switch p.End {
		case "crash":
			c.state = saved
		case "forget":
			c.past = append(c.past, c.state...)
			c.state = nil
		}
		if c.w.failed() {
			return
		}
	}
	c.where = "waiting for the end"
	select {
	case <-c.w.settled:
	case <-c.w.broken:
		return
	}
	last := c.plan.Sessions[len(c.plan.Sessions)-1]
	final := sessionPlan{Gateway: last.Gateway, Kind: last.Kind}
	c.where = "last session (" + final.Kind + ")"
	deadline := time.Now().Add(2 * time.Minute)
	for !c.complete() {
		if time.Now().After(deadline) {
			c.fail("not everything came in 2 minutes after the last record: at %v, log %v", c.at(), c.w.current().ackedEnds())
			return
		}
		saved := state(nil)
		c.session(final, &saved)
		if c.w.failed() || !c.w.pauseAlways(200*time.Millisecond) {
			return
		}
		final.Gateway++
	}
	// The oracle may not have come to the last marker yet.
	for tries := 0; tries < 100 && !c.w.current().reaches(c.at()) && c.w.pauseAlways(100*time.Millisecond); tries++ {
	}
	c.verify()
}

func (c *client) at() map[int32]int64 {
	if len(c.state) == 0 {
		return nil
	}
	return c.state[len(c.state)-1].at
}

// complete says whether the client is at the end of everything that was acknowledged.
func (c *client) complete() bool {
	if len(c.state) == 0 {
		return false
	}
	g := c.w.byStream(c.state[len(c.state)-1].streamID)
	if g == nil || g != c.w.current() {
		return false
	}
	for p, end := range g.ackedEnds() {
		if at, ok := c.at()[p]; !ok || at < end {
			return false
		}
	}
	return true
}

// session is one connection, from dialling to its end.
func (c *client) session(p sessionPlan, saved *state) {
	gw := c.w.gateways[p.Gateway%len(c.w.gateways)]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.asked = asked{}
	con, err := c.connect(ctx, gw, p.Kind)
	if err != nil {
		if refused := (*refusedError)(nil); errors.As(err, &refused) && !refused.comeBack() {
			c.fail("%v", err)
		}
		c.w.pauseAlways(100 * time.Millisecond)
		return
	}
	defer con.close()
	c.note("connected")
	if p.Kind != "sse" {
		c.subscribe(con)
	}
	frames := c.pump(ctx, con)
	final := p.Frames == 0
	idle := time.NewTimer(time.Minute)
	defer idle.Stop()
	for n := 1; ; n++ {
		if final && c.complete() && c.asked.caughtUp {
			return
		}
		var f received
		select {
		case f = <-frames:
		case <-c.w.broken:
			return
		case <-idle.C:
			if final {
				return // another gateway, perhaps
			}
			continue // nothing is written, or nothing matches
		case <-c.settledUnless(final):
			return
		}
		if f.err != nil {
			if msg := con.wrongEnd(f.err); msg != "" {
				c.fail("the session ended: %s", msg)
			}
			return
		}
		idle.Reset(time.Minute)
		c.frames++
		if !c.take(f.frame, p.Kind) {
			return
		}
		if p.Kind == "sse" {
			c.takeID(f.frame, f.id)
		}
		if c.state != nil && n >= p.SaveAt && p.SaveAt > 0 {
			*saved, p.SaveAt = c.state.clone(), -1
		}
		switch {
		case n == p.StallAt:
			c.w.pause(time.Duration(p.StallMs) * time.Millisecond)
		case n == p.AgainAt && c.asked.answered:
			c.subscribe(con)
		case p.Ack && p.Kind != "sse" && n%8 == 0:
			con.send(&streampb.ClientFrame{Frame: &streampb.ClientFrame_Ack{Ack: &streampb.Ack{Cursor: c.state.cursor()}}})
		}
		if !final && n >= p.Frames && c.asked.answered {
			return
		}
	}
}

func (c *client) settledUnless(final bool) <-chan struct{} {
	if final {
		return nil
	}
	return c.w.settled
}

// ask notes what is true when a subscription is sent.
func (c *client) ask() {
	g := c.w.current()
	removed, _ := g.starts()
	c.asked = asked{cursor: c.state.cursor(), then: c.state.clone(), generation: g, acked: g.ackedEnds(), removed: removed}
	if c.plan.Start == "since" {
		c.asked.sinceMs = time.Now().UnixMilli() - int64(c.plan.BackMs)
	}
}

func (c *client) subscribe(con *connection) {
	c.note("subscribe")
	again := c.asked.answered
	c.ask()
	c.asked.again = again
	start := &streampb.Start{}
	switch {
	case c.asked.cursor != nil:
		start.From = &streampb.Start_Cursor{Cursor: c.asked.cursor}
	case c.plan.Start == "earliest":
		start.From = &streampb.Start_Earliest{Earliest: true}
	case c.plan.Start == "since":
		start.From = &streampb.Start_SinceMs{SinceMs: c.asked.sinceMs}
	}
	f := &streampb.Filter{Threads: c.plan.Filter.Threads, Tenants: c.plan.Filter.Tenants, Types: c.plan.Filter.Types}
	con.send(&streampb.ClientFrame{Frame: &streampb.ClientFrame_Subscribe{Subscribe: &streampb.Subscribe{Start: start, Filter: f}}})
}
