package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

func TestAClientThatAnswersNoPingIsCutOff(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), func(cfg *gateway.Config) { cfg.PingInterval = 300 * time.Millisecond })
	// A library that does not read answers no ping.
	testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	live := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	live.Subscribe(nil, nil)
	go func() { _ = live.End() }()
	testkafka.Eventually(t, "one client is left", func(context.Context) error {
		if n := value(t, s.reg, "websocket_connected_clients"); n != 1 {
			return fmt.Errorf("%v are connected", n)
		}
		return nil
	})
}

// A client that reads slowly answers a ping late: what was sent before lies ahead
// of it. It was cut off although it took everything.
func TestASlowReaderIsNotTakenForADeadOne(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	const records = 8000
	var all []*kgo.Record
	for range records {
		all = append(all, &kgo.Record{Topic: topic, Value: []byte("\x07" + strings.Repeat("z", 1000))})
	}
	produce(t, c, all...)
	s := start(t, c, topic, func(cfg *gateway.Config) { cfg.PingInterval = 300 * time.Millisecond })
	slow := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
	slow.Subscribe(testclient.Earliest(), nil)
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	slow.Until("all", func() bool {
		<-tick.C
		return len(slow.Records) == records && slow.CaughtUp == 1
	})
}
