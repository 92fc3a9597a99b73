package bench

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// accounts is of the agent's producer.
var accounts = func() (acknowledged, lost uint64) { return 0, 0 }

// serveAgent is a program that emits events: for each command "EVENTS RATE" it
// emits so many, RATE a second, and waits until each has an outcome.
func serveAgent(commands <-chan string) (string, error) {
	p, err := dashstream.New(dashstream.WithBrokers(os.Getenv("BROKERS")), dashstream.WithTopic(os.Getenv("TOPIC")))
	if err != nil {
		return "", err
	}
	if err := p.Ready(context.Background()); err != nil {
		return "", err
	}
	accounts = func() (acknowledged, lost uint64) {
		t := p.Stats().Total()
		return t.Acked, t.DroppedTotal() + t.FailedTotal()
	}
	go func() {
		for cmd := range commands {
			var events, rate int
			if _, err := fmt.Sscan(cmd, &events, &rate); err != nil {
				continue
			}
			emit(p, events, rate)
		}
	}()
	return "emitting", nil
}

// emit spreads events over 50 runs. An agent's program is woken by timers and
// answers, so they come some at a time.
func emit(p *dashstream.Producer, events, rate int) {
	runs := make([]*dashstream.Run, 50)
	for i := range runs {
		runs[i] = p.StartRun(context.Background(), dashstream.RunSpec{ThreadID: fmt.Sprintf("thread-%d", i)})
	}
	began := time.Now()
	for done := 0; done < events; {
		due := min(events, int(time.Since(began).Seconds()*float64(rate)))
		for ; done < due; done++ {
			runs[done%len(runs)].Event(dashstreampb.EventType_EVENT_TYPE_EDGE_TRAVERSAL, "plan")
		}
		time.Sleep(time.Millisecond)
	}
	for _, r := range runs {
		r.End(nil)
	}
	_ = p.Flush(context.Background()) // what it did not reach is in the accounts
}

// BenchmarkProduce emits 200,000 events a second on one core, with all that it takes
// to get them acknowledged.
func BenchmarkProduce(b *testing.B) {
	const rate, seconds = 200_000, 5
	c := testkafka.Start(b, testkafka.Options{})
	topic := c.Topic(b, 3)
	s := startServer(b, "agent", "BROKERS="+c.BrokerList(), "TOPIC="+topic, "GOMAXPROCS=1")
	before := s.usage(b)
	var elapsed time.Duration
	for b.Loop() {
		began := time.Now()
		s.ask(b, fmt.Sprintf("%d %d", rate*seconds, rate))
		s.ask(b, "and") // taken once the first is done
		elapsed += time.Since(began)
	}
	after := s.usage(b)
	b.ReportMetric(float64(after.Acked-before.Acked)/elapsed.Seconds(), "events/s")
	b.ReportMetric(float64(after.Lost), "lost")
	b.ReportMetric((after.CPU-before.CPU)/float64(after.Acked-before.Acked)*1e6, "CPU-s/Mevents")
	s.reportPeak(b)
}
