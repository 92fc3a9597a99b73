package model

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/dashflow/dashstream/internal/streampb"
)

// Each frame is held to what docs/protocol.md promises.

// take applies a frame.
func (c *client) take(f *streampb.ServerFrame, kind string) bool {
	c.note(strings.TrimPrefix(fmt.Sprintf("%T", f.GetFrame()), "*streampb.ServerFrame_"))
	switch f := f.GetFrame().(type) {
	case *streampb.ServerFrame_Hello:
		c.w.meet(f.Hello.GetStreamId())
		for _, p := range f.Hello.GetPartitions() {
			if p.GetOldest() > p.GetLatest() {
				c.fail("hello: partition %d is from %d to %d", p.GetPartition(), p.GetOldest(), p.GetLatest())
			}
		}
	case *streampb.ServerFrame_Subscribed:
		c.subscribed(f.Subscribed.GetCursor())
	case *streampb.ServerFrame_Reset_:
		c.reset(f.Reset_)
	case *streampb.ServerFrame_Batch:
		c.records(f.Batch.GetRecords(), f.Batch.GetCursor(), kind)
	case *streampb.ServerFrame_Progress:
		c.merge(f.Progress.GetCursor(), nil)
	case *streampb.ServerFrame_Gap:
		c.gap(f.Gap)
	case *streampb.ServerFrame_CaughtUp:
		c.merge(f.CaughtUp.GetCursor(), nil)
		c.caughtUp()
	case *streampb.ServerFrame_Partitions:
		// A progress follows, and says where they begin.
	case *streampb.ServerFrame_Error:
		c.fail("error frame %v", f.Error)
	default:
		c.fail("unknown frame %v", f)
	}
	return !c.w.failed()
}

func (c *client) subscribed(cur *streampb.Cursor) {
	if c.asked.answered {
		c.fail("subscribed twice")
		return
	}
	c.asked.answered = true
	c.w.meet(cur.GetStreamId())
	if n := len(c.state); n > 0 && c.state[n-1].streamID != cur.GetStreamId() {
		c.fail("subscribed to %s without a reset, while the client is in %s", cur.GetStreamId(), c.state[n-1].streamID)
		return
	}
	if c.asked.cursor.GetStreamId() == cur.GetStreamId() && len(c.asked.then) > 0 {
		// What came of the earlier subscription after the cursor was sent does not count.
		c.state = c.asked.then.clone()
		l := c.state[len(c.state)-1]
		for _, p := range cur.GetPartitions() {
			at, known := l.at[p.GetPartition()]
			if known && at != p.GetNextOffset() {
				c.fail("subscribed at partition %d offset %d, asked for %d", p.GetPartition(), p.GetNextOffset(), at)
			}
			if !known {
				c.begin(l, p)
			}
		}
		return
	}
	if c.asked.cursor != nil && len(c.state) > 0 {
		return // a reset came before, and began the new life
	}
	l := c.newLife(cur)
	for p, at := range l.at {
		c.checkStart(l.streamID, p, at)
	}
}

// put takes a position over: the epoch belongs to the offset, as docs/protocol.md has
// it.
func (l life) put(p *streampb.PartitionOffset) {
	l.at[p.GetPartition()], l.epochs[p.GetPartition()] = p.GetNextOffset(), p.LeaderEpoch
}

// newLife begins at a cursor.
func (c *client) newLife(cur *streampb.Cursor) life {
	l := life{streamID: cur.GetStreamId(), start: map[int32]int64{}, at: map[int32]int64{}, epochs: map[int32]*int32{}, seen: map[int32][]seen{}, gaps: map[int32][]*streampb.Gap{}}
	for _, p := range cur.GetPartitions() {
		l.start[p.GetPartition()] = p.GetNextOffset()
		l.put(p)
	}
	c.state = append(c.state, l)
	return l
}

// begin adds a partition that the client did not know. It begins at its oldest
// record; but for a client that wants what is new, one that the gateway could
// not read when it began begins at what came since.
func (c *client) begin(l life, from *streampb.PartitionOffset) {
	p, at := from.GetPartition(), from.GetNextOffset()
	l.start[p] = at
	l.put(from)
	g := c.w.byStream(l.streamID)
	if g == nil || p >= g.partitions() {
		return
	}
	_, most := g.starts()
	if c.plan.Start == "latest" && c.asked.cursor == nil {
		most[p] = max(most[p], c.asked.acked[p])
	}
	if at > most[p] {
		c.fail("partition %d, new to the client, begins at %d, want %d at most", p, at, most[p])
	}
}

