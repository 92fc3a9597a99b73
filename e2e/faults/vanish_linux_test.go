package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testprocess"
)

// TestPeersThatVanish: clients of each kind whose power or network goes, so that no packet of theirs ever says so, are given
// up: WebSockets because they answer no ping, event streams because nothing is acknowledged.
func TestPeersThatVanish(t *testing.T) {
	t.Parallel()
	full(t, "a client may say nothing for forty seconds, and acknowledge nothing for a minute")
	s := testprocess.Up(t, t.TempDir(), smallCaches...)
	startAgents(t, s.Kafka, "agent-")
	clients := follow(t, s.URL())
	clients.moving("clients read")
	before := holds(t, s.URL())
	for range 5 {
		for _, query := range []string{"?from=earliest", "?thread=none"} { // with traffic, and idle
			ws, sse := connect(t, s.HTTP), connect(t, s.HTTP)
			request(t, ws, "/ws"+query, upgrade, http.StatusSwitchingProtocols)
			request(t, sse, "/v1/stream"+query, "", http.StatusOK)
			testclient.Vanish(t, ws)
			testclient.Vanish(t, sse)
		}
	}
	soon(t, testprocess.Patience, "all are served", sessions(t, s.URL(), 23))
	began := time.Now()
	soon(t, 3*time.Minute, "all are given up", sessions(t, s.URL(), 3))
	t.Logf("all were given up after %v", time.Since(began).Round(time.Second))
	clients.moving("clients that are there are served")
	backTo(t, s.URL(), before)
}
