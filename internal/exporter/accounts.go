package exporter

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/deadletter"
	"github.com/dashflow/dashstream/internal/metrics"
	"github.com/dashflow/dashstream/internal/wire"
)

// tally is a counter whose value can be read, so that /readyz shows the same number.
type tally struct {
	shown prometheus.Counter
	n     uint64
}

func (t *tally) add(n uint64) {
	t.n += n
	t.shown.Add(float64(n))
}

// Outcomes of a record beside those of [wire.Reason]; each record that is received has exactly one.
const (
	// reasonUnreadable: the broker sends a batch that cannot be read.
	reasonUnreadable wire.Reason = "unreadable_batch"
)

// ignoredRedelivered is the reason for which a record is ignored that this process counted before.
const ignoredRedelivered = "redelivered"

// Reasons why offsets were passed without a record.
const (
	lostRetention = "retention"
	lostTruncated = "truncated"
	lostAbsent    = "absent"
)

// accounts hold what became of each record.
type accounts struct {
	received, handled, payloadMissing, missingHeader, wrongScope tally

	failed  map[wire.Reason]*tally
	ignored map[string]*tally

	lost        *prometheus.CounterVec
	kafkaErrors prometheus.Counter
	storeErrors prometheus.Counter
	rebalances  *prometheus.CounterVec
	messages    map[pb.MessageType]prometheus.Counter
	lastEvent   prometheus.Gauge
	clockSkew   prometheus.Counter
	lag         prometheus.Observer
	newest      int64 // of lastEvent, in microseconds
	commits     prometheus.Counter

	historic       prometheus.Counter
	letters        map[wire.Reason]prometheus.Counter
	letterFailures *prometheus.CounterVec
	lettersLost    *prometheus.CounterVec
}

// failureReasons are the outcomes of records that cannot be handled, but for those that have a metric of their own.
func failureReasons() []wire.Reason {
	out := []wire.Reason{reasonUnreadable}
	for _, r := range wire.Reasons() {
		if r != wire.ReasonEmpty && r != wire.ReasonMissingHeader {
			out = append(out, r)
		}
	}
	return out
}

// lagBounds reach from a live stream to a day's backlog, in seconds.
func lagBounds() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600}
}

func newAccounts(set *metrics.Set) *accounts {
	a := &accounts{failed: map[wire.Reason]*tally{}, ignored: map[string]*tally{}}
	plain := func(t *tally, name, help string) { t.shown = set.Counter("dashstream_exporter_"+name, help) }
	plain(&a.received, "messages_received_total", "Records taken from Kafka. At each scrape it is the sum of messages_handled, messages_failed, kafka_payload_missing, messages_missing_header, messages_wrong_scope and messages_ignored.")
	plain(&a.handled, "messages_handled_total", "Records whose messages were counted in the metrics that they concern.")
	plain(&a.payloadMissing, "kafka_payload_missing_total", "Records without a value.")
	plain(&a.missingHeader, "messages_missing_header_total", "Records whose message, or an event of it, has no header.")
	plain(&a.wrongScope, "messages_wrong_scope_total", "Records with metrics of a scope other than quality, which are not shown.")
	var reasons []string
	for _, r := range failureReasons() {
		reasons = append(reasons, string(r))
	}
	failed := set.CounterVec("dashstream_exporter_messages_failed_total", "Records that cannot be decoded, by reason.", metrics.Label{Name: "error_type", Values: reasons})
	for _, r := range failureReasons() {
		a.failed[r] = &tally{shown: failed.WithLabelValues(string(r))}
	}
	kinds := []string{ignoredRedelivered}
	ignored := set.CounterVec("dashstream_exporter_messages_ignored_total", "Records that this process counted before: a partition was taken from it and came back.", metrics.Label{Name: "reason", Values: kinds})
	for _, k := range kinds {
		a.ignored[k] = &tally{shown: ignored.WithLabelValues(k)}
	}
	a.lost = set.CounterVec("dashstream_exporter_offsets_lost_total", "Offsets that were passed without a record, by reason: retention removed them before they were read, the log was cut, or the broker has nothing there.",
		metrics.Label{Name: "reason", Values: []string{lostRetention, lostTruncated, lostAbsent}})
	a.kafkaErrors = set.Counter("dashstream_exporter_kafka_consumer_errors_total", "Failures of reading from Kafka or of the group. They are retried.")
	a.storeErrors = set.Counter("dashstream_exporter_offset_store_errors_total", "Commits that Kafka refused or did not answer. What was handled since the last good one is read again after a crash.")
	a.commits = set.Counter("dashstream_exporter_commits_total", "Commits that Kafka acknowledged.")
	a.rebalances = set.CounterVec("dashstream_exporter_partitions_moved_total", "Partitions that the group gave to this process or took from it; lost are those that were taken before it could commit.",
		metrics.Label{Name: "change", Values: []string{"assigned", "revoked", "lost"}})
	a.messages = countMessages(set)
	a.lastEvent = set.Gauge("dashstream_exporter_last_event_timestamp_seconds", "Newest producer time of a handled message, in seconds since the Unix epoch; 0 before the first. Times after the exporter's own are left out.")
	a.clockSkew = set.Counter("dashstream_exporter_clock_skew_events_total", "Messages whose producer time lies after the exporter's.")
	a.lag = set.Histogram("dashstream_exporter_processing_lag_seconds", "Time from a record's Kafka timestamp to its handling. Records whose timestamp lies after the exporter's time are left out.", lagBounds())
	a.historic = set.Counter("dashstream_exporter_messages_failed_old_total", "Of the records that cannot be handled, those that were in the log before the group first came to it. They are counted and kept like the others, and are no reason to page anyone.")
	a.declareLetters(set)
	set.Gauge("dashstream_exporter_process_start_time_seconds", "When the exporter started, in seconds since the Unix epoch.").Set(float64(time.Now().UnixMicro()) / 1e6)
	return a
}

