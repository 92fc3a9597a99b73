package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/dashflow/dashstream/internal/embedded"
)

// wait is how long a test lets the broker or a client take for one step.
const wait = 30 * time.Second

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, opts embedded.Options) *embedded.Broker {
	t.Helper()
	if opts.Listen == "" {
		opts.Listen = "127.0.0.1:0"
	}
	b, err := embedded.Start(within(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, b) })
	return b
}

func stop(t *testing.T, b *embedded.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.MetadataMinAge(10 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, cl *kgo.Client, topic string, partitions int32, configs map[string]string) kadm.TopicID {
	t.Helper()
	cfg := make(map[string]*string, len(configs))
	for k, v := range configs {
		cfg[k] = &v
	}
	resp, err := kadm.NewClient(cl).CreateTopic(within(t), partitions, 1, cfg, topic)
	if err != nil {
		t.Fatal(err)
	}
	return resp.ID
}

// produce writes count records to partition 0 in batches of one and returns the offset of the first.
func produce(t *testing.T, cl *kgo.Client, topic string, count int, value func(i int) []byte) int64 {
	t.Helper()
	first := int64(-1)
	for i := range count {
		r := &kgo.Record{Topic: topic, Value: value(i)}
		if err := cl.ProduceSync(within(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if first < 0 {
			first = r.Offset
		}
	}
	return first
}

func numbered(i int) []byte { return fmt.Appendf(nil, "value %d", i) }

// offsets returns the log start and the high watermark of partition 0.
func offsets(t *testing.T, cl *kgo.Client, topic string) (start, end int64) {
	t.Helper()
	adm := kadm.NewClient(cl)
	starts, err := adm.ListStartOffsets(within(t), topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	ends, err := adm.ListEndOffsets(within(t), topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	s, _ := starts.Lookup(topic, 0)
	e, _ := ends.Lookup(topic, 0)
	return s.Offset, e.Offset
}

// readAll reads partition 0 from its log start to its high watermark with a fresh client.
func readAll(t *testing.T, addr, topic string) []*kgo.Record {
	t.Helper()
	cl := client(t, addr, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	start, end := offsets(t, cl, topic)
	var records []*kgo.Record
	for int64(len(records)) < end-start {
		fetches := cl.PollFetches(within(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), end-start, err)
		}
		records = append(records, fetches.Records()...)
	}
	cl.Close()
	return records
}

func TestStartServesAnyClientAndKeepsIdentity(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	b := start(t, embedded.Options{DataDir: dir})
	id := b.ClusterID()
	cl := client(t, b.Addr())
	topicID := createTopic(t, cl, "topic", 1, nil)
	produce(t, cl, "topic", 20, numbered)

	meta, err := kadm.NewClient(cl).BrokerMetadata(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(meta.Brokers) != 1 {
		t.Fatalf("brokers = %v, want one", meta.Brokers)
	}
	if got := net.JoinHostPort(meta.Brokers[0].Host, fmt.Sprint(meta.Brokers[0].Port)); got != b.Addr() {
		t.Errorf("advertised address = %s, want %s", got, b.Addr())
	}
	if meta.Cluster != id {
		t.Errorf("cluster id = %q, want %q", meta.Cluster, id)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory mode = %v (%v), want 0700", info.Mode(), err)
	}

	began := time.Now()
	stop(t, b)
	stop(t, b) // again: the same answer
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("clean stop took %v", took)
	}
	if _, err := os.Stat(filepath.Join(dir, "broker.pid")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pid file after stop: %v, want none", err)
	}

	b2 := start(t, embedded.Options{DataDir: dir})
	if b2.ClusterID() != id {
		t.Errorf("cluster id after restart = %q, want %q", b2.ClusterID(), id)
	}
	cl2 := client(t, b2.Addr())
	topics, err := kadm.NewClient(cl2).ListTopics(within(t), "topic")
	if err != nil {
		t.Fatal(err)
	}
	if got := topics["topic"].ID; got != topicID {
		t.Errorf("topic id after restart = %v, want %v", got, topicID)
	}
	records := readAll(t, b2.Addr(), "topic")
	if len(records) != 20 {
		t.Fatalf("read %d records after restart, want 20", len(records))
	}
	for i, r := range records {
		if r.Offset != int64(i) || string(r.Value) != string(numbered(i)) {
			t.Fatalf("record %d = offset %d %q", i, r.Offset, r.Value)
		}
	}
	if first := produce(t, cl2, "topic", 1, numbered); first != 20 {
		t.Errorf("next offset after restart = %d, want 20", first)
	}

	other := start(t, embedded.Options{DataDir: t.TempDir()})
	if other.ClusterID() == id {
		t.Error("two data directories have the same cluster id")
	}
}

func TestNoTopicIsCreatedByUse(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Options{DataDir: t.TempDir()})
	cl := client(t, b.Addr(), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0))
	err := cl.ProduceSync(within(t), &kgo.Record{Topic: "never-made", Value: []byte("x")}).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("produce to a topic that does not exist: %v, want %v", err, kerr.UnknownTopicOrPartition)
	}
}

func TestRecordOfReaderLimitFits(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Options{DataDir: t.TempDir()})
	cl := client(t, b.Addr(), kgo.ProducerBatchMaxBytes(embedded.MaxMessageBytes), kgo.ProducerBatchCompression(kgo.NoCompression()))
	createTopic(t, cl, "big", 1, nil)
	value := []byte(strings.Repeat("0123456789abcdef", 10<<20/16))
	produce(t, cl, "big", 2, func(int) []byte { return value })
	for _, r := range readAll(t, b.Addr(), "big") {
		if string(r.Value) != string(value) {
			t.Errorf("offset %d: read %d bytes that differ from the %d written", r.Offset, len(r.Value), len(value))
		}
	}
}

func TestSecondBrokerOnDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	_, err := embedded.Start(within(t), embedded.Options{DataDir: dir, Listen: b.Addr()})
	if !errors.Is(err, embedded.ErrLocked) {
		t.Fatalf("second broker: %v, want ErrLocked", err)
	}
	for _, want := range []string{dir, fmt.Sprintf("process %d", os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %q", err, want)
		}
	}
	if _, err := kadm.NewClient(client(t, b.Addr())).BrokerMetadata(within(t)); err != nil {
		t.Errorf("first broker after the second was refused: %v", err)
	}
}

