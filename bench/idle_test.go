package bench

import (
	"testing"

	"github.com/dashflow/dashstream/internal/testkafka"
)

// BenchmarkIdle holds 5,000 clients.
func BenchmarkIdle(b *testing.B) {
	const clients = 5000
	c := testkafka.Start(b, testkafka.Options{})
	topic := c.Topic(b, 3)
	s := startServer(b, "gateway", "BROKERS="+c.BrokerList(), "TOPIC="+topic)
	audience(b, s.addr, 1, latest)
	before := s.usage(b)
	for b.Loop() {
		audience(b, s.addr, clients, latest)
	}
	after := s.usage(b)
	b.ReportMetric(float64(after.Heap-before.Heap)/float64(clients*b.N)/1024, "heap+stack-KiB/client")
	b.ReportMetric(float64(after.RSS-before.RSS)/float64(clients*b.N)/1024, "RSS-KiB/client")
}
