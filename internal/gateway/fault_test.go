package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// A panic while a segment was encoded left an empty frame behind: every later
// session was told that nothing matched, and passed the records by.
func TestAPanicInTheEncoderCostsNobodyRecords(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	s := start(t, c, topic, nil)
	var left atomic.Int64
	left.Store(3)
	gateway.BreakEncoder(s.g, func() bool { return left.Add(-1) >= 0 })
	fill(t, c, topic, 1, 20)

	for _, protocol := range []string{"dashstream.v1+proto", "dashstream.v1+json"} {
		w := testclient.Dial(t, s.URL, protocol, nil)
		w.Subscribe(testclient.Earliest(), nil)
		if got := websocket.CloseStatus(w.End()); got != 4004 {
			t.Errorf("%s: the session ended with %d, want 4004", protocol, got)
		}
		if len(w.Records) > 0 || w.Positions[0] != 0 {
			t.Errorf("%s: %d records and position %d before the fault", protocol, len(w.Records), w.Positions[0])
		}
	}
	if err := testclient.SSE(t, s.URL, "?from=earliest", "").End(); err == nil || !strings.Contains(err.Error(), "4004") {
		t.Errorf("the event stream ended with %v, want a close event with 4004", err)
	}
	if n := value(t, s.reg, "websocket_session_panics_total"); n != 3 {
		t.Errorf("%v faults were counted, want 3", n)
	}
	for _, protocol := range []string{"dashstream.v1+proto", "dashstream.v1+json"} {
		again := testclient.Dial(t, s.URL, protocol, nil)
		again.Subscribe(testclient.Earliest(), nil)
		again.Until("all", func() bool { return again.CaughtUp == 1 })
		again.Complete(20)
	}
	testkafka.Eventually(t, "the broken sessions are gone", func(context.Context) error {
		if n := value(t, s.reg, "websocket_connected_clients"); n != 2 {
			return fmt.Errorf("%v clients are connected, want 2", n)
		}
		return nil
	})
}
