package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// lookInterval is how often a tail looks whether the log is being read, and its output too.
const lookInterval = time.Second

// watchReading tells people when the log is not being read, so that no record does not look like nothing to print, and when it
// is again. What passes by itself is waited for; a permission that is missing, which somebody has to add, goes to failed.
// It returns when ctx ends or it has called failed.
func watchReading(ctx context.Context, ready func() error, note func(string, ...any), explain func(error) error, failed func(error)) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := ready()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && told:
			note("the log is being read again")
			told = false
		case err == nil:
		case kafkaclient.Classify(err) == kafkaclient.ClassAuthorization:
			failed(explain(err))
			return
		case !told:
			note("the log cannot be read now, and is tried again: %s", strings.ReplaceAll(explain(err).Error(), "\n", "; "))
			told = true
		}
	}
}

// watchOutput calls failed when nobody reads the output any more, as after head has
// what it wants: a tail of a quiet log would stay for ever, since only its next
// write would tell. It returns when ctx ends or it has called failed.
func watchOutput(ctx context.Context, out io.Writer, failed func(error)) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if outputGone(out) {
			failed(writing(io.ErrClosedPipe))
			return
		}
	}
}
