package dashstream

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A connection that ends before its first answer is taken by the client for a
// broker that wants TLS or SASL. If it carried the record, nobody knows whether
// that is in the log, and the account must not say that it was refused.
func TestOutcomeOfAConnectionThatEndedEarly(t *testing.T) {
	t.Parallel()
	p := &Producer{hooks: &hooks{}}
	it := &item{}
	if got := p.outcomeOf(it, &kgo.ErrFirstReadEOF{}); FailReason(got.reason) != FailUnauthorized {
		t.Errorf("nothing was written: %v, want %v", FailReason(got.reason), FailUnauthorized)
	}
	p.hooks.writes.Add(1)
	if got := p.outcomeOf(it, &kgo.ErrFirstReadEOF{}); FailReason(got.reason) != FailUnknown {
		t.Errorf("the record may be in the log: %v, want %v", FailReason(got.reason), FailUnknown)
	}
}
