package app

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A start on a full disk ended where the broker closed the connection on which its
// topics were asked for.
func TestTheTopicsAreAskedForAgainWhileTheBrokerSettles(t *testing.T) {
	t.Parallel()
	hangsUp := fmt.Errorf("describe topics: %w", &kgo.ErrFirstReadEOF{})
	for name, tc := range map[string]struct {
		err   error
		fails int // how often, -1: always
		want  error
	}{
		"it hangs up":          {hangsUp, 3, nil},
		"it cannot store":      {kerr.KafkaStorageError, 3, nil},
		"it never serves":      {hangsUp, -1, hangsUp},
		"it will never permit": {kerr.InvalidTopicException, -1, kerr.InvalidTopicException},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), prepareTimeout)
				defer cancel()
				began, times := time.Now(), 0
				err := whileItSettles(ctx, func() error {
					if times++; tc.fails < 0 || times <= tc.fails {
						return tc.err
					}
					return nil
				})
				if !errors.Is(err, tc.want) {
					t.Errorf("ended with %v, want %v", err, tc.want)
				}
				if errors.Is(tc.want, kerr.InvalidTopicException) != (times == 1) || time.Since(began) > prepareTimeout {
					t.Errorf("asked %d times in %v", times, time.Since(began))
				}
			})
		})
	}
}
