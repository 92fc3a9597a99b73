package feed

import "fmt"

// ResetReason says why a reader has to start over.
type ResetReason uint8

const (
	// ResetTopicRecreated: the topic was deleted and created again.
	ResetTopicRecreated ResetReason = iota + 1
	// ResetOtherStream: the cursor belongs to another cluster or topic.
	ResetOtherStream
	// ResetTruncated: the log ends before the position; what was read is gone.
	ResetTruncated
)

// Reset says that everything read of the previous stream is void.
type Reset struct {
	Reason   ResetReason
	Previous string
}

func (r ResetReason) String() string {
	switch r {
	case ResetTopicRecreated:
		return "topic re-created"
	case ResetOtherStream:
		return "other stream"
	case ResetTruncated:
		return "truncated"
	default:
		return fmt.Sprintf("reason %d", uint8(r))
	}
}
