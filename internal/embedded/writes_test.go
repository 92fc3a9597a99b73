package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/embedded"
)

// blockWrites makes the next log file of the topic impossible, by a directory in its place, which stops root too, and
// keeps the broker from finding that writing works elsewhere. The function that it returns takes both away.
func blockWrites(t *testing.T, dir, next string) (unblock func()) {
	t.Helper()
	for _, name := range []string{filepath.Join("log", "partitions", "topic-0", next), "reserve.probe.tmp"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		for _, name := range []string{filepath.Join("log", "partitions", "topic-0", next), "reserve.probe.tmp"} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestFailedWriteIsNotAcknowledged: kfake noted a producer's batch before it stored it. When it could not, and the producer
// sent the batch again, it answered with success and an offset, which the next record got.
func TestFailedWriteIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir, SegmentBytes: 1}) // a file for each batch
	cl := client(t, b.Addr(), kgo.RequestRetries(0))
	createTopic(t, cl, "topic", 1, nil)
	p := newRawProducer(t, cl, "topic")
	p.send(t, "zero", 0)
	if err := b.WriteError(); err != nil {
		t.Fatalf("before anything failed: %v", err)
	}
	unblock := blockWrites(t, dir, "1.dat")

	// The answer to the first must not say that it failed for good, and none that it worked.
	if at, err := p.try(t, "one", 1); err == nil || errors.Is(err, kerr.UnknownServerError) {
		t.Fatalf("a batch that cannot be stored got offset %d, %v", at, err)
	}
	for range 3 {
		if at, err := p.try(t, "one", 1); !errors.Is(err, kerr.KafkaStorageError) {
			t.Fatalf("sent again it got offset %d, %v; want %v", at, err, kerr.KafkaStorageError)
		}
	}
	if err := b.WriteError(); err == nil || !strings.Contains(err.Error(), "1.dat") {
		t.Errorf("the broker says %v about its writes, want the file at fault", err)
	}
	var commit kadm.Offsets
	commit.AddOffset("topic", 0, 1, -1)
	if resp, err := kadm.NewClient(cl).CommitOffsets(within(t), "group", commit); err == nil && resp.Error() == nil {
		t.Error("offsets were committed that may not be on disk")
	}
	if resp, err := kadm.NewClient(cl).CreateTopic(within(t), 1, 1, nil, "other"); err == nil && resp.Err == nil {
		t.Error("a topic was created that may not be on disk")
	}
	if got := readAll(t, b.Addr(), "topic"); len(got) != 1 || string(got[0].Value) != "zero" {
		t.Errorf("read %d records while nothing can be written, want the one", len(got))
	}

	unblock()
	eventually(t, "the broker writes again", func() bool { return b.WriteError() == nil })
	p = newRawProducerAs(t, client(t, b.Addr()), "topic", p.id, p.epoch)
	for range 2 { // and knows what it has
		if at := p.send(t, "one", 1); at != 1 {
			t.Errorf("the batch got offset %d, want 1", at)
		}
	}
	p.send(t, "two", 2)
	var got []string
	for _, r := range readAll(t, b.Addr(), "topic") {
		got = append(got, string(r.Value))
	}
	if want := "zero one two"; strings.Join(got, " ") != want {
		t.Errorf("the log has %q, want %q", got, want)
	}
}

// TestCloseWhileWritesFail: it ends, and the next start has what was acknowledged and no more.
func TestCloseWhileWritesFail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := embedded.Options{DataDir: dir, SegmentBytes: 1}
	b := start(t, opts)
	id := b.ClusterID()
	cl := client(t, b.Addr(), kgo.RequestRetries(0))
	createTopic(t, cl, "topic", 1, nil)
	p := newRawProducer(t, cl, "topic")
	p.send(t, "zero", 0)
	unblock := blockWrites(t, dir, "1.dat")
	if at, err := p.try(t, "one", 1); err == nil {
		t.Fatalf("a batch that cannot be stored got offset %d", at)
	}
	stop(t, b)
	unblock()
	b = start(t, opts)
	if at := newRawProducerAs(t, client(t, b.Addr()), "topic", p.id, p.epoch).send(t, "one", 1); at != 1 {
		t.Errorf("the batch got offset %d, want 1", at)
	}
	if n := len(readAll(t, b.Addr(), "topic")); n != 2 || b.ClusterID() != id {
		t.Errorf("read %d records of the cluster %s, want 2 of %s", n, b.ClusterID(), id)
	}
}