// countMessages has a counter for each type that a message can have: a batch is its events.
func countMessages(set *metrics.Set) map[pb.MessageType]prometheus.Counter {
	var types []pb.MessageType
	var names []string
	for n := range pb.MessageType_name {
		if t := pb.MessageType(n); t != pb.MessageType_MESSAGE_TYPE_UNSPECIFIED && t != pb.MessageType_MESSAGE_TYPE_EVENT_BATCH {
			types, names = append(types, t), append(names, wire.TypeName(t))
		}
	}
	vec := set.CounterVec("dashstream_exporter_telemetry_messages_total", "Messages in handled records, by type; each event of a batch is one.", metrics.Label{Name: "message_type", Values: names})
	out := map[pb.MessageType]prometheus.Counter{}
	for i, t := range types {
		out[t] = vec.WithLabelValues(names[i])
	}
	return out
}

func (a *accounts) declareLetters(set *metrics.Set) {
	all := append(failureReasons(), wire.ReasonEmpty, wire.ReasonMissingHeader)
	var reasons, failures []string
	for _, r := range all {
		reasons = append(reasons, string(r))
	}
	for _, f := range deadletter.Failures() {
		failures = append(failures, string(f))
	}
	sends := set.CounterVec("dashstream_exporter_dlq_sends_total", "Dead letters that were written, by the reason of the record.", metrics.Label{Name: "error_type", Values: reasons})
	a.letters = map[wire.Reason]prometheus.Counter{}
	for i, r := range all {
		a.letters[r] = sends.WithLabelValues(reasons[i])
	}
	a.letterFailures = set.CounterVec("dashstream_exporter_dlq_send_failures_total", "Dead letters that could not be written. In the mode fail_closed they are sent again.", metrics.Label{Name: "reason", Values: failures})
	a.lettersLost = set.CounterVec("dashstream_exporter_dlq_lost_total", "Dead letters that were given up: the record was passed, and this is all that is left of it.", metrics.Label{Name: "reason", Values: failures})
}

// bad counts a record that cannot be handled.
func (a *accounts) bad(reason wire.Reason) {
	switch reason {
	case wire.ReasonEmpty:
		a.payloadMissing.add(1)
	case wire.ReasonMissingHeader:
		a.missingHeader.add(1)
	default:
		t, ok := a.failed[reason]
		if !ok {
			t = a.failed[wire.ReasonOther]
		}
		t.add(1)
	}
}

// event notes the producer time of a message.
func (a *accounts) event(timestampUS int64, now time.Time) {
	switch {
	case timestampUS <= 0 || timestampUS <= a.newest:
	case timestampUS > now.UnixMicro():
		a.clockSkew.Inc()
	default:
		a.newest = timestampUS
		a.lastEvent.Set(float64(timestampUS) / 1e6)
	}
}

// handledAt notes how long after its Kafka timestamp a record was handled.
func (a *accounts) handledAt(timestamp, now time.Time) {
	if d := now.Sub(timestamp); d >= 0 && timestamp.UnixMilli() > 0 && d < math.MaxInt64 {
		a.lag.Observe(d.Seconds())
	}
}

// Accounts is what became of the records that were received, each of them in exactly one.
type Accounts struct {
	Received       uint64            `json:"received"`
	Handled        uint64            `json:"handled"`
	Failed         map[string]uint64 `json:"failed"`
	PayloadMissing uint64            `json:"payload_missing"`
	MissingHeader  uint64            `json:"missing_header"`
	WrongScope     uint64            `json:"wrong_scope"`
	Ignored        map[string]uint64 `json:"ignored"`
}

func (a *accounts) snapshot() Accounts {
	out := Accounts{
		Received: a.received.n, Handled: a.handled.n, PayloadMissing: a.payloadMissing.n, MissingHeader: a.missingHeader.n, WrongScope: a.wrongScope.n,
		Failed: map[string]uint64{}, Ignored: map[string]uint64{},
	}
	for r, t := range a.failed {
		out.Failed[string(r)] = t.n
	}
	for r, t := range a.ignored {
		out.Ignored[r] = t.n
	}
	return out
}
