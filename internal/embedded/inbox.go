package embedded

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// kfake makes room for a request when it has read how large that will be. Four bytes are then worth 100 MiB, so a large
// request is gathered here as it comes, and kfake hears of it when it is whole. What all connections hold is bounded until
// kfake has it in its queue, which is short and shrinks by itself.
const (
	maxPromisedBytes = 64 << 10  // larger requests are gathered
	maxChunkBytes    = 1 << 20   // by which a request grows
	maxGatheredBytes = 128 << 20 // of all connections; one may be above it
)

// memory is what the requests of all connections take. When it is full, one connection goes on and the others wait: were
// all to wait for each other, none would ever be whole.
type memory struct {
	limit int64

	mu    sync.Mutex
	used  int64
	above *conn         // the one that may pass the limit
	freed chan struct{} // closed and replaced when some is given back
}

func newMemory(limit int64) *memory { return &memory{limit: limit, freed: make(chan struct{})} }

var errMemory = errors.New("the requests of other clients take all memory that is for them")

// take waits until a connection may hold n bytes more.
func (m *memory) take(c *conn, n int64, until time.Time) error {
	var timeout <-chan time.Time
	for {
		m.mu.Lock()
		select {
		case <-c.gone:
			m.mu.Unlock()
			return net.ErrClosed
		default:
		}
		if m.used+n > m.limit && m.above == nil {
			m.above = c
		}
		if m.used+n <= m.limit || m.above == c {
			m.used += n
			c.held += n
			m.mu.Unlock()
			return nil
		}
		freed := m.freed
		m.mu.Unlock()
		if timeout == nil {
			timer := time.NewTimer(time.Until(until))
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-freed:
		case <-c.gone:
		case <-timeout:
			return fmt.Errorf("%w, %d bytes", errMemory, m.limit)
		}
	}
}

// release gives back all that a connection holds.
func (m *memory) release(c *conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.held == 0 {
		return
	}
	m.used -= c.held
	c.held = 0
	if m.above == c {
		m.above = nil
	}
	close(m.freed)
	m.freed = make(chan struct{})
}

// gather reads the rest of a request whose size is known.
func (c *conn) gather() error {
	for size := maxPromisedBytes; c.have > 0; size = min(2*size, maxChunkBytes) {
		chunk := make([]byte, min(size, c.rest))
		if err := c.l.memory.take(c, int64(len(chunk)), c.due); err != nil {
			if errors.Is(err, errMemory) {
				c.l.refusals.Warn("drop connection to the Kafka port", "client", c.RemoteAddr().String(), "error", err)
			}
			c.Close()
			return err
		}
		for have := 0; have < len(chunk); {
			n, err := c.receive(chunk[have:])
			have += n
			if err != nil && have < len(chunk) {
				return err
			}
		}
		c.gathered = append(c.gathered, chunk)
	}
	return nil
}

// handOver copies what was gathered, and lets go of it.
func (c *conn) handOver(p []byte) int {
	n := copy(p, c.gathered[0])
	if c.gathered[0] = c.gathered[0][n:]; len(c.gathered[0]) == 0 {
		c.gathered[0] = nil
		c.gathered = c.gathered[1:]
	}
	return n
}
