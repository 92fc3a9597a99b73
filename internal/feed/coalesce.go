package feed

import (
	"context"
	"sync"
)

// coalesced runs fn for many callers at once. Unlike a single flight, a caller
// never gets the result of a run that had begun before its call: what it learns
// is at least as new as its question.
type coalesced[T any] struct {
	fn func() (T, error)

	mu      sync.Mutex
	running bool
	next    *result[T]
	wg      sync.WaitGroup
}

type result[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func (c *coalesced[T]) do(ctx context.Context) (T, error) {
	c.mu.Lock()
	if c.next == nil {
		c.next = &result[T]{done: make(chan struct{})}
	}
	r := c.next
	if !c.running {
		c.running = true
		c.wg.Go(c.run)
	}
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

func (c *coalesced[T]) run() {
	for {
		c.mu.Lock()
		r := c.next
		c.next = nil
		if r == nil {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		r.value, r.err = c.fn()
		close(r.done)
	}
}

// wait returns when no run is under way.
func (c *coalesced[T]) wait() { c.wg.Wait() }
