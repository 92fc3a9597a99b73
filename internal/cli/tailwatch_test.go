package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// A tail whose log is not read says so, once; and ends where somebody has to add a permission.
func TestWatchReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var state atomic.Value // of errors in a box, since they are of several types
		type box struct{ err error }
		state.Store(box{})
		var notes []string
		var ended error
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			watchReading(ctx, func() error { return state.Load().(box).err },
				func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) },
				kafkaclient.Explain, func(err error) { ended = err })
		}()
		// stays lets the state hold for some looks.
		stays := func(err error) {
			state.Store(box{err})
			time.Sleep(5 * lookInterval)
			synctest.Wait()
		}
		stays(nil)
		if len(notes) != 0 || ended != nil {
			t.Fatalf("all is well, and it says %q, %v", notes, ended)
		}
		stays(errors.Join(kerr.NotEnoughReplicas, errors.New("broker 2 is silent")))
		stays(nil)
		want := []string{
			"the log cannot be read now, and is tried again: " + kafkaclient.Explain(kerr.NotEnoughReplicas).Error() + "; broker 2 is silent",
			"the log is being read again",
		}
		if !slices.Equal(notes, want) || ended != nil {
			t.Errorf("%q, %v\nwant %q", notes, ended, want)
		}
		stays(fmt.Errorf("partition 0: %w", kerr.TopicAuthorizationFailed))
		if _, ok := errors.AsType[*kafkaclient.Explained](ended); !ok || exitCode(ended) != ExitBroker {
			t.Errorf("ended with %v, exit code %d", ended, exitCode(ended))
		}
		<-done
	})
}
