package aggregate

import (
	"math"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/metrics"
	"github.com/dashflow/dashstream/internal/pricing"
)

// qualityScope is the scope of messages that judge an answer.
const qualityScope = "quality"

// Categories of questions.
const categoryUnknown = "Unknown"

var categories = []string{"Simple", "Medium", "Complex", "Edge", categoryUnknown}

// Whether an answer passed.
const (
	statusPassed  = "passed"
	statusFailed  = "failed"
	statusUnknown = "unknown"
)

// quality holds the metrics of judgements.
type quality struct {
	queries, passed prometheus.Counter
	failed          map[string]prometheus.Counter // by category
	lastScore       prometheus.Gauge
	latency         prometheus.Histogram
	retries         map[string]prometheus.Observer // by status
	// last and ratios are by metric: accuracy, relevance, completeness.
	last         map[string]prometheus.Gauge
	ratios       map[string]prometheus.Histogram
	scores       map[string]prometheus.Observer // by model
	modelQueries map[string]prometheus.Counter
	modelLatency map[string]prometheus.Observer
	invalid      *invalid
}

// ratioNames are the parts of a judgement.
var ratioNames = []string{"accuracy", "relevance", "completeness"}

func newQuality(cfg Config, set *metrics.Set, inv *invalid) *quality {
	q := &quality{
		invalid: inv,
		queries: set.Counter("dashstream_quality_monitor_queries_total", "Judgements of answers: Metrics messages of scope quality."),
		passed:  set.Counter("dashstream_quality_monitor_queries_passed_total", "Judgements that say that the answer passed."),
		failed:  map[string]prometheus.Counter{}, retries: map[string]prometheus.Observer{}, last: map[string]prometheus.Gauge{}, ratios: map[string]prometheus.Histogram{},
		scores: map[string]prometheus.Observer{}, modelQueries: map[string]prometheus.Counter{}, modelLatency: map[string]prometheus.Observer{},
	}
	failed := set.CounterVec("dashstream_quality_monitor_queries_failed_total", "Judgements that say that the answer did not pass, by the category of the question.", metrics.Label{Name: "category", Values: categories})
	for _, c := range categories {
		q.failed[c] = failed.WithLabelValues(c)
	}
	q.lastScore = set.Gauge("dashstream_quality_monitor_quality_score", "The last quality_score, 0 to 1; NaN before the first. For panels of old: dashstream_quality_score_by_model has them all.")
	q.latency = set.Histogram("dashstream_query_latency_ms", "Time to answer, in milliseconds, as judgements say.", cfg.Buckets.LatencyMS)
	q.lastScore.Set(math.NaN())
	statuses := []string{statusPassed, statusFailed, statusUnknown}
	retries := set.HistogramVec("dashstream_quality_retry_count", "Retries that an answer took, by whether it passed.", cfg.Buckets.Retries, metrics.Label{Name: "status", Values: statuses})
	for _, s := range statuses {
		q.retries[s] = retries.WithLabelValues(s)
	}
	for _, name := range ratioNames {
		q.last[name] = set.Gauge("dashstream_quality_"+name, "The last "+name+", 0 to 1; NaN before the first. For panels of old: dashstream_quality_"+name+"_ratio has them all.")
		q.last[name].Set(math.NaN())
		q.ratios[name] = set.Histogram("dashstream_quality_"+name+"_ratio", "What judgements say of "+name+", 0 to 1.", cfg.Buckets.QualityScore)
	}
	model := metrics.Label{Name: "model", Values: pricing.Families()}
	scores := set.HistogramVec("dashstream_quality_score_by_model", "What judgements say as a whole, 0 to 1, by the family of the model.", cfg.Buckets.QualityScore, model)
	queries := set.CounterVec("dashstream_queries_by_model_total", "Judgements, by the family of the model.", model)
	latency := set.HistogramVec("dashstream_latency_by_model_ms", "Time to answer, in milliseconds, by the family of the model.", cfg.Buckets.LatencyMS, model)
	for _, f := range pricing.Families() {
		q.scores[f], q.modelQueries[f], q.modelLatency[f] = scores.WithLabelValues(f), queries.WithLabelValues(f), latency.WithLabelValues(f)
	}
	return q
}

// judgement counts a message.
func (q *quality) judgement(m *pb.Metrics) {
	model := pricing.Family(m.GetTags()["model"])
	category := categoryOf(m)
	q.queries.Inc()
	q.modelQueries[model].Inc()

	status := statusUnknown
	switch v, ok := m.GetMetrics()["passed"]; {
	case !ok:
		q.invalid.add("passed", reasonMissing)
	default:
		b, isBool := v.GetValue().(*pb.MetricValue_BoolValue)
		switch {
		case !isBool:
			q.invalid.add("passed", reasonWrongType)
		case b.BoolValue:
			status = statusPassed
			q.passed.Inc()
		default:
			status = statusFailed
			q.failed[category].Inc()
		}
	}
	for _, name := range ratioNames {
		if v, ok := q.number(m, name, 0, 1, "quality_"+name); ok {
			q.last[name].Set(v)
			q.ratios[name].Observe(v)
		}
	}
	if v, ok := q.number(m, "quality_score", 0, 1); ok {
		q.lastScore.Set(v)
		q.scores[model].Observe(v)
	}
	if v, ok := q.number(m, "latency_ms", 0, maxLatencyMS); ok {
		q.latency.Observe(v)
		q.modelLatency[model].Observe(v)
	}
	if v, ok := q.whole(m, "retry_count", 0); ok {
		q.retries[status].Observe(v)
	}
}

// maxLatencyMS is the longest latency that is believed: ten years.
const maxLatencyMS = 10 * 365 * 24 * 3600 * 1000

// number returns a value, under its name or an alias, within bounds that are included. One that cannot be used is counted.
func (q *quality) number(m *pb.Metrics, name string, least, most float64, aliases ...string) (float64, bool) {
	v, ok := m.GetMetrics()[name]
	for _, a := range aliases {
		if !ok {
			v, ok = m.GetMetrics()[a]
		}
	}
	if !ok {
		q.invalid.add(name, reasonMissing)
		return 0, false
	}
	var f float64
	switch w := v.GetValue().(type) {
	case *pb.MetricValue_FloatValue:
		f = w.FloatValue
	case *pb.MetricValue_IntValue:
		f = float64(w.IntValue)
	default:
		q.invalid.add(name, reasonWrongType)
		return 0, false
	}
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		q.invalid.add(name, reasonNotFinite)
		return 0, false
	case f < least || f > most:
		q.invalid.add(name, reasonOutOfRange)
		return 0, false
	}
	return f, true
}

// whole is number for counts.
func (q *quality) whole(m *pb.Metrics, name string, least float64) (float64, bool) {
	f, ok := q.number(m, name, least, math.MaxInt32)
	if ok && f != math.Trunc(f) {
		q.invalid.add(name, reasonWrongType)
		return 0, false
	}
	return f, ok
}

// categoryOf reads the category of a question, under its name or its aliases, in any case.
func categoryOf(m *pb.Metrics) string {
	for _, tag := range []string{"category", "query_category", "complexity"} {
		if text, ok := m.GetTags()[tag]; ok {
			for _, c := range categories {
				if strings.EqualFold(text, c) {
					return c
				}
			}
			return categoryUnknown
		}
	}
	return categoryUnknown
}
