package embedded_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/embedded"
)

// BenchmarkAdmitBatch looks at a batch of 1000 records of 1 kB. Without compression nothing may be allocated for a record.
func BenchmarkAdmitBatch(b *testing.B) {
	var records []byte
	for i := range 1000 {
		records = append(records, recordOf(i, 0, strings.Repeat("telemetry ", 100))...)
	}
	for _, bc := range []struct {
		name string
		raw  []byte
	}{
		{"none", batchOf(records, 1000, nil)},
		{"zstd", batchOf(compressed(records, 0, nil), 1000, zstdCodec)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.SetBytes(int64(len(records)))
			b.ReportAllocs()
			for b.Loop() {
				if err := embedded.AdmitBatch(bc.raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkProduce writes records of 1 kB through a client.
func BenchmarkProduce(b *testing.B) {
	for _, bc := range []struct {
		name  string
		codec kgo.CompressionCodec
	}{{"none", kgo.NoCompression()}, {"snappy", kgo.SnappyCompression()}, {"zstd", kgo.ZstdCompression()}} {
		b.Run(bc.name, func(b *testing.B) {
			br, err := embedded.Start(b.Context(), embedded.Options{DataDir: b.TempDir(), Listen: "127.0.0.1:0"})
			if err != nil {
				b.Fatal(err)
			}
			defer br.Close(b.Context())
			cl, err := kgo.NewClient(kgo.SeedBrokers(br.Addr()), kgo.ProducerBatchCompression(bc.codec), kgo.DefaultProduceTopic("topic"))
			if err != nil {
				b.Fatal(err)
			}
			defer cl.Close()
			if _, err := kadm.NewClient(cl).CreateTopic(b.Context(), 1, 1, nil, "topic"); err != nil {
				b.Fatal(err)
			}
			value := []byte(strings.Repeat("telemetry ", 100))
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				cl.Produce(b.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
					if err != nil {
						b.Error(err)
					}
				})
			}
			if err := cl.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
