package exporter_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/exporter"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// instance is an exporter that runs.
type instance struct {
	*exporter.Exporter
	t      *testing.T
	gather prometheus.Gatherer
	stop   func() // as SIGTERM does
}

// run starts an exporter of a topic; change alters its configuration.
func run(t *testing.T, c *testkafka.Cluster, topic string, change func(*exporter.Config)) *instance {
	t.Helper()
	return runOn(t, c.Brokers(), topic, change)
}

// runOn is run on any brokers.
func runOn(t *testing.T, brokers []string, topic string, change func(*exporter.Config)) *instance {
	t.Helper()
	cfg := exporter.DefaultConfig(topic)
	cfg.Group, cfg.CommitInterval, cfg.EndsInterval = topic+"-group", 20*time.Millisecond, 50*time.Millisecond
	if change != nil {
		change(&cfg)
	}
	reg := prometheus.NewRegistry()
	e, err := exporter.New(cfg, exporter.Deps{
		Options: []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50 * time.Millisecond)}, Registerer: reg,
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(ctx); err != nil {
			t.Errorf("exporter: %v", err)
		}
	})
	i := &instance{Exporter: e, t: t, gather: e.Gatherer(reg), stop: func() { cancel(); running.Wait() }}
	t.Cleanup(i.stop)
	return i
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// value returns a metric's value, summed over its series; a histogram's is its count.
func (i *instance) value(name string, labels ...string) float64 {
	i.t.Helper()
	families, err := i.gather.Gather()
	if err != nil {
		i.t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if matches(m, labels) {
				found = true
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	if !found {
		i.t.Fatalf("there is no metric %s with labels %v", name, labels)
	}
	return sum
}

func matches(m *dto.Metric, labels []string) bool {
	have := map[string]string{}
	for _, l := range m.GetLabel() {
		have[l.GetName()] = l.GetValue()
	}
	for k := 0; k < len(labels); k += 2 {
		if have[labels[k]] != labels[k+1] {
			return false
		}
	}
	return true
}

// await polls until a metric has a value, and fails at once when it is above.
func (i *instance) await(want float64, name string, labels ...string) {
	i.t.Helper()
	testkafka.Eventually(i.t, fmt.Sprintf("%s%v is %v", name, labels, want), func(context.Context) error {
		got := i.value(name, labels...)
		if got != want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// reconciles checks that each record that was received has one outcome.
func (i *instance) reconciles() {
	i.t.Helper()
	a := i.Accounts()
	sum := a.Handled + a.PayloadMissing + a.MissingHeader + a.WrongScope
	for _, n := range a.Failed {
		sum += n
	}
	for _, n := range a.Ignored {
		sum += n
	}
	if sum != a.Received {
		i.t.Errorf("received %d, outcomes %d: %+v", a.Received, sum, a)
	}
}

func id() []byte { u := uuid.New(); return u[:] }

// event is a message of a thread.
func event(thread string, sequence uint64, kind pb.EventType) *pb.DashStreamMessage {
	return &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{
		Header: &pb.Header{
			MessageId: id(), TimestampUs: time.Now().UnixMicro(), ThreadId: thread, TenantId: "t", Sequence: sequence,
			Type: pb.MessageType_MESSAGE_TYPE_EVENT, SchemaVersion: 1,
		},
		EventType: kind,
	}}}
}

// frame encodes a message.
func frame(t *testing.T, m *pb.DashStreamMessage) []byte {
	t.Helper()
	b, err := wire.Append(nil, m, wire.DefaultMaxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// produce writes values to a partition, as they are.
func produce(t *testing.T, c *testkafka.Cluster, topic string, partition int32, values ...[]byte) {
	t.Helper()
	cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: v})
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	defer cancel()
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// awaitCommits waits until the group has committed the offsets given, by partition.
func awaitCommits(t *testing.T, c *testkafka.Cluster, topic string, want ...int64) {
	t.Helper()
	admin := c.Admin(t)
	testkafka.Eventually(t, fmt.Sprintf("offsets %v are committed", want), func(ctx context.Context) error {
		all, err := admin.FetchOffsets(ctx, topic+"-group")
		if err != nil {
			return err
		}
		for p, o := range want {
			if at, ok := all.Lookup(topic, int32(p)); !ok || at.At != o {
				return fmt.Errorf("partition %d: committed %d", p, at.At)
			}
		}
		return nil
	})
}

func events(t *testing.T, thread string, n int) [][]byte {
	t.Helper()
	var out [][]byte
	for i := range n {
		out = append(out, frame(t, event(thread, uint64(i+1), pb.EventType_EVENT_TYPE_NODE_START)))
	}
	return out
}

func TestEveryRecordHasOneOutcome(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	produce(t, c, topic, 0, events(t, "a", 3)...)
	batch := &pb.DashStreamMessage{Message: &pb.DashStreamMessage_EventBatch{EventBatch: &pb.EventBatch{
		Header: &pb.Header{MessageId: id(), TimestampUs: 1, Type: pb.MessageType_MESSAGE_TYPE_EVENT_BATCH},
		Events: []*pb.Event{event("b", 1, pb.EventType_EVENT_TYPE_LLM_START).GetEvent(), event("b", 2, pb.EventType_EVENT_TYPE_LLM_END).GetEvent()},
	}}}
	header := func() *pb.Header { return event("c", 1, 0).GetEvent().Header }
	produce(t, c, topic, 1, frame(t, batch),
		frame(t, &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Metrics{Metrics: &pb.Metrics{Header: header(), Scope: "node"}}}),
		frame(t, &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Metrics{Metrics: &pb.Metrics{Header: header(), Scope: "quality"}}}),
		[]byte{}, []byte{7, 1, 2}, []byte{0, 0xff, 0xff}, []byte{1, 2, 3}, []byte{0})
	e := run(t, c, topic, nil)
	e.await(11, "dashstream_exporter_messages_received_total")
	for _, w := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{5, "dashstream_exporter_messages_handled_total", nil},
		{1, "dashstream_exporter_messages_wrong_scope_total", nil},
		{1, "dashstream_exporter_kafka_payload_missing_total", nil},
		{1, "dashstream_exporter_messages_missing_header_total", nil},
		{1, "dashstream_exporter_messages_failed_total", []string{"error_type", "unknown_framing"}},
		{1, "dashstream_exporter_messages_failed_total", []string{"error_type", "malformed"}},
		{1, "dashstream_exporter_messages_failed_total", []string{"error_type", "decompress"}},
		{3, "dashstream_exporter_messages_failed_total", nil},
		{5, "dashstream_exporter_telemetry_messages_total", []string{"message_type", "event"}},
		{1, "dashstream_exporter_telemetry_messages_total", []string{"message_type", "metrics"}},
		{0, "dashstream_exporter_kafka_consumer_lag", nil},
	} {
		if got := e.value(w.name, w.labels...); got != w.want {
			t.Errorf("%s%v is %v, want %v", w.name, w.labels, got, w.want)
		}
	}
	e.reconciles()
	awaitCommits(t, c, topic, 3, 8)
}
