package dashstream

import (
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// DropReason is why a message was given up without being sent.
type DropReason uint8

// The reasons.
const (
	DropQueueFull   DropReason = iota // there was no room for it
	DropEvicted                       // it made room for a more important one
	DropTooLarge                      // it was too large, and nothing in it could be shortened
	DropInvalid                       // it could not be encoded
	DropStateOff                      // it was state, and state streaming is off
	DropRunEnded                      // its run had ended before
	DropClosed                        // the producer had been closed before
	DropShutdown                      // it had not been sent when Close ran out of time
	DropReasonCount = iota
)

var dropNames = [DropReasonCount]string{"queue_full", "evicted", "too_large", "invalid", "state_off", "run_ended", "closed", "shutdown"}

func (r DropReason) String() string { return nameOf(dropNames[:], int(r)) }

// FailReason is why Kafka did not take a message, or may not have taken it.
type FailReason uint8

// The reasons.
const (
	FailTimeout      FailReason = iota // the delivery timeout passed, and no broker can have taken it
	FailTooLarge                       // beyond the topic's max.message.bytes
	FailUnauthorized                   // authentication or authorization
	FailUnknownTopic                   // the topic does not exist
	FailRejected                       // the broker refused it for another reason
	FailUnknown                        // the outcome is not known: it may be in the log
	FailReasonCount  = iota
)

var failNames = [FailReasonCount]string{"timeout", "too_large", "unauthorized", "unknown_topic", "rejected", "unknown"}

func (r FailReason) String() string { return nameOf(failNames[:], int(r)) }

// Degradation is a way in which content was less than the caller gave; the message itself was sent, or another that says
// so.
type Degradation uint8

// The degradations.
const (
	DegradedTruncated      Degradation = iota // a value beyond its limit was replaced by its size, hash and beginning
	DegradedStateTooLarge                     // a state was beyond its limit, and reported as unavailable
	DegradedUnserializable                    // a state or value could not be turned into JSON
	DegradedInvalidUTF8                       // bytes that are no UTF-8 were replaced by U+FFFD
	DegradedNotFinite                         // a score or cost was NaN or infinite, and left out
	DegradedClock                             // the clock showed a time before 1970, and the timestamp was left out
	DegradedInvalidID                         // an identifier of the wrong size was left out
	DegradationCount       = iota
)

var degradedNames = [DegradationCount]string{"truncated", "state_too_large", "unserializable", "invalid_utf8", "not_finite", "clock", "invalid_id"}

func (d Degradation) String() string { return nameOf(degradedNames[:], int(d)) }

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}

// Counts is the account of one message type. At every moment
//
//	Emitted = Acked + Dropped + Failed + InFlight
//
// in logical messages: a batch of n events is n events.
type Counts struct {
	Emitted  uint64
	Acked    uint64
	Dropped  [DropReasonCount]uint64
	Failed   [FailReasonCount]uint64
	InFlight uint64
}

// DroppedTotal is the sum over all reasons.
func (c Counts) DroppedTotal() (n uint64) {
	for _, v := range c.Dropped {
		n += v
	}
	return n
}

// FailedTotal is the sum over all reasons.
func (c Counts) FailedTotal() (n uint64) {
	for _, v := range c.Failed {
		n += v
	}
	return n
}

func (c *Counts) add(o Counts) {
	c.Emitted += o.Emitted
	c.Acked += o.Acked
	c.InFlight += o.InFlight
	for i, v := range o.Dropped {
		c.Dropped[i] += v
	}
	for i, v := range o.Failed {
		c.Failed[i] += v
	}
}

// typeCount is one more than the largest message type.
const typeCount = int(pb.MessageType_MESSAGE_TYPE_EXECUTION_TRACE) + 1

// MessageTypes is the message types that are counted. An event in a batch counts as an event.
func MessageTypes() []pb.MessageType {
	return []pb.MessageType{
		pb.MessageType_MESSAGE_TYPE_EVENT, pb.MessageType_MESSAGE_TYPE_STATE_DIFF, pb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK,
		pb.MessageType_MESSAGE_TYPE_TOOL_EXECUTION, pb.MessageType_MESSAGE_TYPE_CHECKPOINT, pb.MessageType_MESSAGE_TYPE_METRICS,
		pb.MessageType_MESSAGE_TYPE_ERROR, pb.MessageType_MESSAGE_TYPE_EXECUTION_TRACE,
	}
}

// Latency is a histogram of seconds from handing a message to the Kafka client to its acknowledgement.
type Latency struct {
	// Counts has, for each bound of [LatencyBounds], how many took at most so long.
	Counts [12]uint64
	Count  uint64
	Sum    float64
}

// LatencyBounds is the upper bounds of Latency, in seconds.
func LatencyBounds() []float64 { return append([]float64(nil), latencyBounds[:]...) }

var latencyBounds = [12]float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30, 120}

func (l *Latency) observe(d time.Duration) {
	s := d.Seconds()
	for i, b := range latencyBounds {
		if s <= b {
			l.Counts[i]++
		}
	}
	l.Count++
	l.Sum += s
}

// Stats is a consistent snapshot of a producer's accounts: all of it was true at one moment.
type Stats struct {
	// Types is by message type; see [MessageTypes].
	Types [typeCount]Counts
	// QueueMessages and QueueBytes wait to be sent; QueueCapacityBytes is their limit.
	QueueMessages, QueueBytes, QueueCapacityBytes int
	// SendingMessages and SendingBytes are with the Kafka client.
	SendingMessages, SendingBytes int
	// Records and Batches were acknowledged by Kafka; a record is a message, or a batch of events.
	Records, Batches uint64
	// Retries is how many requests to Kafka got no answer and were tried again, if they still could be.
	Retries uint64
	// CompressionFailures is how many messages were sent plain because compressing them failed.
	CompressionFailures uint64
	// Degraded is how often content was less than the caller gave.
	Degraded [DegradationCount]uint64
	// Latency is of acknowledged messages.
	Latency Latency
	// Threads are remembered, Runs are open; EvictedThreads were forgotten because too many were idle, AbandonedRuns were
	// ended because nobody else did.
	Threads, Runs                 int
	EvictedThreads, AbandonedRuns uint64
}

// Total is the account of all message types together.
func (s Stats) Total() Counts {
	var out Counts
	for _, c := range s.Types {
		out.add(c)
	}
	return out
}

// Stats returns the accounts as they are now.
func (p *Producer) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{
		Types:               p.counts,
		QueueMessages:       p.queue.n,
		QueueBytes:          p.queue.bytes,
		QueueCapacityBytes:  p.cfg.queueBytes,
		SendingMessages:     p.sending,
		SendingBytes:        p.sendingBytes,
		Records:             p.records,
		Batches:             p.hooks.batches.Load(),
		Retries:             p.hooks.retries.Load(),
		CompressionFailures: p.encoder.CompressionFailures(),
		Degraded:            p.degraded,
		Latency:             p.latency,
		Threads:             len(p.threads),
		Runs:                len(p.runs),
		EvictedThreads:      p.evictedThreads,
		AbandonedRuns:       p.abandonedRuns,
	}
}
