package feed_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever a session or a reader starts has ended when its test has.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
