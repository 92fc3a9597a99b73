package attack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testlog"
	"github.com/dashflow/dashstream/internal/testprocess"
	"github.com/dashflow/dashstream/internal/wire"
)

const topic = "dashstream-quality"

// value is a stored message.
func value(t testing.TB, thread string, seq int, text string) []byte {
	t.Helper()
	b, err := wire.Append(nil, &dashstreampb.DashStreamMessage{Message: &dashstreampb.DashStreamMessage_TokenChunk{TokenChunk: &dashstreampb.TokenChunk{
		Header: &dashstreampb.Header{MessageId: make([]byte, 16), ThreadId: thread, TenantId: "tenant", Sequence: uint64(seq), TimestampUs: time.Now().UnixMicro(), Type: dashstreampb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK},
		Text:   text,
	}}}, wire.MaxProducerBytes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// calm is a client that behaves, and the records that it is sent all the time.
type calm struct {
	t      *testing.T
	server *testprocess.Server
	client *testclient.Client
	kafka  *kgo.Client
	stop   context.CancelFunc
	done   sync.WaitGroup
	seen   chan struct{} // a record came

	mu     sync.Mutex
	delays []time.Duration // from producer to client
}

func startCalm(t *testing.T, s *testprocess.Server) *calm {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Kafka), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	c := &calm{t: t, server: s, kafka: cl, stop: stop, client: testclient.Dial(t, s.URL(), "dashstream.v1+proto", nil), seen: make(chan struct{}, 1)}
	t.Cleanup(func() {
		stop()
		c.done.Wait()
		cl.Close()
	})
	c.put(20_000, strings.Repeat("x", 300))
	c.client.Subscribe(testclient.Earliest(), nil)
	c.client.Until("the beginning", func() bool { return c.client.CaughtUp == 1 })
	c.done.Go(func() { c.produce(ctx) })
	c.done.Go(func() { c.read(ctx) })
	return c
}

// put writes records, in many threads.
func (c *calm) put(n int, text string) {
	c.t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		thread := fmt.Sprint("thread-", i%50)
		records[i] = &kgo.Record{Key: []byte(thread), Value: value(c.t, thread, i+1, text)}
	}
	if err := c.kafka.ProduceSync(c.t.Context(), records...).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

// produce writes 200 records a second.
func (c *calm) produce(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 1; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.kafka.Produce(context.WithoutCancel(ctx), &kgo.Record{Key: []byte("calm"), Value: value(c.t, "calm", i, "tick")}, func(_ *kgo.Record, err error) {
			if err != nil {
				c.t.Errorf("record %d was not written: %v", i, err)
			}
		})
	}
}

func (c *calm) read(ctx context.Context) {
	for ctx.Err() == nil {
		before := len(c.client.Records)
		if err := c.client.Step(ctx); err != nil {
			if ctx.Err() == nil {
				c.t.Errorf("the session of the client that behaves ended: %v", err)
			}
			return
		}
		now := time.Now()
		c.mu.Lock()
		for _, r := range c.client.Records[before:] {
			if string(r.GetKey()) == "calm" {
				c.delays = append(c.delays, now.Sub(time.UnixMilli(r.GetTimestampMs())))
			}
		}
		c.mu.Unlock()
		select {
		case c.seen <- struct{}{}:
		default:
		}
	}
}

// delay is how late records came, in milliseconds of Kafka's clock.
type delay struct{ median, p99 time.Duration }

func (d delay) String() string {
	return fmt.Sprintf("%v/%v", d.median.Round(time.Millisecond), d.p99.Round(time.Millisecond))
}

// during returns the delays of the records that come while fn runs, of 100 at least.
func (c *calm) during(fn func()) delay {
	c.t.Helper()
	c.mu.Lock()
	c.delays = nil
	c.mu.Unlock()
	fn()
	deadline := time.After(testprocess.Patience)
	for {
		c.mu.Lock()
		list := slices.Clone(c.delays)
		c.mu.Unlock()
		if n := len(list); n >= 100 {
			slices.Sort(list)
			return delay{list[n/2], list[n*99/100]}
		}
		select {
		case <-c.seen:
		case <-deadline:
			c.t.Fatal("the client that behaves gets nothing any more")
		}
	}
}

// settle ends it, and holds what the client got to the log.
func (c *calm) settle() {
	c.t.Helper()
	c.stop()
	c.done.Wait()
	if err := c.kafka.Flush(context.WithoutCancel(c.t.Context())); err != nil {
		c.t.Fatal(err)
	}
	log := testlog.ReadValues(c.t, c.server.Kafka, topic)
	again := testclient.Dial(c.t, c.server.URL(), "dashstream.v1+proto", nil)
	records := c.client.Records
	again.Subscribe(c.client.Resume(), nil)
	again.Until("the rest", func() bool { return again.CaughtUp == 1 })
	records = append(records, again.Records...)
	testclient.Complete(c.t, records, log.Counts()...)
	for _, r := range records {
		if want := log.At(r.GetPartition(), r.GetOffset()).Value; string(r.GetValue()) != want {
			c.t.Fatalf("partition %d, record %d: %.60q, want %.60q", r.GetPartition(), r.GetOffset(), r.GetValue(), want)
		}
	}
	c.t.Logf("%d records, each once, as they were stored", len(records))
}
