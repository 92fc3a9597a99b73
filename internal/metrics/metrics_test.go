package metrics_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dashflow/dashstream/internal/metrics"
)

func TestClosedLabelsAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	set := metrics.NewSet("part", reg)
	set.CounterVec("calls_total", "Calls.", metrics.Label{Name: "outcome", Values: []string{"ok", "error"}}, metrics.Label{Name: "kind", Values: []string{"a", "b"}})
	open := set.CounterVec("nodes_total", "Nodes.", metrics.Label{Name: "outcome", Values: []string{"ok"}}, metrics.Label{Name: "node", Bound: 7})
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{kind="a",outcome="error"} 0
calls_total{kind="a",outcome="ok"} 0
calls_total{kind="b",outcome="error"} 0
calls_total{kind="b",outcome="ok"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(open); n != 0 {
		t.Errorf("a label with a bound has %d series before anything was counted", n)
	}
	defs := set.Definitions()
	if len(defs) != 2 || defs[0].Name != "calls_total" || defs[0].Series() != 4 || defs[1].Series() != 7 || defs[1].Component != "part" {
		t.Errorf("declared: %+v", defs)
	}
}

func TestWrongDeclarationsAreErrors(t *testing.T) {
	t.Parallel()
	for name, declare := range map[string]func(*metrics.Set){
		"twice": func(s *metrics.Set) { s.Counter("a_total", "A."); s.Counter("a_total", "A.") },
		"other labels": func(s *metrics.Set) {
			s.Counter("a_total", "A.")
			s.CounterVec("a_total", "A.", metrics.Label{Name: "x", Bound: 1})
		},
		"without bound": func(s *metrics.Set) { s.CounterVec("a_total", "A.", metrics.Label{Name: "x"}) },
		"bad name":      func(s *metrics.Set) { s.Gauge("", "A.") },
	} {
		set := metrics.NewSet("part", prometheus.NewRegistry())
		declare(set)
		if set.Err() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestHistogramsAreClassicAndNative(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	h := metrics.NewSet("part", reg).Histogram("seconds", "S.", []float64{1, 2})
	h.Observe(1.5)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := families[0].GetMetric()[0].GetHistogram()
	if len(got.GetBucket()) != 2 || got.GetBucket()[1].GetCumulativeCount() != 1 {
		t.Errorf("classic buckets: %v", got.GetBucket())
	}
	if got.GetSchema() != 3 || len(got.GetPositiveSpan()) == 0 {
		t.Errorf("native: schema %d, spans %v", got.GetSchema(), got.GetPositiveSpan())
	}
}
