package dashstream

import (
	"errors"
	"fmt"
)

// Errors of [Producer.Send]. What it refuses is counted as dropped, see [Stats].
var (
	// ErrClosed is a message after Close.
	ErrClosed = errors.New("producer is closed")
	// ErrQueueFull is a message for which there was no room, neither free nor taken by less important ones.
	ErrQueueFull = errors.New("telemetry queue is full")
	// ErrInvalidMessage is a message that cannot be sent; the error that wraps it says why.
	ErrInvalidMessage = errors.New("invalid message")
	// ErrStateOff is a message of state while state streaming is off.
	ErrStateOff = errors.New("state streaming is off")

	errRunEnded = errors.New("run has ended")
)

// IncompleteError is what [Producer.Flush] and [Producer.Close] return if not everything they waited for was
// acknowledged. The counts are logical messages: an event of a batch is one.
type IncompleteError struct {
	// Acked is what was acknowledged.
	Acked uint64
	// Dropped is what was given up without being sent, Failed what Kafka did not take or may not have taken.
	Dropped, Failed uint64
	// InFlight is what has no outcome yet. After Close it is 0.
	InFlight uint64
	// Err is why waiting ended, nil if it did not end early.
	Err error
	// Cause is the last error of Kafka, or of the way to it, with its likely cause and the setting to change. It is nil if
	// Kafka is not known to be the reason: messages were too large, or were given up for want of room or time.
	Cause error
}

func (e *IncompleteError) Error() string {
	s := fmt.Sprintf("%d messages acknowledged, %d dropped, %d failed, %d in flight", e.Acked, e.Dropped, e.Failed, e.InFlight)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Cause != nil {
		s += "; Kafka: " + e.Cause.Error()
	}
	return s
}

// Unwrap returns Err and Cause, as far as there are any, for errors.Is and errors.As.
func (e *IncompleteError) Unwrap() []error {
	var out []error
	for _, err := range []error{e.Err, e.Cause} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}
