package aggregate

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dashflow/dashstream/internal/metrics"
)

// Reasons why a value is not observed.
const (
	reasonMissing    = "missing"
	reasonWrongType  = "wrong_type"
	reasonNotFinite  = "not_finite"
	reasonOutOfRange = "out_of_range"
)

// invalid counts values that were not observed.
type invalid struct {
	fields *prometheus.CounterVec
	// quiet counts nothing: the message was counted before.
	quiet bool
}

func newInvalid(set *metrics.Set) *invalid {
	fields := append([]string{"passed", "quality_score", "latency_ms", "retry_count", "turn_number"}, ratioNames...)
	return &invalid{fields: set.CounterVec("dashstream_exporter_invalid_values_total",
		"Values that judgements should have and that were not observed, by field and reason. The message counts as handled.",
		metrics.Label{Name: "field", Values: fields},
		metrics.Label{Name: "reason", Values: []string{reasonMissing, reasonWrongType, reasonNotFinite, reasonOutOfRange}})}
}

func (i *invalid) add(field, reason string) {
	if !i.quiet {
		i.fields.WithLabelValues(field, reason).Inc()
	}
}
