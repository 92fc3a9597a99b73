package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// Fields of a ServerFrame.
const (
	fieldHello    = 1
	fieldBatch    = 3
	fieldCaughtUp = 5
)

func frameOf(f *streampb.ServerFrame) []byte {
	body, err := proto.Marshal(f)
	if err != nil {
		panic(err) // our own message
	}
	h := []byte{0x82}
	switch n := len(body); {
	case n < 126:
		h = append(h, byte(n))
	case n < 1<<16:
		h = binary.BigEndian.AppendUint16(append(h, 126), uint16(n))
	default:
		h = binary.BigEndian.AppendUint64(append(h, 127), uint64(n))
	}
	return append(h, body...)
}

// prose is words in no order: it compresses as text does, and not as a letter that
// is repeated would.
var prose = func() string {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 2000)
	for i := range words {
		w := make([]byte, 2+random.IntN(8))
		for j := range w {
			w[j] = byte('a' + random.IntN(26))
		}
		words[i] = string(w)
	}
	var b strings.Builder
	for b.Len() < 1<<20 {
		b.WriteString(words[random.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()
}()

// value is a stored message of about size bytes that carries its time.
func value(thread string, size int) []byte {
	n := max(0, size-70)
	at := rand.IntN(len(prose) - n)
	v, err := wire.Append(nil, &dashstreampb.DashStreamMessage{Message: &dashstreampb.DashStreamMessage_TokenChunk{TokenChunk: &dashstreampb.TokenChunk{
		Header: &dashstreampb.Header{MessageId: make([]byte, 16), ThreadId: thread, TenantId: "default", Sequence: 1, TimestampUs: time.Now().UnixMicro(), Type: dashstreampb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK},
		Text:   prose[at : at+n],
	}}}, wire.MaxProducerBytes)
	if err != nil {
		panic(err) // our own message
	}
	return v
}

// batches encodes records as the gateway does: frames of about 64 KiB.
func batches(records, size int) [][]byte {
	v := value("thread", size)
	per := max(1, 64<<10/(len(v)+128))
	var out [][]byte
	for at := 0; at < records; at += per {
		batch := &streampb.Batch{Cursor: &streampb.Cursor{StreamId: "0123456789abcdef", Partitions: []*streampb.PartitionOffset{{Partition: proto.Int32(0), NextOffset: proto.Int64(int64(at + per))}}}}
		for i := at; i < min(at+per, records); i++ {
			batch.Records = append(batch.Records, &streampb.Record{Partition: proto.Int32(0), Offset: proto.Int64(int64(i)), TimestampMs: proto.Int64(time.Now().UnixMilli()), Key: []byte("thread"), Value: v})
		}
		out = append(out, frameOf(&streampb.ServerFrame{Frame: &streampb.ServerFrame_Batch{Batch: batch}}))
	}
	return out
}

// audience connects clients and returns once each has caught up.
func audience(b *testing.B, addr string, n int, sub func(i int) *streampb.Subscribe) []*subscriber {
	b.Helper()
	out := make([]*subscriber, n)
	for i := range out {
		s, err := dial(addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.conn.Close() })
		if sub != nil {
			if err := s.subscribe(sub(i)); err != nil {
				b.Fatal(err)
			}
		}
		out[i] = s
	}
	var wg sync.WaitGroup
	for i, s := range out {
		wg.Go(func() {
			if err := s.until(fieldCaughtUp); err != nil {
				b.Errorf("client %d: %v", i, err)
			}
		})
	}
	if wg.Wait(); b.Failed() {
		b.FailNow()
	}
	return out
}

// receive lets every client read until it has n records.
func receive(b *testing.B, clients []*subscriber, n func(i int) int) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			for c.records < n(i) {
				if _, err := c.next(); err != nil {
					b.Errorf("client %d after %d records: %v", i, c.records, err)
					return
				}
			}
		})
	}
	return &wg
}

func latest(int) *streampb.Subscribe { return &streampb.Subscribe{} }

// BenchmarkBurst sends 50,000 records of 300 bytes to 100 clients.
func BenchmarkBurst(b *testing.B) {
	const records, size, clients = 50_000, 300, 100
	report := func(b *testing.B, s *server, before usage, d time.Duration, rounds int) float64 {
		deliveries := float64(records * clients * rounds)
		cpu := (s.usage(b).CPU - before.CPU) / deliveries * 1e6
		b.ReportMetric(cpu, "server-CPU-s/Mdeliveries")
		b.ReportMetric(deliveries/d.Seconds()/1e6, "Mdeliveries/s")
		return cpu
	}
	var bare float64
	b.Run("bare", func(b *testing.B) {
		s := startServer(b, "bare")
		cs := audience(b, s.addr, clients, nil)
		before := s.usage(b)
		start := time.Now()
		rounds := 0
		for b.Loop() {
			rounds++
			wg := receive(b, cs, func(int) int { return records * rounds })
			s.ask(b, fmt.Sprintf("%d %d", records, size))
			wg.Wait()
		}
		bare = report(b, s, before, time.Since(start), rounds)
	})
	b.Run("gateway", func(b *testing.B) {
		c := testkafka.Start(b, testkafka.Options{})
		topic := c.Topic(b, 3)
		cl := c.Client(b, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1<<20))
		s := startServer(b, "gateway", "BROKERS="+c.BrokerList(), "TOPIC="+topic)
		cs := audience(b, s.addr, clients, latest)
		recs := make([]*kgo.Record, records)
		before := s.usage(b)
		var elapsed time.Duration
		rounds := 0
		for b.Loop() {
			rounds++
			for i := range recs {
				th := fmt.Sprintf("thread-%d", i%50)
				recs[i] = &kgo.Record{Key: []byte(th), Value: value(th, size)}
			}
			start := time.Now()
			wg := receive(b, cs, func(int) int { return records * rounds })
			if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
				b.Fatal(err)
			}
			wg.Wait()
			elapsed += time.Since(start)
		}
		cpu := report(b, s, before, elapsed, rounds)
		if bare > 0 {
			b.ReportMetric(cpu/bare, "CPU/bare")
		}
		s.reportPeak(b)
	})
}
