package gateway

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/wire"
)

// metrics is what the gateway exports. Names that existing dashboards use are
// kept.
type metrics struct {
	messages       *prometheus.CounterVec
	decodeErrors   *prometheus.CounterVec
	payloadMissing prometheus.Counter
	infraErrors    prometheus.Counter
	errorsByType   *prometheus.CounterVec
	historyReads   prometheus.Counter
	e2e            prometheus.Observer
	clockSkew      prometheus.Counter
	sendFailed     prometheus.Counter
	sendTimeouts   prometheus.Counter
	slow           prometheus.Counter
	rejected       *prometheus.CounterVec
	controlOversized,
	controlFailures,
	controlFlood,
	subscribeWaits prometheus.Counter
	gaps          *prometheus.CounterVec
	gapMessages   *prometheus.CounterVec
	clients       prometheus.Gauge
	bytesSent     prometheus.Counter
	framesSent    [3]prometheus.Counter
	sessionPanics prometheus.Counter
	recordFaults  prometheus.Counter
	largeTimeouts prometheus.Counter

	messagesSent prometheus.Counter
	// replays holds the metrics of subscriptions by where they begin.
	replays map[string]*replayMetrics

	lastMessage, lastInfraError timestamp
}

// replayMetrics is about the subscriptions with one kind of start, until they
// have caught up.
type replayMetrics struct {
	requests, messages prometheus.Counter
	latency            prometheus.Observer
}

