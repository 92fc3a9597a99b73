package gateway

import (
	"runtime"
	"time"
)

// catchUp lets few sessions at a time write old records: hundreds would otherwise
// stand in line for the processors before each record for clients that have the old
// ones.
type catchUp struct{ slots chan *catchUpSlot }

// catchUpSlot is a session's turn. It is never used for longer than catchUpStretch
// without a rest: a processor that always has something to run looks for what came
// from the network every 10 ms only, and live records come from there.
type catchUpSlot struct{ used time.Duration }

const (
	catchUpStretch = 2 * time.Millisecond
	catchUpRest    = 200 * time.Microsecond
)

func newCatchUp() *catchUp {
	n := runtime.GOMAXPROCS(0)
	c := &catchUp{slots: make(chan *catchUpSlot, n)}
	for range n {
		c.slots <- new(catchUpSlot)
	}
	return c
}

// do runs fn, which must not wait, when it is the caller's turn.
func (c *catchUp) do(fn func()) {
	slot := <-c.slots
	began := time.Now()
	defer func() {
		if slot.used += time.Since(began); slot.used < catchUpStretch {
			c.slots <- slot
			return
		}
		slot.used = 0
		time.AfterFunc(catchUpRest, func() { c.slots <- slot })
	}()
	fn()
}

// inTurn gathers frames and writes them: what takes no waiting in turn, the rest as
// the client takes it. It returns false after it ended the session.
func (s *session) inTurn(out *outbox, gather func()) bool {
	written := false
	s.hub.catchUp.do(func() {
		gather()
		written = out.size == 0 || s.try != nil && s.writeNow(out)
	})
	return written || s.write(out.bufs)
}