// checkStart holds a first position to what was asked for, when everything is
// known.
func (c *client) checkStart(streamID string, p int32, at int64) {
	asked, where := c.asked, c.where
	g := asked.generation
	if p >= g.partitions() {
		return // of the topic that was created anew meanwhile
	}
	_, logStart := g.starts()
	now := g.sent(p)
	c.later = append(c.later, func() {
		if g.streamID != streamID {
			return // the topic was created anew meanwhile: nothing to compare with
		}
		var low, high int64
		switch c.plan.Start {
		case "earliest":
			low, high = asked.removed[p], logStart[p]
		case "latest":
			low, high = asked.acked[p], now+g.surplus(p)
		case "since":
			before, first := g.since(p, asked.removed[p], asked.sinceMs)
			if low, high = min(before, asked.acked[p]), max(first, logStart[p]); c.w.sc.has(doTransaction) || c.w.sc.has(doAbort) {
				low = 0 // Kafka may answer with the marker of a transaction, which nobody reads
			}
		}
		if !c.w.sc.calm() {
			low = 0 // where a broker does not answer, more comes than was asked for
		}
		if at < low || at > high {
			c.fail("%s: start %s: partition %d begins at %d, want %d to %d", where, c.plan.Start, p, at, low, high)
		}
	})
}

func (c *client) reset(r *streampb.Reset) {
	cur := r.GetCursor()
	c.w.meet(cur.GetStreamId())
	n := len(c.state)
	if n == 0 {
		c.fail("reset %v of a client that holds nothing", r)
		return
	}
	old := c.state[n-1].streamID
	if r.GetPreviousStreamId() != old {
		c.fail("reset of stream %s, the client is in %s", r.GetPreviousStreamId(), old)
	}
	was, is := c.w.byStream(old), c.w.byStream(cur.GetStreamId())
	switch {
	case was == nil || is == nil || is.number <= was.number:
		c.fail("reset %v, but the topic was not created anew", r)
	case r.GetReason() != streampb.Reset_REASON_TOPIC_RECREATED && r.GetReason() != streampb.Reset_REASON_OTHER_STREAM:
		c.fail("reset %v: the topic was created anew", r)
	}
	if c.w.failed() {
		return
	}
	c.newLife(cur)
	c.asked.caughtUp = false // what follows is caught up with again
	l := c.state[len(c.state)-1]
	_, start := is.starts()
	for p, at := range l.at {
		if at > start[p] {
			c.fail("after a reset partition %d begins at %d, the log at %d", p, at, start[p])
		}
	}
}

func (c *client) records(records []*streampb.Record, cur *streampb.Cursor, kind string) {
	if len(c.state) == 0 {
		c.fail("a batch before subscribed")
		return
	}
	l := c.state[len(c.state)-1]
	last := map[int32]int64{}
	for _, r := range records {
		p, o := r.GetPartition(), r.GetOffset()
		at, known := l.at[p]
		if !known {
			c.fail("offset %d of partition %d, of which the client was not told", o, p)
			return
		}
		if before, ok := last[p]; o < at || ok && o <= before {
			c.fail("partition %d offset %d came again: the cursor is at %d", p, o, at)
			return
		}
		last[p] = o
		number, err := check(r, kind, c.w.logged(l.streamID, p, o))
		if err != nil {
			c.fail("partition %d offset %d: %v", p, o, err)
			return
		}
		l.seen[p] = append(l.seen[p], seen{o, number})
		c.applied++
	}
	c.merge(cur, last)
}

// merge takes a cursor over, and has it cover the records that it came with.
func (c *client) merge(cur *streampb.Cursor, last map[int32]int64) {
	if len(c.state) == 0 {
		c.fail("a cursor before subscribed")
		return
	}
	l := c.state[len(c.state)-1]
	if cur.GetStreamId() != l.streamID {
		c.fail("a cursor of stream %s, the client is in %s", cur.GetStreamId(), l.streamID)
		return
	}
	for _, p := range cur.GetPartitions() {
		at, known := l.at[p.GetPartition()]
		if !known {
			at = p.GetNextOffset()
			c.begin(l, p)
		}
		if p.GetNextOffset() < at {
			c.fail("partition %d: the cursor goes back from %d to %d", p.GetPartition(), at, p.GetNextOffset())
			return
		}
		l.put(p)
	}
	for p, o := range last {
		if l.at[p] <= o {
			c.fail("partition %d: the cursor at %d does not cover offset %d", p, l.at[p], o)
		}
	}
}

