// Package metrics declares what a component shows to Prometheus. Each metric is declared once, with its labels and the
// values that they may have: closed sets are there at 0 from the start, open ones have a bound. What was declared can be
// listed, for the documentation and for checks.
package metrics

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Type is a metric's type as Prometheus calls it.
type Type string

// The types.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
)

// Label is a label of a metric.
type Label struct {
	Name string
	// Values are all that the label can have. Where every label of a metric has them, each combination is there at 0
	// from the start.
	Values []string
	// Bound is how many values a label without Values can have at most.
	Bound int
}

// Definition is a metric as it was declared.
type Definition struct {
	Component string // that shows it
	Name      string
	Type      Type
	Help      string
	Labels    []Label
	Buckets   []float64 // upper bounds of a histogram's, without +Inf
}

// Series is how many series the metric can have at most, a histogram's counted as one.
func (d Definition) Series() int {
	n := 1
	for _, l := range d.Labels {
		n *= max(len(l.Values), l.Bound)
	}
	return n
}

// Native histograms beside the classic buckets: steps of a tenth, at most so many, made coarser where they would not do.
const (
	nativeFactor   = 1.1
	nativeBuckets  = 160
	nativeMinReset = time.Hour
)

// Set is the metrics of one component. It is made while the process is built; its methods are not for concurrent use.
type Set struct {
	component string
	reg       prometheus.Registerer
	defs      []Definition
	errs      []error
}

// NewSet returns an empty set that registers with reg.
func NewSet(component string, reg prometheus.Registerer) *Set {
	return &Set{component: component, reg: reg}
}

// Err reports what was declared wrongly or twice. A component that has such metrics must not start: it would count what
// nobody can see.
func (s *Set) Err() error { return errors.Join(s.errs...) }

// Definitions lists what was declared, by name.
func (s *Set) Definitions() []Definition {
	defs := slices.Clone(s.defs)
	slices.SortFunc(defs, func(a, b Definition) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	return defs
}

// Counter declares a counter without labels.
func (s *Set) Counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	s.add(Definition{Name: name, Type: Counter, Help: help}, c)
	return c
}

// CounterVec declares a counter with labels.
func (s *Set) CounterVec(name, help string, labels ...Label) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, names(labels))
	if s.add(Definition{Name: name, Type: Counter, Help: help, Labels: labels}, v) {
		seed(labels, func(values []string) { v.WithLabelValues(values...) })
	}
	return v
}

// Gauge declares a gauge without labels.
func (s *Set) Gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	s.add(Definition{Name: name, Type: Gauge, Help: help}, g)
	return g
}

// GaugeFunc declares a gauge that is asked for its value at each scrape.
func (s *Set) GaugeFunc(name, help string, value func() float64) {
	s.add(Definition{Name: name, Type: Gauge, Help: help}, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// GaugeVec declares a gauge with labels. Only one whose labels are closed is there from the start.
func (s *Set) GaugeVec(name, help string, labels ...Label) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, names(labels))
	if s.add(Definition{Name: name, Type: Gauge, Help: help, Labels: labels}, v) {
		seed(labels, func(values []string) { v.WithLabelValues(values...) })
	}
	return v
}

// Histogram declares a histogram without labels, classic and native.
func (s *Set) Histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(histogramOpts(name, help, buckets))
	s.add(Definition{Name: name, Type: Histogram, Help: help, Buckets: buckets}, h)
	return h
}

// HistogramVec declares a histogram with labels, classic and native.
func (s *Set) HistogramVec(name, help string, buckets []float64, labels ...Label) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(histogramOpts(name, help, buckets), names(labels))
	if s.add(Definition{Name: name, Type: Histogram, Help: help, Labels: labels, Buckets: buckets}, v) {
		seed(labels, func(values []string) { v.WithLabelValues(values...) })
	}
	return v
}

func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: nativeMinReset,
	}
}

// add keeps the definition and registers the metric; false where that is not possible.
func (s *Set) add(d Definition, c prometheus.Collector) bool {
	d.Component = s.component
	for _, l := range d.Labels {
		if len(l.Values) == 0 && l.Bound <= 0 {
			s.errs = append(s.errs, fmt.Errorf("metric %s: label %s has neither values nor a bound", d.Name, l.Name))
		}
	}
	if err := s.reg.Register(c); err != nil {
		s.errs = append(s.errs, fmt.Errorf("metric %s: %w", d.Name, err))
		return false
	}
	s.defs = append(s.defs, d)
	return true
}

func names(labels []Label) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = l.Name
	}
	return out
}

// seed makes each combination of closed labels; of others there is nothing to make.
func seed(labels []Label, with func(values []string)) {
	values := make([]string, len(labels))
	var fill func(int)
	fill = func(i int) {
		if i == len(labels) {
			with(values)
			return
		}
		for _, v := range labels[i].Values {
			values[i] = v
			fill(i + 1)
		}
	}
	fill(0)
}
