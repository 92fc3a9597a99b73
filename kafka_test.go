package dashstream_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// record is a message as a reader finds it.
type record struct {
	partition int32
	offset    int64
	key       string
	value     []byte
	headers   map[string]string
	msg       *pb.DashStreamMessage
}

func (r record) header() *pb.Header { return wire.HeaderOf(r.msg) }

// readAll reads everything in the topic up to now, in order of each partition.
func readAll(t testing.TB, c *testkafka.Cluster, topic string) []record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	defer cancel()
	adm := c.Admin(t)
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, o := range ends[topic] {
		want += int(o.Offset)
	}
	cl := c.Client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	var out []record
	for len(out) < want {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("read %d of %d records: %v", len(out), want, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			m, err := wire.Decode(r.Value, wire.DefaultLimits())
			if err != nil {
				t.Errorf("partition %d offset %d does not decode: %v", r.Partition, r.Offset, err)
				return
			}
			headers := map[string]string{}
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			out = append(out, record{r.Partition, r.Offset, string(r.Key), r.Value, headers, m})
		})
	}
	return out
}

// newProducer returns a producer that is closed when the test ends.
func newProducer(t testing.TB, c *testkafka.Cluster, topic string, opts ...dashstream.Option) *dashstream.Producer {
	t.Helper()
	p, err := dashstream.New(append([]dashstream.Option{dashstream.WithBrokers(c.Brokers()...), dashstream.WithTopic(topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx)
	})
	return p
}

func flush(t testing.TB, p *dashstream.Producer) {
	t.Helper()
	if err := p.Flush(t.Context()); err != nil {
		t.Fatalf("flush: %v", err)
	}
}
