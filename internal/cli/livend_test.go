package cli

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// One record from the future must not have every tail begin there.
func TestTailFromNowGoesByTheEndOfTheLog(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	cl := c.Client(t)
	now := time.Now()
	// Apache Kafka takes up to an hour.
	for _, at := range []time.Time{now.Add(30 * time.Minute), now.Add(-time.Hour), now.Add(-time.Minute)} {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Timestamp: at, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": topic}
	o := runCLI(t, env, "tail", "--no-follow")
	o.want(t, ExitNoData)
	if o.stdout != "" {
		t.Errorf("a tail from now printed what was there before: %s", o.stdout)
	}
}

// What was written while the command was connecting is new, and what comes after
// the ends it learnt is new whatever its producer's clock says.
func TestWhatIsNewToATail(t *testing.T) {
	t.Parallel()
	l := &liveEnd{ends: map[int32]int64{0: 10}, partitions: 2, from: 1000, to: 2000}
	for _, tt := range []struct {
		partition         int32
		offset, timestamp int64
		want              bool
	}{
		{0, 9, 999, false}, {0, 9, 1000, true}, {0, 9, 2000, true}, {0, 9, 2001, false},
		{0, 10, 0, true}, {0, 10, 1 << 50, true},
		{1, 0, 999, false}, {1, 0, 1000, true}, // nobody told where it ends
		{2, 0, 0, true}, // a new partition
	} {
		if got := l.isNew(&feed.Record{Partition: tt.partition, Offset: tt.offset, Timestamp: tt.timestamp}); got != tt.want {
			t.Errorf("partition %d offset %d at %d: new %v, want %v", tt.partition, tt.offset, tt.timestamp, got, tt.want)
		}
	}
}
