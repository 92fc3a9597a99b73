package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// cleanups undoes, in reverse order, what was made. Each is registered where
// the thing is made, so that a constructor that fails half-way leaves nothing.
type cleanups struct {
	steps []cleanup
}

type cleanup struct {
	name string
	fn   func(context.Context) error
}

func (c *cleanups) add(name string, fn func(context.Context) error) {
	c.steps = append(c.steps, cleanup{name, fn})
}

// run runs every step, whatever the others return, and forgets them.
func (c *cleanups) run(ctx context.Context) error {
	var errs []error
	for _, s := range slices.Backward(c.steps) {
		if err := s.fn(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
		}
	}
	c.steps = nil
	return errors.Join(errs...)
}