func TestBusyPort(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := t.TempDir()
	_, err = embedded.Start(within(t), embedded.Options{DataDir: dir, Listen: ln.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Fatalf("busy port: %v, want an error naming %s", err, ln.Addr())
	}
	start(t, embedded.Options{DataDir: dir}) // the failed start gave the directory up
}

func TestOptionsAreValidated(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		opts embedded.Options
		want string
	}{
		{"no directory", embedded.Options{Listen: "127.0.0.1:0"}, "data directory is empty"},
		{"all interfaces", embedded.Options{DataDir: "x", Listen: "0.0.0.0:9092"}, `"0.0.0.0:9092"`},
		{"no host", embedded.Options{DataDir: "x", Listen: ":9092"}, `":9092"`},
		{"v6 any", embedded.Options{DataDir: "x", Listen: "[::]:9092"}, `"[::]:9092"`},
		{"lan", embedded.Options{DataDir: "x", Listen: "192.168.1.4:9092"}, `"192.168.1.4:9092"`},
		{"name", embedded.Options{DataDir: "x", Listen: "kafka.example.com:9092"}, `"kafka.example.com:9092"`},
		{"no port", embedded.Options{DataDir: "x", Listen: "127.0.0.1"}, `"127.0.0.1"`},
		{"port range", embedded.Options{DataDir: "x", Listen: "127.0.0.1:70000"}, `"70000"`},
		{"port word", embedded.Options{DataDir: "x", Listen: "127.0.0.1:kafka"}, `"kafka"`},
		{"interval", embedded.Options{DataDir: "x", Listen: "127.0.0.1:0", RetentionInterval: -time.Second}, "-1s"},
		{"segment", embedded.Options{DataDir: "x", Listen: "127.0.0.1:0", SegmentBytes: -5}, "-5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.opts.DataDir != "" {
				tc.opts.DataDir = filepath.Join(t.TempDir(), tc.opts.DataDir)
			}
			_, err := embedded.Start(within(t), tc.opts)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want one with %s", err, tc.want)
			}
			if _, err := os.Stat(tc.opts.DataDir); tc.opts.DataDir != "" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("data directory was touched before the options were checked: %v", err)
			}
		})
	}
	for _, listen := range []string{"localhost:0", "127.0.0.2:0", "[::1]:0"} {
		if err := (embedded.Options{DataDir: "x", Listen: listen}).Validate(); err != nil {
			t.Errorf("listen %q: %v, want it accepted", listen, err)
		}
	}
}

func TestCloseHonoursContext(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Options{DataDir: t.TempDir()})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("close with an ended context: %v", err)
	}
	stop(t, b) // shutting down went on and can be waited for
}

// TestCloseReportsWhatCouldNotBeWritten: kfake only logs that it could not write its state. The log itself is whole, and
// the next start works without that state.
func TestCloseReportsWhatCouldNotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, err := embedded.Start(within(t), embedded.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	produce(t, cl, "topic", 3, numbered)
	blocked := filepath.Join(dir, "log", "partitions", "topic-0", "snapshot.json.tmp")
	if err := os.Mkdir(blocked, 0o700); err != nil { // even root cannot write a file there
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(within(t)); err == nil || !strings.Contains(err.Error(), "snapshot.json.tmp") {
			t.Errorf("close = %v, want an error about the file that could not be written", err)
		}
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	b2 := start(t, embedded.Options{DataDir: dir})
	if got := len(readAll(t, b2.Addr(), "topic")); got != 3 {
		t.Errorf("read %d records after the failed shutdown, want 3", got)
	}
}

// TestCloseEndsEveryGoroutine does not run in parallel, so that the goroutines it sees are its own.
func TestCloseEndsEveryGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	b, err := embedded.Start(within(t), embedded.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	cl := client(t, b.Addr(), kgo.ConsumeTopics("topic"), kgo.ConsumerGroup("group"))
	createTopic(t, cl, "topic", 1, nil)
	produce(t, cl, "topic", 1, numbered)
	for cl.PollFetches(within(t)).NumRecords() == 0 {
	}
	// The client is in a group and in the middle of a fetch when the broker closes.
	stop(t, b)
	cl.Close()
	goleak.VerifyNone(t, before)
}