func (c *client) gap(g *streampb.Gap) {
	if len(c.state) == 0 {
		c.fail("a gap before subscribed")
		return
	}
	l := c.state[len(c.state)-1]
	p := g.GetPartition()
	if _, known := l.at[p]; !known {
		c.fail("gap %v of a partition of which the client was not told", g)
		return
	}
	// What lies between the cursor and the gap did not match; the oracle will see.
	if g.GetFrom() < l.at[p] || g.GetTo() <= g.GetFrom() {
		c.fail("gap %v, the cursor is at %d", g, l.at[p])
	}
	if gen := c.w.byStream(l.streamID); gen != nil {
		gen.mu.Lock()
		asked := gen.logs[p].asked
		gen.mu.Unlock()
		switch g.GetReason() {
		case streampb.Gap_REASON_RETENTION:
			if g.GetTo() > asked {
				c.fail("gap %v, but retention took only what lies below %d", g, asked)
			}
		case streampb.Gap_REASON_UNREADABLE: // the oracle may not have come to it yet
		default:
			c.fail("gap %v without a reason", g)
		}
	}
	l.gaps[p] = append(l.gaps[p], g)
	c.merge(g.GetCursor(), nil)
	if l.at[p] != g.GetTo() {
		c.fail("gap %v, and then the cursor is at %d", g, l.at[p])
	}
}

// caughtUp is true only if everything is covered that was there when the
// client asked.
func (c *client) caughtUp() {
	if !c.asked.answered && c.asked.again {
		return // the earlier subscription's
	}
	if c.asked.caughtUp || !c.asked.answered || len(c.state) == 0 {
		c.fail("caught_up a second time, or before subscribed")
		return
	}
	c.asked.caughtUp = true
	l := c.state[len(c.state)-1]
	if c.asked.generation.streamID != l.streamID {
		return
	}
	for p, end := range c.asked.acked {
		// A partition that the gateway does not know yet is read once it does.
		if at, ok := l.at[p]; ok && at < end {
			c.fail("caught_up at partition %d offset %d; %d was in the log before the subscribe", p, at, end)
		}
	}
}

// verify compares everything that the client holds with the oracle.
func (c *client) verify() {
	for _, check := range c.later {
		check()
	}
	for _, l := range append(c.past, c.state...) {
		g := c.w.byStream(l.streamID)
		if g == nil {
			c.fail("stream %s is no topic that there was", l.streamID)
			return
		}
		g.mu.Lock()
		for p, at := range l.at {
			if msg := g.verify(p, l, at, c.plan.Filter); msg != "" {
				g.mu.Unlock()
				c.fail("generation %d partition %d: %s", g.number, p, msg)
				g.mu.Lock()
			}
		}
		g.mu.Unlock()
	}
}

// check compares a record with what the oracle read, and returns its number.
func check(r *streampb.Record, kind string, want *logged) (uint64, error) {
	if len(r.GetHeaders()) != 1 || r.GetHeaders()[0].GetKey() != numberHeader || len(r.GetHeaders()[0].GetValue()) != 8 {
		return 0, fmt.Errorf("headers %v", r.GetHeaders())
	}
	var number uint64
	for _, b := range r.GetHeaders()[0].GetValue() {
		number = number<<8 | uint64(b)
	}
	it := makeItem(number)
	if string(r.GetKey()) != it.headers[0].thread {
		return 0, fmt.Errorf("record %d has the key %q", number, r.GetKey())
	}
	if want != nil && (want.number != number || want.timestampMs != r.GetTimestampMs()) {
		return 0, fmt.Errorf("record %d at %d, the log holds %d at %d", number, r.GetTimestampMs(), want.number, want.timestampMs)
	}
	if kind == "proto" {
		v, err := it.value()
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(r.GetValue(), v) {
			return 0, fmt.Errorf("record %d: another value than was written: %x", number, r.GetValue())
		}
		return number, nil
	}
	text := fmt.Sprint(r.GetMessage())
	switch {
	case it.garbage && (r.GetError().GetReason() != "malformed" || r.GetMessage() != nil):
		return 0, fmt.Errorf("record %d is malformed, told as %v", number, r)
	case !it.garbage && (r.GetError() != nil || r.GetMessage() == nil):
		return 0, fmt.Errorf("record %d: %v", number, r.GetError())
	case !it.garbage && !strings.Contains(text, it.headers[0].thread):
		return 0, fmt.Errorf("record %d is of another thread: %s", number, text)
	}
	return number, nil
}
