package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// delays are the times from produce to client of some clients' records.
type delays struct {
	mu  sync.Mutex
	all []time.Duration
}

// watch times what a client gets from now on.
func (d *delays) watch(s *subscriber) {
	s.onRecord = func(v []byte) {
		p, err := wire.Peek(v, wire.DefaultLimits())
		if err != nil {
			return
		}
		took := time.Since(time.UnixMicro(p.TimestampUS))
		d.mu.Lock()
		d.all = append(d.all, took)
		d.mu.Unlock()
	}
}

// percentile returns one of what was seen, in milliseconds, and -1 where nothing was.
func (d *delays) percentile(p int) float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.all) == 0 {
		return -1
	}
	slices.Sort(d.all)
	return float64(d.all[(len(d.all)-1)*p/100].Microseconds()) / 1000
}

func (d *delays) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = nil
}

// produceSteadily writes n records, rate of them a second.
func produceSteadily(cl *kgo.Client, n, rate int, thread func(i int) string) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for i := range n {
		<-tick.C
		th := thread(i)
		cl.Produce(context.Background(), &kgo.Record{Key: []byte(th), Value: value(th, 300)}, nil)
	}
}

func oneOf(threads int) func(int) string {
	return func(i int) string { return fmt.Sprintf("thread-%d", i%threads) }
}

// BenchmarkSteady sends 200 records a second to 1,000 clients. The bare loop writes
// each record to each socket as it comes.
func BenchmarkSteady(b *testing.B) {
	const rate, clients, seconds = 200, 1000, 5
	perMillion := func(s *server, before usage, rounds int) float64 {
		return (s.usage(b).CPU - before.CPU) / float64(rate*seconds*clients*rounds) * 1e6
	}
	var bare float64
	b.Run("bare", func(b *testing.B) {
		s := startServer(b, "bare")
		cs := audience(b, s.addr, clients, nil)
		before := s.usage(b)
		rounds := 0
		for b.Loop() {
			rounds++
			wg := receive(b, cs, func(int) int { return rate * seconds * rounds })
			tick := time.NewTicker(time.Second / rate)
			for range rate * seconds {
				<-tick.C
				s.ask(b, "1 300")
			}
			tick.Stop()
			wg.Wait()
		}
		bare = perMillion(s, before, rounds)
		b.ReportMetric(bare, "server-CPU-s/Mdeliveries")
	})
	b.Run("gateway", func(b *testing.B) {
		c := testkafka.Start(b, testkafka.Options{})
		topic := c.Topic(b, 3)
		cl := c.Client(b, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
		s := startServer(b, "gateway", "BROKERS="+c.BrokerList(), "TOPIC="+topic)
		cs := audience(b, s.addr, clients, latest)
		var seen delays
		for i, x := range cs {
			if i%10 == 0 { // one in ten is timed, all are counted
				seen.watch(x)
			}
		}
		before := s.usage(b)
		rounds := 0
		for b.Loop() {
			rounds++
			wg := receive(b, cs, func(int) int { return rate * seconds * rounds })
			produceSteadily(cl, rate*seconds, rate, oneOf(50))
			wg.Wait()
		}
		cpu := perMillion(s, before, rounds)
		b.ReportMetric(seen.percentile(99), "p99-ms")
		b.ReportMetric(seen.percentile(50), "p50-ms")
		b.ReportMetric(cpu, "server-CPU-s/Mdeliveries")
		if bare > 0 {
			b.ReportMetric(cpu/bare, "CPU/bare")
		}
		s.reportPeak(b)
	})
}

// BenchmarkThreads sends 2,000 records a second of 1,000 threads: to clients that
// each follow one of them, and to one client that follows all. Both get as many
// records; a gateway that looked at every client for every record would pay a
// thousand times more for the first.
func BenchmarkThreads(b *testing.B) {
	const rate, threads, seconds = 2000, 1000, 5
	run := func(clients int, sub func(i int) *streampb.Subscribe, gets int) func(b *testing.B) {
		return func(b *testing.B) {
			c := testkafka.Start(b, testkafka.Options{})
			topic := c.Topic(b, 3)
			cl := c.Client(b, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
			s := startServer(b, "gateway", "BROKERS="+c.BrokerList(), "TOPIC="+topic)
			cs := audience(b, s.addr, clients, sub)
			var seen delays
			for _, x := range cs {
				seen.watch(x)
			}
			before := s.usage(b)
			rounds := 0
			for b.Loop() {
				rounds++
				wg := receive(b, cs, func(int) int { return gets * rounds })
				produceSteadily(cl, rate*seconds, rate, oneOf(threads))
				wg.Wait()
			}
			cpu := s.usage(b).CPU - before.CPU
			b.ReportMetric(seen.percentile(99), "p99-ms")
			b.ReportMetric(cpu/float64(clients*gets*rounds)*1e6, "server-CPU-s/Mdeliveries")
			b.ReportMetric(cpu/float64(rate*seconds*rounds)*1e6, "server-CPU-s/Mrecords")
			s.reportPeak(b)
		}
	}
	one := func(i int) *streampb.Subscribe {
		return &streampb.Subscribe{Filter: &streampb.Filter{Threads: []string{fmt.Sprintf("thread-%d", i)}}}
	}
	b.Run("clients=1000/each-a-thread", run(threads, one, rate*seconds/threads))
	b.Run("clients=100/each-a-thread", run(100, one, rate*seconds/threads))
	b.Run("clients=1/all", run(1, latest, rate*seconds))
}
