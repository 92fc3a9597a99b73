// Package dashstreamprom shows a producer's accounts to Prometheus. It is apart from package dashstream, so that a program
// without Prometheus does not carry it.
//
//	prometheus.MustRegister(dashstreamprom.NewCollector(producer))
//
// Every scrape is one snapshot: at each, for every message_type,
//
//	emitted = acked + sum by reason of dropped + sum by reason of failed + in_flight
//
// Counts are logical messages: an event in a batch is one. Labels come from closed sets, and all combinations are there
// from the start.
package dashstreamprom

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
)

// Source is what is shown: a [dashstream.Producer].
type Source interface {
	Stats() dashstream.Stats
}

// NewCollector returns a collector of one producer. For several in one registry, wrap their registerers with a label each
// (prometheus.WrapRegistererWith).
func NewCollector(s Source) prometheus.Collector { return collector{s} }

type collector struct{ source Source }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("dashstream_"+name, help, labels, nil)
}

var (
	sent        = desc("messages_sent_total", "Messages that Kafka acknowledged.")
	failures    = desc("send_failures_total", "Messages that Kafka did not take, or may not have taken.")
	retries     = desc("send_retries_total", "Requests to Kafka that got no answer. They are tried again until the delivery timeout.")
	droppedDesc = desc("telemetry_dropped_total", "Messages given up without being sent.", "message_type", "reason")
	queueDepth  = desc("telemetry_queue_depth", "Messages that wait to be handed to the Kafka client.")
	compression = desc("compression_failures_total", "Messages sent plain because compressing them failed.")

	emitted       = desc("telemetry_emitted_total", "Messages that the program emitted, whatever became of them.", "message_type")
	acked         = desc("telemetry_acked_total", "Messages that Kafka acknowledged.", "message_type")
	failedDesc    = desc("telemetry_failed_total", "Messages that Kafka did not take; with the reason unknown, it may have.", "message_type", "reason")
	inFlight      = desc("telemetry_in_flight", "Messages without an outcome yet: in the queue or with the Kafka client.", "message_type")
	queueBytes    = desc("telemetry_queue_bytes", "Memory of the messages in the queue, in bytes.")
	queueCapacity = desc("telemetry_queue_capacity_bytes", "Limit of telemetry_queue_bytes.")
	sending       = desc("telemetry_sending", "Messages that the Kafka client has.")
	degraded      = desc("telemetry_degraded_total", "Times that content was less than the program gave, in a message that was sent all the same.", "reason")
	records       = desc("records_sent_total", "Kafka records acknowledged.")
	batches       = desc("record_batches_sent_total", "Kafka record batches acknowledged. Records per batch is the ratio to records_sent_total.")
	latency       = desc("send_latency_seconds", "Time from handing a message to the Kafka client to its acknowledgement. Messages that fail are not in it.")
	runs          = desc("runs_open", "Runs that have begun and not ended.")
	abandoned     = desc("runs_abandoned_total", "Runs that were ended because nobody else did.")
	threads       = desc("threads", "Threads whose sequences are remembered.")
	evicted       = desc("threads_evicted_total", "Idle threads that were forgotten. One that comes back counts from 1 again, under a new epoch.")
)

var all = []*prometheus.Desc{
	sent, failures, retries, droppedDesc, queueDepth, compression, emitted, acked, failedDesc, inFlight, queueBytes, queueCapacity,
	sending, degraded, records, batches, latency, runs, abandoned, threads, evicted,
}

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.source.Stats()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	total := s.Total()
	count(sent, total.Acked)
	count(failures, total.FailedTotal())
	count(retries, s.Retries)
	count(compression, s.CompressionFailures)
	count(records, s.Records)
	count(batches, s.Batches)
	count(abandoned, s.AbandonedRuns)
	count(evicted, s.EvictedThreads)
	gauge(queueDepth, s.QueueMessages)
	gauge(queueBytes, s.QueueBytes)
	gauge(queueCapacity, s.QueueCapacityBytes)
	gauge(sending, s.SendingMessages)
	gauge(runs, s.Runs)
	gauge(threads, s.Threads)
	for _, kind := range dashstream.MessageTypes() {
		label, n := typeLabel(kind), s.Types[kind]
		count(emitted, n.Emitted, label)
		count(acked, n.Acked, label)
		gauge(inFlight, int(n.InFlight), label)
		for r := range dashstream.DropReasonCount {
			count(droppedDesc, n.Dropped[r], label, dashstream.DropReason(r).String())
		}
		for r := range dashstream.FailReasonCount {
			count(failedDesc, n.Failed[r], label, dashstream.FailReason(r).String())
		}
	}
	for d := range dashstream.DegradationCount {
		count(degraded, s.Degraded[d], dashstream.Degradation(d).String())
	}
	buckets := map[float64]uint64{}
	for i, bound := range dashstream.LatencyBounds() {
		buckets[bound] = s.Latency.Counts[i]
	}
	ch <- prometheus.MustNewConstHistogram(latency, s.Latency.Count, s.Latency.Sum, buckets)
}

func typeLabel(kind pb.MessageType) string {
	return strings.ToLower(strings.TrimPrefix(kind.String(), "MESSAGE_TYPE_"))
}
