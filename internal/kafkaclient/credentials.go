package kafkaclient

import (
	"context"
	"time"
)

const (
	// credentialsTimeout bounds one request to an endpoint that gives credentials.
	credentialsTimeout = 10 * time.Second
	// maxCredentialsBody bounds the answer of such an endpoint.
	maxCredentialsBody = 64 << 10
	// credentialsMargin is how long before their end fetched credentials are replaced, so that a session that begins
	// with them does not end at once. Short-lived ones are replaced at half of their life.
	credentialsMargin = time.Minute
)

// fetched is something obtained from an endpoint, with the end of its validity; zero is unknown and is not kept.
type fetched[T any] struct {
	value   T
	expires time.Time
}

// cache keeps fetched credentials for all connections of a client: each opens several, and each authenticates. One fetch
// runs at a time, and a caller waits for it no longer than its context.
type cache[T any] struct {
	fetch func(context.Context) (fetched[T], error)
	now   func() time.Time

	turn  chan struct{} // holds one token; whoever has it may use the fields below
	kept  fetched[T]
	until time.Time
}

func newCache[T any](fetch func(context.Context) (fetched[T], error)) *cache[T] {
	c := &cache[T]{fetch: fetch, now: time.Now, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

func (c *cache[T]) get(ctx context.Context) (T, error) {
	var zero T
	select {
	case <-c.turn:
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
	defer func() { c.turn <- struct{}{} }()
	begun := c.now()
	if begun.Before(c.until) {
		return c.kept.value, nil
	}
	got, err := c.fetch(ctx)
	if err != nil {
		return zero, err
	}
	c.kept, c.until = got, time.Time{}
	if life := got.expires.Sub(begun); !got.expires.IsZero() && life > 0 {
		c.until = got.expires.Add(-min(credentialsMargin, life/2))
	}
	return got.value, nil
}
