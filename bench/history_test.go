package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

const backlog = 1_000_000

// fill writes a backlog of records of 300 bytes to a topic of three partitions.
func fill(b *testing.B, c *testkafka.Cluster, topic string) {
	b.Helper()
	cl := c.Client(b, kgo.DefaultProduceTopic(topic))
	recs := make([]*kgo.Record, backlog/50)
	for range 50 {
		for i := range recs {
			th := fmt.Sprintf("thread-%d", i%50)
			recs[i] = &kgo.Record{Key: []byte(th), Value: value(th, 300)}
		}
		if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
}

func earliest(int) *streampb.Subscribe {
	return &streampb.Subscribe{Start: &streampb.Start{From: &streampb.Start_Earliest{Earliest: true}}}
}

// BenchmarkBacklog reads 1,000,000 records of backlog into one client.
func BenchmarkBacklog(b *testing.B) {
	c := testkafka.Start(b, testkafka.Options{})
	topic := c.Topic(b, 3)
	fill(b, c, topic)
	var elapsed time.Duration
	for b.Loop() {
		s := startServer(b, "gateway", "BROKERS="+c.BrokerList(), "TOPIC="+topic)
		x, err := dial(s.addr)
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := x.subscribe(earliest(0)); err != nil {
			b.Fatal(err)
		}
		if err := x.until(fieldCaughtUp); err != nil {
			b.Fatal(err)
		}
		elapsed += time.Since(start)
		if x.records != backlog {
			b.Fatalf("%d records, want %d", x.records, backlog)
		}
		_ = x.conn.Close()
		s.reportPeak(b)
	}
	b.ReportMetric(backlog*float64(b.N)/elapsed.Seconds(), "records/s")
}

// BenchmarkResume has 200 clients come back at once from 200 different points of
// 1,000,000 records, while 50 live clients get 200 records a second.
func BenchmarkResume(b *testing.B) {
	const returning, live, rate = 200, 50, 200
	c := testkafka.Start(b, testkafka.Options{})
	topic := c.Topic(b, 3)
	fill(b, c, topic)
	once := readOnce(b, c, topic)
	cl := c.Client(b, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
	for b.Loop() {
		s := startServer(b, "gateway", "BROKERS="+c.BrokerList(), "TOPIC="+topic)
		var seen delays
		for _, x := range audience(b, s.addr, live, latest) {
			seen.watch(x)
			go func() {
				for {
					if _, err := x.next(); err != nil {
						return // the benchmark closed it
					}
				}
			}()
		}
		produceSteadily(cl, rate*3, rate, oneOf(50))
		calm := seen.percentile(99)
		seen.forget()

		var producer sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		producer.Go(func() {
			for ctx.Err() == nil {
				produceSteadily(cl, rate/20, rate, oneOf(50))
			}
		})
		crowd := startServer(b, "crowd")
		before, began := s.usage(b), time.Now()
		crowd.ask(b, fmt.Sprintf("%s %d", s.addr, returning))
		if answer := crowd.ask(b, "and"); answer != "ok\n" { // taken once the first is done
			b.Fatal(answer)
		}
		took, after := time.Since(began), s.usage(b)
		cancel()
		producer.Wait()
		const delivered = float64(backlog) * (returning + 1) / 2
		b.ReportMetric(delivered/took.Seconds()/1e6, "Mdeliveries/s")
		b.ReportMetric((after.CPU-before.CPU)/delivered*1e6, "server-CPU-s/Mdeliveries")
		b.ReportMetric(float64(after.Fetched-before.Fetched)/once, "reads-of-the-backlog")
		b.ReportMetric(calm, "live-p99-ms-before")
		b.ReportMetric(seen.percentile(99), "live-p99-ms-meanwhile")
		s.reportPeak(b)
	}
}

// readOnce returns how many bytes one client of a gateway of its own has Kafka
// send.
func readOnce(b *testing.B, c *testkafka.Cluster, topic string) float64 {
	b.Helper()
	s := startServer(b, "gateway", "BROKERS="+c.BrokerList(), "TOPIC="+topic)
	before := s.usage(b)
	audience(b, s.addr, 1, earliest)
	return float64(s.usage(b).Fetched - before.Fetched)
}
