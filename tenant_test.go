package dashstream_test

import (
	"strings"
	"testing"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// Messages with state, which are redacted before they are compared, carried a secret in their tenant.
func TestASecretInTheTenantLeavesWithNoMessage(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithTenant("sk-ant-api03-"+needle+needle), dashstream.WithCheckpointEvery(1))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "x", InitialState: map[string]any{"a": 1}})
	run.State(map[string]any{"a": 2})
	run.End(nil)
	flush(t, p)
	records := readAll(t, c, topic)
	if len(records) < 4 {
		t.Fatalf("%d messages, want the start, a diff, a checkpoint and the end", len(records))
	}
	for _, r := range records {
		if strings.Contains(r.header().GetTenantId(), needle) {
			t.Errorf("%v carries the secret in its tenant", r.header().GetType())
		}
	}
}