// newMetrics registers the gateway's metrics, every label value at 0.
func newMetrics(reg prometheus.Registerer, started time.Time) *metrics {
	with := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := with.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	var reasons []string
	for _, r := range wire.Reasons() {
		reasons = append(reasons, string(r))
	}
	var classes []string
	for _, c := range kafkaclient.Classes() {
		classes = append(classes, string(c))
	}
	m := &metrics{
		messages:         vec("websocket_kafka_messages_total", "Records read from Kafka into the hot tail, by whether their header could be read. Reads of older records for clients that resume do not count.", "status", "success", "error", "old_data_error"),
		decodeErrors:     vec("websocket_decode_errors_total", "Records whose header could not be read, by reason. They are passed on to clients all the same.", "error_type", reasons...),
		payloadMissing:   counter("websocket_kafka_payload_missing_total", "Records without a value."),
		infraErrors:      counter("websocket_infrastructure_errors_total", "Failed requests to Kafka, of whole brokers or of single partitions."),
		errorsByType:     vec("websocket_kafka_errors_by_type_total", "Failed requests to Kafka by class.", "error_type", classes...),
		historyReads:     counter("websocket_kafka_history_reads_total", "Reads of older records from Kafka, shared by the clients that resume."),
		clockSkew:        counter("websocket_clock_skew_events_total", "Records whose producer time lies after the gateway's, left out of websocket_e2e_latency_ms."),
		sendFailed:       counter("websocket_send_failed_total", "Sessions that ended because a write failed."),
		sendTimeouts:     counter("websocket_send_timeout_total", "Writes that a client did not take within the send timeout."),
		slow:             counter("websocket_slow_client_disconnects_total", "Sessions ended because the client's system took too little within the send timeout. They resume without loss."),
		rejected:         vec("websocket_rejected_connections_total", "Connections refused before a session began, by reason.", "reason", append(httpserve.Refusals(), "connections", "connections_per_ip", "unauthorized", "token_unknown", "origin", "not_ready", "stopping", "handshake")...),
		controlOversized: counter("websocket_control_oversized_total", "Client frames above the size limit, refused before they were read."),
		controlFailures:  counter("websocket_control_parse_failures_total", "Client frames and requests that were not valid."),
		controlFlood:     counter("websocket_control_flood_total", "Sessions ended because the client sent more frames a second than allowed."),
		subscribeWaits:   counter("websocket_subscribe_waits_total", "Subscriptions that had to wait, since their address had begun many."),
		gaps:             vec("websocket_replay_gaps_total", "Gaps announced to clients, by reason.", "mode", feed.GapRetention.String(), feed.GapUnreadable.String()),
		gapMessages:      vec("websocket_replay_gap_messages_total", "Offsets in gaps announced to clients, by reason.", "mode", feed.GapRetention.String(), feed.GapUnreadable.String()),
		clients:          with.NewGauge(prometheus.GaugeOpts{Name: "websocket_connected_clients", Help: "Sessions now, WebSocket and server-sent events."}),
		bytesSent:        counter("websocket_sent_bytes_total", "Bytes written to clients."),
		largeTimeouts:    counter("websocket_large_record_timeouts_total", "Sessions ended because slower clients held all memory for large records for a minute. They resume without loss."),
		recordFaults:     counter("websocket_record_faults_total", "Records that were shown as an error, since a fault of the gateway kept them from being encoded. One counts each time that a frame with it is made."),
		sessionPanics:    counter("websocket_session_panics_total", "Sessions ended by a fault of the gateway."),
		e2e: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "websocket_e2e_latency_ms",
			Help:    "Milliseconds from the producer's timestamp to the gateway's hot tail. Only a negative time counts as clock skew; long ones are observed.",
			Buckets: []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 300000, 900000, 3600000},
		}, []string{"stage"}).WithLabelValues("producer_to_consumer"),
	}
	m.messagesSent = counter("websocket_messages_sent_total", "Records written to clients, each client counted.")
	starts := []string{"latest", "earliest", "since", "cursor"}
	requests := vec("websocket_resume_requests_total", "Subscriptions by where they begin.", "mode", starts...)
	messages := vec("websocket_replay_messages_total", "Records written to clients before they had caught up, by where the subscription begins.", "mode", starts...)
	latency := with.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "websocket_replay_latency_ms",
		Help:    "Milliseconds from a subscription to caught up, by where it begins. One that ends before is not observed.",
		Buckets: []float64{1, 5, 10, 50, 100, 500, 1000, 5000, 10000, 30000, 60000, 300000, 1800000},
	}, []string{"mode"})
	m.replays = make(map[string]*replayMetrics, len(starts))
	for _, s := range starts {
		m.replays[s] = &replayMetrics{requests: requests.WithLabelValues(s), messages: messages.WithLabelValues(s), latency: latency.WithLabelValues(s)}
	}
	frames := vec("websocket_frames_sent_total", "Frames with records or progress written to clients.", "encoding", encodingProto.String(), encodingJSON.String(), encodingSSE.String())
	for e := range m.framesSent {
		m.framesSent[e] = frames.WithLabelValues(encoding(e).String())
	}
	vec("websocket_dropped_messages_total", "Records dropped for a client. Always 0: a client that is too slow is disconnected and resumes.", "reason", "none")
	with.NewGaugeFunc(prometheus.GaugeOpts{Name: "websocket_uptime_seconds", Help: "Seconds since the gateway was made."}, func() float64 { return time.Since(started).Seconds() })
	with.NewGaugeFunc(prometheus.GaugeOpts{Name: "websocket_last_kafka_message_age_seconds", Help: "Seconds since a record was last read into the hot tail; -1: none was yet."}, m.lastMessage.age)
	with.NewGaugeFunc(prometheus.GaugeOpts{Name: "websocket_last_infrastructure_error_age_seconds", Help: "Seconds since a request to Kafka last failed; -1: none has."}, m.lastInfraError.age)
	return m
}

