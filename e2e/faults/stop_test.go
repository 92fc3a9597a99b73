package faults

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/internal/testprocess"
)

// stopTime is how long a process stands still: beyond all deadlines of clients and of the gateway, where there is time.
func stopTime() time.Duration {
	if *fullFlag {
		return 65 * time.Second
	}
	return 3 * time.Second
}

// standStill stops a process as a debugger, a frozen container or a swapping machine does, and lets it go on.
func standStill(p *testprocess.Process, d time.Duration) {
	p.Signal(syscall.SIGSTOP)
	<-time.After(d)
	p.Signal(syscall.SIGCONT)
}

// TestStoppedProcessGoesOn stops everything, and then the gateway or the broker alone.
func TestStoppedProcessGoesOn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		// alone serves clients from a process of its own.
		alone bool
		// broker says which process stands still.
		broker bool
	}{
		{name: "up", broker: true},
		{name: "the gateway", alone: true},
		{name: "the broker of a gateway", alone: true, broker: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			up := testprocess.Up(t, t.TempDir(), smallCaches...)
			gateway := up
			if tc.alone {
				gateway = testprocess.Serve(t, []string{"KAFKA_BROKERS=" + up.Kafka}, append([]string{"gateway", "--listen", "127.0.0.1:0"}, smallCaches...)...)
			}
			stopped := gateway
			if tc.broker {
				stopped = up
			}
			clients := follow(t, gateway.URL())
			patient := startAgents(t, up.Kafka, "patient-")
			// One that gives up while the process stands still has to say so.
			hasty := startAgents(t, up.Kafka, "hasty-", dashstream.WithDeliveryTimeout(time.Second))
			witness := startWitness(t, up.Kafka)
			clients.moving("clients read before the stop")
			before := holds(t, gateway.URL())
			standStill(stopped.Process, stopTime())
			clients.moving("clients read after the stop")
			ready(t, gateway.URL())
			clients.moving("clients go on")
			patient.end()
			hasty.end()
			witness.end()
			log := witness.read(up.Kafka, nil)
			patient.account(log)
			hasty.account(log)
			once(t, log)
			if tc.broker {
				if n := hasty.producer.Stats().Total().FailedTotal(); n == 0 {
					t.Error("a producer with a delivery timeout of a second counts no failure")
				}
			}
			if c := patient.producer.Stats().Total(); c.Acked != c.Emitted {
				t.Errorf("a producer with time lost messages: %+v", c)
			}
			clients.complete(log)
			t.Logf("%d records; clients resumed %d times", log.Len(), clients.resumed())
			backTo(t, gateway.URL(), before)
		})
	}
}

// TestStoppedBrokerIsTold stops the broker of a gateway until /readyz says so.
func TestStoppedBrokerIsTold(t *testing.T) {
	t.Parallel()
	full(t, "a broker is silent for ten seconds before that is told")
	up := testprocess.Up(t, t.TempDir())
	gateway := testprocess.Serve(t, []string{"KAFKA_BROKERS=" + up.Kafka}, "gateway", "--listen", "127.0.0.1:0")
	up.Signal(syscall.SIGSTOP)
	testprocess.Eventually(t, "/readyz tells", func() error {
		code, body := get(t, gateway.URL()+"/readyz", 5*time.Second)
		if code != http.StatusServiceUnavailable || !strings.Contains(body, "kafka") || !strings.Contains(body, up.Kafka) {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code, body := get(t, gateway.URL()+"/livez", 5*time.Second); code != http.StatusOK {
		t.Errorf("/livez: %d %s", code, body)
	}
	up.Signal(syscall.SIGCONT)
	ready(t, gateway.URL())
}
