package dashstreamprom_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/dashstreamprom"
	"github.com/dashflow/dashstream/internal/testkafka"
)

type fixed dashstream.Stats

func (f fixed) Stats() dashstream.Stats { return dashstream.Stats(f) }

// The names, types and labels are an interface: dashboards and alerts use them.
func TestMetrics(t *testing.T) {
	t.Parallel()
	var s fixed
	event := &s.Types[pb.MessageType_MESSAGE_TYPE_EVENT]
	event.Emitted, event.Acked, event.InFlight = 20, 10, 3
	event.Dropped[dashstream.DropQueueFull], event.Dropped[dashstream.DropShutdown] = 2, 1
	event.Failed[dashstream.FailTimeout] = 4
	diff := &s.Types[pb.MessageType_MESSAGE_TYPE_STATE_DIFF]
	diff.Emitted, diff.Acked = 5, 5
	s.QueueMessages, s.QueueBytes, s.QueueCapacityBytes, s.SendingMessages = 2, 2000, 1<<20, 1
	s.Retries, s.CompressionFailures, s.Records, s.Batches = 7, 8, 15, 3
	s.Degraded[dashstream.DegradedTruncated] = 9
	s.Latency = dashstream.Latency{Counts: [12]uint64{0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2}, Count: 2, Sum: 0.01}
	s.Runs, s.Threads, s.EvictedThreads, s.AbandonedRuns = 1, 4, 6, 2

	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(dashstreamprom.NewCollector(s))
	want := `
# HELP dashstream_compression_failures_total Messages sent plain because compressing them failed.
# TYPE dashstream_compression_failures_total counter
dashstream_compression_failures_total 8
# HELP dashstream_messages_sent_total Messages that Kafka acknowledged.
# TYPE dashstream_messages_sent_total counter
dashstream_messages_sent_total 15
# HELP dashstream_send_failures_total Messages that Kafka did not take, or may not have taken.
# TYPE dashstream_send_failures_total counter
dashstream_send_failures_total 4
# HELP dashstream_send_retries_total Requests to Kafka that got no answer. They are tried again until the delivery timeout.
# TYPE dashstream_send_retries_total counter
dashstream_send_retries_total 7
# HELP dashstream_telemetry_queue_depth Messages that wait to be handed to the Kafka client.
# TYPE dashstream_telemetry_queue_depth gauge
dashstream_telemetry_queue_depth 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "dashstream_compression_failures_total", "dashstream_messages_sent_total",
		"dashstream_send_failures_total", "dashstream_send_retries_total", "dashstream_telemetry_queue_depth"); err != nil {
		t.Error(err)
	}
	families := gather(t, reg)
	if n := len(families); n != 21 {
		t.Errorf("%d metrics, want 21", n)
	}
	for _, q := range []struct {
		name   string
		labels string
		want   float64
	}{
		{"dashstream_telemetry_dropped_total", "event queue_full", 2},
		{"dashstream_telemetry_dropped_total", "event shutdown", 1},
		{"dashstream_telemetry_dropped_total", "checkpoint evicted", 0},
		{"dashstream_telemetry_failed_total", "event timeout", 4},
		{"dashstream_telemetry_failed_total", "metrics unknown", 0},
		{"dashstream_telemetry_emitted_total", "state_diff", 5},
		{"dashstream_telemetry_in_flight", "event", 3},
		{"dashstream_telemetry_degraded_total", "truncated", 9},
		{"dashstream_telemetry_queue_bytes", "", 2000},
		{"dashstream_telemetry_queue_capacity_bytes", "", 1 << 20},
		{"dashstream_telemetry_sending", "", 1},
		{"dashstream_records_sent_total", "", 15},
		{"dashstream_record_batches_sent_total", "", 3},
		{"dashstream_runs_open", "", 1},
		{"dashstream_runs_abandoned_total", "", 2},
		{"dashstream_threads", "", 4},
		{"dashstream_threads_evicted_total", "", 6},
	} {
		if got, ok := families[q.name][q.labels]; !ok || got != q.want {
			t.Errorf("%s{%s} is %v (%t), want %v", q.name, q.labels, got, ok, q.want)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// gather returns the value of each series by name and label values; of a histogram, its count.
func gather(t *testing.T, reg prometheus.Gatherer) map[string]map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]float64{}
	for _, f := range families {
		out[f.GetName()] = map[string]float64{}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			out[f.GetName()][strings.Join(labels, " ")] = value(m)
		}
	}
	return out
}

func value(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	default:
		return float64(m.GetHistogram().GetSampleCount())
	}
}

// PRO-08: the metrics of a producer at work add up, and move.
func TestMetricsOfAProducer(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p, err := dashstream.New(dashstream.WithBrokers(c.Brokers()...), dashstream.WithTopic(topic), dashstream.WithQueueBytes(64<<10), dashstream.WithCheckpointEvery(2))
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(dashstreamprom.NewCollector(p))
	if before := gather(t, reg); len(before["dashstream_telemetry_dropped_total"]) != 8*dashstream.DropReasonCount {
		t.Errorf("%d series of drops before the first message", len(before["dashstream_telemetry_dropped_total"]))
	}
	run := p.StartRun(t.Context(), dashstream.RunSpec{})
	for i := range 1000 {
		run.State(map[string]int{"i": i})
		run.Error(errors.New("x"), dashstream.ErrorInfo{})
		run.Edge("a", "b")
	}
	_ = p.Close(t.Context())
	m := gather(t, reg)
	for _, kind := range []string{"event", "state_diff", "token_chunk", "tool_execution", "checkpoint", "metrics", "error", "execution_trace"} {
		sum := m["dashstream_telemetry_acked_total"][kind] + m["dashstream_telemetry_in_flight"][kind]
		for labels, v := range m["dashstream_telemetry_dropped_total"] {
			if strings.HasPrefix(labels, kind+" ") {
				sum += v
			}
		}
		for labels, v := range m["dashstream_telemetry_failed_total"] {
			if strings.HasPrefix(labels, kind+" ") {
				sum += v
			}
		}
		if got := m["dashstream_telemetry_emitted_total"][kind]; got != sum {
			t.Errorf("%s: emitted %v, accounted for %v", kind, got, sum)
		}
	}
	if sent := m["dashstream_messages_sent_total"][""]; sent == 0 || sent != m["dashstream_send_latency_seconds"][""] || sent != m["dashstream_records_sent_total"][""] {
		t.Errorf("%v sent, %v latencies, %v records", sent, m["dashstream_send_latency_seconds"], m["dashstream_records_sent_total"])
	}
}

// docs/producer.md names every metric and every reason.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/producer.md")
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(dashstreamprom.NewCollector(fixed{}))
	for name := range gather(t, reg) {
		short := strings.TrimPrefix(strings.TrimPrefix(name, "dashstream"), "_telemetry")
		if !strings.Contains(string(text), "`"+name) && !strings.Contains(string(text), "`"+short+"`") {
			t.Errorf("%s is not in docs/producer.md", name)
		}
	}
	var reasons []string
	for r := range dashstream.DropReasonCount {
		reasons = append(reasons, dashstream.DropReason(r).String())
	}
	for r := range dashstream.FailReasonCount {
		reasons = append(reasons, dashstream.FailReason(r).String())
	}
	for d := range dashstream.DegradationCount {
		reasons = append(reasons, dashstream.Degradation(d).String())
	}
	for _, r := range reasons {
		if !strings.Contains(string(text), r) {
			t.Errorf("the reason %s is not in docs/producer.md", r)
		}
	}
}