// observe registers what is read from the feed and the sessions when it is
// scraped.
func (g *Gateway) observe(reg prometheus.Registerer) {
	with := promauto.With(reg)
	with.NewGaugeFunc(prometheus.GaugeOpts{Name: "websocket_hot_tail_bytes", Help: "Bytes of recent records held for all clients."}, func() float64 { return float64(g.feed.TailBytes()) })
	with.NewGaugeFunc(prometheus.GaugeOpts{Name: "websocket_history_cache_bytes", Help: "Bytes of older records held for clients that resume."}, func() float64 { return float64(g.feed.CacheBytes()) })
	with.NewGaugeFunc(prometheus.GaugeOpts{Name: "websocket_kafka_partitions_unread", Help: "Partitions that cannot be read now, or of which no broker tells where they begin and end; -1: the topic was not seen yet."}, func() float64 {
		info, ok := g.feed.Info()
		if !ok {
			return -1
		}
		n := 0
		for _, p := range info.Partitions {
			if p.Err != nil {
				n++
			}
		}
		return float64(n)
	})
	with.NewGaugeFunc(prometheus.GaugeOpts{Name: "websocket_kafka_broker_silence_seconds", Help: "Longest time for which a broker has owed an answer to a read; up to 0.5 is long polling. Above 10 the gateway is not ready. -1: no broker is read from."}, func() float64 {
		if d, ok := g.feed.Silence(); ok {
			return d.Seconds()
		}
		return -1
	})
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "websocket_client_apply_lag_records_max",
		Help: "Most records that lie between what a client acknowledged and the end of the log; -1: no client acknowledges.",
	}, func() float64 {
		info, ok := g.feed.Info()
		most := int64(-1)
		for _, s := range g.hub.all() { // nobody waits for the lock while they are looked at
			if lag, acks := s.applyLag(info); ok && acks {
				most = max(most, lag)
			}
		}
		return float64(most)
	})
}

func (m *metrics) gap(g *feed.Gap) {
	m.gaps.WithLabelValues(g.Reason.String()).Inc()
	m.gapMessages.WithLabelValues(g.Reason.String()).Add(float64(g.To - g.From))
}

// feedObserver counts what the feed meets.
type feedObserver struct {
	m      *metrics
	limits wire.Limits
}

// Segment looks at each new record's header once.
func (o feedObserver) Segment(s *feed.Segment) {
	now := time.Now()
	if len(s.Records) == 0 {
		return
	}
	o.m.lastMessage.set(now)
	var p wire.Peeker
	good := 0
	for i := range s.Records {
		r := &s.Records[i]
		pk, err := peek(&p, r, o.limits)
		if err != nil {
			o.m.messages.WithLabelValues("error").Inc()
			o.m.decodeErrors.WithLabelValues(string(wire.ReasonOf(err))).Inc()
			if len(r.Value) == 0 {
				o.m.payloadMissing.Inc()
			}
			continue
		}
		good++
		if pk.TimestampUS <= 0 {
			continue
		}
		if d := now.UnixMicro() - pk.TimestampUS; d < 0 {
			o.m.clockSkew.Inc()
		} else {
			o.m.e2e.Observe(float64(d) / 1000)
		}
	}
	o.m.messages.WithLabelValues("success").Add(float64(good))
}

// peek makes an error of a panic: what a record does must not end the process, which
// would meet it again after the next start.
func peek(p *wire.Peeker, r *feed.Record, l wire.Limits) (pk wire.Peeked, err error) {
	defer func() {
		if recover() != nil {
			*p = wire.Peeker{}
			err = &wire.Error{Reason: wire.ReasonInternal, Detail: "the header cannot be read by a fault of the reader"}
		}
	}()
	return p.Peek(r.Value, l)
}

// PartitionError counts a failure of one partition.
func (o feedObserver) PartitionError(_ int32, err error) { o.count(err) }

// RequestError counts a failed request.
func (o feedObserver) RequestError(err error) { o.count(err) }

func (o feedObserver) count(err error) {
	if err == nil {
		err = errors.New("the broker left a partition out")
	}
	o.m.infraErrors.Inc()
	o.m.errorsByType.WithLabelValues(string(kafkaclient.Classify(err))).Inc()
	o.m.lastInfraError.set(time.Now())
}

// HistoryRead counts a read of older records.
func (o feedObserver) HistoryRead(int32) { o.m.historyReads.Inc() }
