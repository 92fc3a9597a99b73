package faults

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/testprocess"
)

// TestDescriptorsAreUsedUp floods the program, which may have few open files, with connections to each of its ports.
func TestDescriptorsAreUsedUp(t *testing.T) {
	t.Parallel()
	const files, flood = 128, 300
	for _, port := range []string{"HTTP", "Kafka"} {
		t.Run(port, func(t *testing.T) {
			t.Parallel()
			s := testprocess.Command{
				Under: []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, files), "sh"},
				Args:  append(testprocess.UpArgs(t.TempDir()), smallCaches...),
			}.Serve(t)
			agents, witness, clients := startAgents(t, s.Kafka, "agent-"), startWitness(t, s.Kafka), follow(t, s.URL())
			clients.moving("clients read")
			// One who may change topics is connected, as the others are.
			cl, err := kgo.NewClient(kgo.SeedBrokers(s.Kafka))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			admin := kadm.NewClient(cl)
			if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "before"); err != nil {
				t.Fatal(err)
			}
			before, atStart := holds(t, s.URL()), s.Errs.String()
			resumed := clients.resumed()
			addr := s.HTTP
			if port == "Kafka" {
				addr = s.Kafka
			}
			var conns []net.Conn
			for range flood {
				conns = append(conns, connect(t, addr))
			}
			// New connections are refused, with the reason, or wait.
			if port == "HTTP" {
				refused := 0
				for _, c := range conns {
					if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
						t.Fatal(err)
					}
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						continue
					}
					text, err := io.ReadAll(resp.Body)
					if err != nil || resp.StatusCode != http.StatusTooManyRequests || !strings.Contains(string(text), "ulimit -n") {
						t.Fatalf("%s %s (%v)", resp.Status, text, err)
					}
					refused++
				}
				if refused == 0 {
					t.Error("nobody was told that there are too many connections")
				}
			}
			// Those who were there are served, and the broker writes.
			for range 3 {
				acked := witness.count()
				clients.moving("clients are served in the flood")
				testprocess.Eventually(t, "the broker writes in the flood", func() error {
					if witness.count() == acked {
						return fmt.Errorf("%d acknowledged", acked)
					}
					return nil
				})
			}
			// It is asked about its health, and opens files, as a new segment would.
			ready(t, s.URL())
			if _, err := admin.CreateTopic(t.Context(), 5, 1, nil, "flooded"); err != nil {
				t.Errorf("the broker cannot open files in the flood: %v", err)
			}
			ready(t, s.URL())
			if n := clients.resumed(); n != resumed {
				t.Errorf("%d clients lost their session in the flood", n-resumed)
			}
			// Once, or a few times, and not for each connection.
			if n := strings.Count(strings.TrimPrefix(s.Errs.String(), atStart), "ulimit -n"); n < 1 || n > 10 {
				t.Errorf("its log names the setting %d times:\n%s", n, s.Errs)
			}
			for _, c := range conns {
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			}
			ready(t, s.URL())
			clients.moving("clients are served after the flood")
			backTo(t, s.URL(), before)
			// The log takes segments, indexes and clients as before.
			if c := agents.end(); c.Acked != c.Emitted {
				t.Errorf("the SDK lost messages: %+v", c)
			}
			witness.end()
			log := witness.read(s.Kafka, nil)
			agents.account(log)
			once(t, log)
			clients.complete(log)
			if code := s.Stop(); code != 0 {
				t.Errorf("up ended with %d", code)
			}
		})
	}
}
