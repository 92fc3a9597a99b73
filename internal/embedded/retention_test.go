package embedded_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/embedded"
)

// often is a retention interval at which a test does not have to wait.
const often = 10 * time.Millisecond

// stamped writes one record per age, each in a batch of its own, with a timestamp that much in the past.
func stamped(t *testing.T, cl *kgo.Client, topic string, ages ...time.Duration) {
	t.Helper()
	now := time.Now()
	for i, age := range ages {
		r := &kgo.Record{Topic: topic, Value: numbered(i), Timestamp: now.Add(-age)}
		if err := cl.ProduceSync(within(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// diskBytes is what the partition's log files take.
func diskBytes(t *testing.T, dir, topic string) int64 {
	t.Helper()
	var sum int64
	err := filepath.WalkDir(filepath.Join(dir, "log", "partitions", topic+"-0"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".dat" {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestRetentionByAge(t *testing.T) {
	t.Parallel()
	const hour, day = time.Hour, 24 * time.Hour
	for _, tc := range []struct {
		name    string
		configs map[string]string
		ages    []time.Duration
		start   int64
	}{
		{"the topic's limit", map[string]string{"retention.ms": "3600000"}, []time.Duration{5 * hour, 2 * hour, hour / 2, 0}, 2},
		{"everything", map[string]string{"retention.ms": "3600000"}, []time.Duration{5 * hour, 2 * hour}, 2},
		{"an old record among young ones", map[string]string{"retention.ms": "3600000"}, []time.Duration{2 * hour, 0, 9 * hour, 0}, 1},
		{"seven days when the topic says nothing", nil, []time.Duration{8 * day, 6 * day}, 1},
		{"no limit", map[string]string{"retention.ms": "-1"}, []time.Duration{900 * day, 0}, 0},
		{"the longest limit", map[string]string{"retention.ms": "9223372036854775807"}, []time.Duration{900 * day, 0}, 0},
		{"compacted only", map[string]string{"cleanup.policy": "compact", "retention.ms": "1"}, []time.Duration{900 * day, 0}, 0},
		{"compacted and deleted", map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "3600000"}, []time.Duration{2 * hour, 0}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// The records are written before retention runs, so that it sees them all at its first check.
			dir := t.TempDir()
			b := start(t, embedded.Options{DataDir: dir, RetentionInterval: time.Hour})
			cl := client(t, b.Addr())
			createTopic(t, cl, "topic", 1, tc.configs)
			createTopic(t, cl, "marker", 1, map[string]string{"retention.ms": "0"})
			stamped(t, cl, "topic", tc.ages...)
			stamped(t, cl, "marker", time.Hour)
			stop(t, b)

			b = start(t, embedded.Options{DataDir: dir, RetentionInterval: often})
			cl = client(t, b.Addr())
			for range 2 { // a whole check lies between two records of marker that went
				eventually(t, "retention has checked", func() bool { s, e := offsets(t, cl, "marker"); return s == e })
				stamped(t, cl, "marker", time.Hour)
			}
			if s, e := offsets(t, cl, "topic"); s != tc.start || e != int64(len(tc.ages)) {
				t.Errorf("offsets = %d to %d, want %d to %d", s, e, tc.start, len(tc.ages))
			}
			var left []string
			for _, r := range readAll(t, b.Addr(), "topic") {
				left = append(left, string(r.Value))
			}
			var want []string
			for i := tc.start; i < int64(len(tc.ages)); i++ {
				want = append(want, string(numbered(int(i))))
			}
			if fmt.Sprint(left) != fmt.Sprint(want) {
				t.Errorf("records left = %q, want %q", left, want)
			}
		})
	}
}

// TestRetentionBySize: the limit holds per partition, is what is kept at least, and the space comes back.
func TestRetentionBySize(t *testing.T) {
	t.Parallel()
	const limit, segment, value = 50_000, 10_000, 1000
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir, RetentionInterval: often, SegmentBytes: segment})
	cl := client(t, b.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	createTopic(t, cl, "topic", 1, map[string]string{"retention.bytes": fmt.Sprint(limit)})
	createTopic(t, cl, "unbounded", 1, nil)
	for _, topic := range []string{"topic", "unbounded"} {
		produce(t, cl, topic, 200, func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i%26)}, value) })
	}
	live := func() int64 { s, e := offsets(t, cl, "topic"); return (e - s) * value }
	eventually(t, "the log is cut to its limit", func() bool { return live() <= limit+2*value })
	if got := live(); got < limit-limit/10 {
		t.Errorf("%d bytes of values are left, want close to the %d that are to be kept", got, limit)
	}
	if got := diskBytes(t, dir, "topic"); got > limit+2*segment {
		t.Errorf("the files take %d bytes, want at most the limit %d and about a segment of %d more", got, limit, segment)
	}
	for _, r := range readAll(t, b.Addr(), "topic") {
		if want := byte('a' + r.Offset%26); r.Value[0] != want {
			t.Fatalf("offset %d holds %.3q, want %q", r.Offset, r.Value, want)
		}
	}
	if s, e := offsets(t, cl, "unbounded"); s != 0 || e != 200 {
		t.Errorf("a topic without a limit has offsets %d to %d, want 0 to 200", s, e)
	}
}

// TestReaderIsToldOfRetention: a reader whose position was removed gets an error that says so and the new log start, not
// records that look as if they followed.
func TestReaderIsToldOfRetention(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Options{DataDir: t.TempDir(), RetentionInterval: often})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, map[string]string{"retention.ms": "3600000"})
	stamped(t, cl, "topic", 2*time.Hour, 2*time.Hour, 0)
	eventually(t, "the old records are removed", func() bool { s, _ := offsets(t, cl, "topic"); return s == 2 })
	reader := client(t, b.Addr(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"topic": {0: kgo.NewOffset().At(0)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	fetches := reader.PollFetches(within(t))
	if fetches.NumRecords() > 0 || fetches.Err() == nil {
		t.Errorf("a fetch below the log start gave %d records and error %v, want OFFSET_OUT_OF_RANGE", fetches.NumRecords(), fetches.Err())
	}
}
