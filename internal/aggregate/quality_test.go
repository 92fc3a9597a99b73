package aggregate_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/aggregate"
	"github.com/dashflow/dashstream/internal/metrics"
)

func float(f float64) *pb.MetricValue {
	return &pb.MetricValue{Value: &pb.MetricValue_FloatValue{FloatValue: f}}
}

func whole(n int64) *pb.MetricValue {
	return &pb.MetricValue{Value: &pb.MetricValue_IntValue{IntValue: n}}
}

func truth(b bool) *pb.MetricValue {
	return &pb.MetricValue{Value: &pb.MetricValue_BoolValue{BoolValue: b}}
}

func text(s string) *pb.MetricValue {
	return &pb.MetricValue{Value: &pb.MetricValue_StringValue{StringValue: s}}
}

// rig is an aggregator with its registry.
type rig struct {
	*aggregate.Aggregator
	reg *prometheus.Registry
}

func newRig(t interface{ Fatal(...any) }, cfg aggregate.Config) rig {
	reg := prometheus.NewRegistry()
	set := metrics.NewSet("exporter", reg)
	a := aggregate.New(cfg, set)
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	return rig{a, reg}
}

// judge gives a judgement of a thread to a partition.
func (r rig) judge(partition int32, thread string, values map[string]*pb.MetricValue, tags map[string]string) bool {
	m := &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Metrics{Metrics: &pb.Metrics{Header: &pb.Header{ThreadId: thread}, Scope: "quality", Metrics: values, Tags: tags}}}
	return r.Partition(partition).Message(m)
}

// shown gives the metrics that are not zero, a line each, without those of buckets.
func (r rig) shown(t interface{ Fatal(...any) }) string {
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += fmt.Sprintf("{%s=%s}", l.GetName(), l.GetValue())
			}
			if h := m.GetHistogram(); h.GetSampleCount() > 0 {
				fmt.Fprintf(&b, "%s%s n=%d sum=%g\n", f.GetName(), labels, h.GetSampleCount(), h.GetSampleSum())
			}
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
				fmt.Fprintf(&b, "%s%s %g\n", f.GetName(), labels, v)
			}
		}
	}
	return b.String()
}

func TestJudgements(t *testing.T) {
	t.Parallel()
	r := newRig(t, aggregate.DefaultConfig())
	full := map[string]*pb.MetricValue{
		"accuracy": float(0.5), "relevance": float(1), "completeness": whole(0), "quality_score": float(0.75),
		"passed": truth(true), "latency_ms": whole(1200), "retry_count": whole(2), "turn_number": whole(1),
	}
	r.judge(0, "a", full, map[string]string{"model": "openai/gpt-4o-mini-2024-07-18", "category": "complex"})
	aliases := map[string]*pb.MetricValue{
		"quality_accuracy": float(0.25), "quality_relevance": float(0.5), "quality_completeness": float(1), "quality_score": float(0.5),
		"passed": truth(false), "latency_ms": float(99.5), "retry_count": whole(0), "turn_number": whole(1),
	}
	r.judge(0, "b", aliases, map[string]string{"model": "homemade", "query_category": "Edge"})
	bad := map[string]*pb.MetricValue{
		"accuracy": float(math.NaN()), "relevance": float(math.Inf(1)), "completeness": float(-0.1), "quality_score": text("0.9"),
		"passed": whole(1), "latency_ms": whole(-5), "retry_count": float(1.5), "turn_number": whole(0),
	}
	r.judge(0, "c", bad, nil)
	r.judge(0, "d", nil, map[string]string{"category": "quite hard"})
	want := `dashstream_exporter_invalid_values_total{field=accuracy}{reason=missing} 1
dashstream_exporter_invalid_values_total{field=accuracy}{reason=not_finite} 1
dashstream_exporter_invalid_values_total{field=completeness}{reason=missing} 1
dashstream_exporter_invalid_values_total{field=completeness}{reason=out_of_range} 1
dashstream_exporter_invalid_values_total{field=latency_ms}{reason=missing} 1
dashstream_exporter_invalid_values_total{field=latency_ms}{reason=out_of_range} 1
dashstream_exporter_invalid_values_total{field=passed}{reason=missing} 1
dashstream_exporter_invalid_values_total{field=passed}{reason=wrong_type} 1
dashstream_exporter_invalid_values_total{field=quality_score}{reason=missing} 1
dashstream_exporter_invalid_values_total{field=quality_score}{reason=wrong_type} 1
dashstream_exporter_invalid_values_total{field=relevance}{reason=missing} 1
dashstream_exporter_invalid_values_total{field=relevance}{reason=not_finite} 1
dashstream_exporter_invalid_values_total{field=retry_count}{reason=missing} 1
dashstream_exporter_invalid_values_total{field=retry_count}{reason=wrong_type} 1
dashstream_exporter_invalid_values_total{field=turn_number}{reason=missing} 1
dashstream_exporter_invalid_values_total{field=turn_number}{reason=out_of_range} 1
dashstream_exporter_sessions 2
dashstream_latency_by_model_ms{model=gpt-4o} n=1 sum=1200
dashstream_latency_by_model_ms{model=other} n=1 sum=99.5
dashstream_quality_accuracy 0.25
dashstream_quality_accuracy_ratio n=2 sum=0.75
dashstream_quality_completeness 1
dashstream_quality_completeness_ratio n=2 sum=1
dashstream_quality_monitor_quality_score 0.5
dashstream_quality_monitor_queries_failed_total{category=Edge} 1
dashstream_quality_monitor_queries_passed_total 1
dashstream_quality_monitor_queries_total 4
dashstream_quality_relevance 0.5
dashstream_quality_relevance_ratio n=2 sum=1.5
dashstream_quality_retry_count{status=failed} n=1 sum=0
dashstream_quality_retry_count{status=passed} n=1 sum=2
dashstream_quality_score_by_model{model=gpt-4o} n=1 sum=0.75
dashstream_quality_score_by_model{model=other} n=1 sum=0.5
dashstream_queries_by_model_total{model=gpt-4o} 1
dashstream_queries_by_model_total{model=other} 1
dashstream_queries_by_model_total{model=unknown} 2
dashstream_query_latency_ms n=2 sum=1299.5
`
	if got := r.shown(t); got != want {
		t.Errorf("shown:\n%s\nwant:\n%s", got, want)
	}
	if problems, err := testutil.GatherAndLint(r.reg); err != nil {
		t.Error(err)
	} else {
		for _, p := range problems {
			// Names that dashboards in the field have.
			if !strings.HasSuffix(p.Metric, "_ms") {
				t.Errorf("%s: %s", p.Metric, p.Text)
			}
		}
	}
}

