package cli

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/dashflow/dashstream/internal/feed"
)

// The lines of --output json: each is a JSON object with a type. Offsets and
// sequences are exact integers of up to 64 bits. docs/protocol.md has them.

// The types of lines that are no records. No message type may have these names.
const (
	lineGap        = "gap"
	lineReset      = "reset"
	linePartitions = "partitions"
	lineCursor     = "cursor"
)

// tailLine is the line of a record; its type is that of the message.
type tailLine struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	ThreadID  string `json:"thread_id"`
	TenantID  string `json:"tenant_id,omitempty"`
	Sequence  uint64 `json:"sequence"`
	Type      string `json:"type"`
	// Timestamp is the producer's, in UTC; empty where it is unknown.
	Timestamp string `json:"timestamp"`
	// KafkaTimestamp is the record's, in UTC.
	KafkaTimestamp string          `json:"kafka_timestamp"`
	Bytes          int             `json:"bytes"`
	Message        json.RawMessage `json:"message,omitempty"`
	Error          *tailError      `json:"error,omitempty"`
}

type tailError struct {
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// gapLine says that the records From ≤ offset < To will not come.
type gapLine struct {
	Type      string `json:"type"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
	Reason    string `json:"reason"` // retention, unreadable
}

func newGapLine(g *feed.Gap) gapLine {
	return gapLine{lineGap, g.Partition, g.From, g.To, g.Reason.String()}
}

// resetLine says that what was printed before is void, and that another stream
// follows from its beginning.
type resetLine struct {
	Type     string `json:"type"`
	Reason   string `json:"reason"` // topic_recreated, other_stream, truncated
	StreamID string `json:"stream_id"`
	Previous string `json:"previous_stream_id"`
}

func newResetLine(why *feed.Reset, streamID string) resetLine {
	words := map[feed.ResetReason]string{
		feed.ResetTopicRecreated: "topic_recreated", feed.ResetOtherStream: "other_stream", feed.ResetTruncated: "truncated",
	}
	word, ok := words[why.Reason]
	if !ok {
		word = "unknown"
	}
	return resetLine{lineReset, word, streamID, why.Previous}
}

// partitionsLine says that there are more partitions, or that it is known now
// where some begin.
type partitionsLine struct {
	Type  string          `json:"type"`
	Count int             `json:"count"` // of all
	New   []partitionFrom `json:"new"`
}

type partitionFrom struct {
	Partition int32 `json:"partition"`
	From      int64 `json:"from"` // the first offset that is read
}

func newPartitionsLine(g *feed.Growth, count int) partitionsLine {
	line := partitionsLine{linePartitions, count, make([]partitionFrom, 0, len(g.Start))}
	for _, p := range slices.Sorted(maps.Keys(g.Start)) {
		line.New = append(line.New, partitionFrom{p, g.Start[p]})
	}
	return line
}

// cursorLine is the last line: where another tail goes on, by --from.
type cursorLine struct {
	Type   string `json:"type"`
	Cursor string `json:"cursor"`
}
