package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	_ "github.com/dashflow/dashstream/internal/cli" // what the program is made of, for the test cache
	"github.com/dashflow/dashstream/internal/testprocess"
)

func TestMain(m *testing.M) { os.Exit(testprocess.Main(m)) }

// line is a line of tail --output json.
type line struct {
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	ThreadID  string          `json:"thread_id"`
	Sequence  uint64          `json:"sequence"`
	Type      string          `json:"type"`
	Timestamp string          `json:"timestamp"`
	Message   json.RawMessage `json:"message"`

	Count int `json:"count"` // of partitions
}

// parseLines returns the records that a tail printed, and what else.
func parseLines(t *testing.T, out string) (records, events []line) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(out))
	for {
		var l line
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return records, events
		}
		if err != nil {
			t.Fatalf("tail printed %q: %v", out, err)
		}
		switch l.Type {
		case "gap", "reset", "partitions", "cursor":
			events = append(events, l)
		default:
			records = append(records, l)
		}
	}
}