func TestSessionsAreObservedOnce(t *testing.T) {
	t.Parallel()
	cfg := aggregate.DefaultConfig()
	r := newRig(t, cfg)
	p := r.Partition(3)
	start := time.Unix(1000, 0)
	turn := func(thread string, n int64) {
		r.judge(3, thread, map[string]*pb.MetricValue{"turn_number": whole(n)}, nil)
	}
	p.Advance(start)
	turn("a", 1)
	turn("b", 1)
	p.Advance(start.Add(time.Minute))
	turn("a", 2)
	sessions := func(step string, n uint64, sum float64) {
		t.Helper()
		want := ""
		if n > 0 {
			want = fmt.Sprintf("dashstream_turns_by_session n=%d sum=%g\n", n, sum)
		}
		got := ""
		for line := range strings.Lines(r.shown(t)) {
			if strings.HasPrefix(line, "dashstream_turns_by_session") {
				got += line
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	p.Advance(start.Add(cfg.SessionTimeout - 1))
	sessions("before the timeout", 0, 0)
	p.Advance(start.Add(cfg.SessionTimeout))
	sessions("b is over", 1, 1)
	p.Advance(start) // back it does not go
	p.Advance(start.Add(time.Hour))
	sessions("both are over", 2, 3)
	p.Advance(start.Add(2 * time.Hour))
	sessions("later", 2, 3)
	turn("c", 7)
	r.Drop(3) // another process goes on with it
	r.Partition(3).Advance(start.Add(9 * time.Hour))
	sessions("taken away", 2, 3)
}

// TestRebuiltIsAsOne: what was counted before the partition came and is read again counts nothing, and all that follows counts
// as if one process had read it all.
func TestRebuiltIsAsOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type step struct {
			thread string
			values map[string]*pb.MetricValue
			at     time.Time
		}
		now := time.Unix(1000, 0)
		var steps []step
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "seconds")) * time.Second)
			values := map[string]*pb.MetricValue{"turn_number": whole(int64(rapid.IntRange(0, 5).Draw(t, "turn")))}
			if rapid.Bool().Draw(t, "score") {
				values["quality_score"] = float(0.5)
			}
			steps = append(steps, step{fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "thread")), values, now})
		}
		cut := rapid.IntRange(0, len(steps)).Draw(t, "cut")
		play := func(r rig, steps []step) {
			for _, s := range steps {
				r.Partition(0).Advance(s.at)
				r.judge(0, s.thread, s.values, nil)
			}
		}
		one, before, after := newRig(t, aggregate.DefaultConfig()), newRig(t, aggregate.DefaultConfig()), newRig(t, aggregate.DefaultConfig())
		play(one, steps)
		play(before, steps[:cut])
		after.Partition(0).Rebuild(true)
		play(after, steps[:cut])
		after.Partition(0).Rebuild(false)
		if got := after.shown(t); strings.Contains(got, "_total") || strings.Contains(got, " n=") {
			t.Fatalf("reading again counted:\n%s", got)
		}
		play(after, steps[cut:])
		for _, name := range []string{"dashstream_turns_by_session", "dashstream_quality_monitor_queries_total", "dashstream_quality_score_by_model"} {
			if a, b, c := total(t, before, name), total(t, after, name), total(t, one, name); a+b != c {
				t.Fatalf("%s: %v before the cut and %v after it, want %v", name, a, b, c)
			}
		}
	})
}

// total sums a metric's series; of histograms their counts.
func total(t *rapid.T, r rig, name string) float64 {
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}
