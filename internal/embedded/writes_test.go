package embedded_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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
		if at, err := p.answer(t, "one", 1); !errors.Is(err, kerr.KafkaStorageError) {
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

// TestEndWhileWritesFail: the next start has what was acknowledged and no more.
func TestEndWhileWritesFail(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"stop", "kill"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			opts := embedded.Options{DataDir: t.TempDir(), SegmentBytes: 1}
			b := start(t, opts)
			id := b.ClusterID()
			cl := client(t, b.Addr(), kgo.RequestRetries(0))
			createTopic(t, cl, "topic", 1, nil)
			p := newRawProducer(t, cl, "topic")
			p.send(t, "zero", 0)
			unblock := blockWrites(t, opts.DataDir, "1.dat")
			for range 2 {
				if at, err := p.try(t, "one", 1); err == nil {
					t.Fatalf("a batch that cannot be stored got offset %d", at)
				}
			}
			if how == "kill" {
				opts.DataDir = crashed(t, opts.DataDir)
				if err := os.Remove(filepath.Join(opts.DataDir, "log", "partitions", "topic-0", "1.dat")); err != nil {
					t.Fatal(err)
				}
			} else {
				stop(t, b)
				unblock()
			}
			b = start(t, opts)
			if at := newRawProducerAs(t, client(t, b.Addr()), "topic", p.id, p.epoch).send(t, "one", 1); at != 1 {
				t.Errorf("the batch got offset %d, want 1", at)
			}
			if n := len(readAll(t, b.Addr(), "topic")); n != 2 || b.ClusterID() != id {
				t.Errorf("read %d records of the cluster %s, want 2 of %s", n, b.ClusterID(), id)
			}
		})
	}
}

// full makes a write of the file fail once as it does on a full disk.
func full(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
}

// TestStartOnFullDisk: it ended at the first file that could not be written. It serves what is there, and writes when there
// is room.
func TestStartOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, reserved := range []bool{true, false} {
		t.Run("with a reserve "+strconv.FormatBool(reserved), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := start(t, embedded.Options{DataDir: dir})
			cl := client(t, b.Addr())
			createTopic(t, cl, "topic", 1, nil)
			produce(t, cl, "topic", 5, numbered)
			deleteRecords(t, cl, "topic", 2)
			dir = crashed(t, dir)
			id := clusterID(t, dir)
			full(t, filepath.Join(dir, "log", "partitions", "topic-0", "snapshot.json.tmp"))
			probe := filepath.Join(dir, "reserve.probe.tmp")
			if !reserved {
				if err := os.Remove(filepath.Join(dir, "reserve")); err != nil {
					t.Fatal(err)
				}
				full(t, filepath.Join(dir, "broker.pid"))
				full(t, filepath.Join(dir, "log", "seq_windows.json.tmp"))
				if err := os.Mkdir(probe, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			b = start(t, embedded.Options{DataDir: dir})
			if s, e := offsets(t, client(t, b.Addr()), "topic"); s != 2 || e != 5 {
				t.Errorf("the log has offsets %d to %d, want 2 to 5", s, e)
			}
			if got := readAll(t, b.Addr(), "topic"); len(got) != 3 || got[0].Offset != 2 {
				t.Errorf("read %d records, want 3 from offset 2", len(got))
			}
			if !reserved {
				if err := b.WriteError(); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("the broker says %v about its writes, want %v", err, syscall.ENOSPC)
				}
				p := newRawProducer(t, client(t, b.Addr(), kgo.RequestRetries(0)), "topic")
				if at, err := p.answer(t, "no room", 0); !errors.Is(err, kerr.KafkaStorageError) {
					t.Errorf("a batch got offset %d, %v; want %v", at, err, kerr.KafkaStorageError)
				}
				if err := os.Remove(probe); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the broker writes", func() bool { return b.WriteError() == nil })
			if at := produce(t, client(t, b.Addr()), "topic", 1, numbered); at != 5 || clusterID(t, dir) != id {
				t.Errorf("the next record got offset %d of cluster %s, want 5 of %s", at, clusterID(t, dir), id)
			}
			eventually(t, "the reserve is there again", func() bool { return fileSize(t, filepath.Join(dir, "reserve")) > 0 })
		})
	}
}

// TestRetentionOnFullDisk: it has to write before it may remove, could not, and so the disk stayed full.
func TestRetentionOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, reserved := range []bool{true, false} {
		t.Run("with a reserve "+strconv.FormatBool(reserved), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var log logRecorder
			b := start(t, embedded.Options{DataDir: dir, SegmentBytes: 1, RetentionInterval: 10 * time.Millisecond, Logger: log.logger()})
			cl := client(t, b.Addr())
			createTopic(t, cl, "topic", 1, nil)
			for range 20 {
				produce(t, cl, "topic", 1, numbered)
			}
			block := filepath.Join(dir, "reserve.tmp")
			if !reserved {
				if err := os.Mkdir(block, 0o700); err != nil { // it is not made again
					t.Fatal(err)
				}
				if err := os.Remove(filepath.Join(dir, "reserve")); err != nil {
					t.Fatal(err)
				}
			}
			full(t, filepath.Join(dir, "log", "partitions", "topic-0", "logstart.json.tmp"))
			configure(t, cl, "topic", "retention.bytes", "200")
			removed := func() bool { s, _ := offsets(t, cl, "topic"); return s > 10 }
			eventually(t, "records are removed", removed)
			there := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
			eventually(t, "it is on record, and the reserve there again", func() bool {
				return there(filepath.Join("log", "partitions", "topic-0", "logstart.json")) && there("reserve") == reserved
			})
			if log.contains("retention check") { // the disk is full once here; one that stays so is never tried better
				t.Errorf("the check failed at first:\n%s", log.String())
			}
			before, end := offsets(t, cl, "topic")
			b = start(t, embedded.Options{DataDir: crashed(t, dir)})
			if s, e := offsets(t, client(t, b.Addr()), "topic"); s != before || e != end {
				t.Errorf("offsets %d to %d after kill -9, want %d to %d", s, e, before, end)
			}
		})
	}
}

func configure(t *testing.T, cl *kgo.Client, topic, key, value string) {
	t.Helper()
	resp, err := kadm.NewClient(cl).AlterTopicConfigs(within(t), []kadm.AlterConfig{{Name: key, Value: &value}}, topic)
	if err == nil {
		_, err = resp.On(topic, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFsyncBeforeEachAnswer: what a client hears of is on the disk.
func TestFsyncBeforeEachAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var mu sync.Mutex
	synced := make(map[string]int64)
	opts := embedded.WithSync(embedded.Options{DataDir: dir, Fsync: true, SegmentBytes: 200}, func(f *os.File) error {
		info, err := f.Stat()
		mu.Lock()
		defer mu.Unlock()
		synced[f.Name()] = info.Size()
		return err
	})
	check := func(when string, files ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		for _, file := range files {
			if size := int64(fileSize(t, file)); synced[file] != size {
				t.Fatalf("%s: %d bytes of %s are synced, it has %d", when, synced[file], file, size)
			}
		}
	}
	b := start(t, opts)
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	for i := range 10 {
		produce(t, cl, "topic", 1, numbered)
		check(fmt.Sprintf("record %d", i), segments(t, dir, "topic")...)
	}
	if n := len(segments(t, dir, "topic")); n < 3 {
		t.Fatalf("%d files, want several", n)
	}
	var commit kadm.Offsets
	commit.AddOffset("topic", 0, 1, -1)
	if err := kadm.NewClient(cl).CommitAllOffsets(within(t), "group", commit); err != nil {
		t.Fatal(err)
	}
	check("commit", filepath.Join(dir, "log", "groups.log"))
}

// TestFailedFsyncIsNotAcknowledged: kfake ignored it. A second sync of the file would succeed and mean nothing, so the file
// is written anew.
func TestFailedFsyncIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var broken atomic.Bool
	b := start(t, embedded.WithSync(embedded.Options{DataDir: dir, Fsync: true}, func(f *os.File) error {
		if broken.Load() && strings.HasSuffix(f.Name(), ".dat") {
			return syscall.EIO
		}
		return f.Sync()
	}))
	cl := client(t, b.Addr(), kgo.RequestRetries(0))
	createTopic(t, cl, "topic", 1, nil)
	p := newRawProducer(t, cl, "topic")
	p.send(t, "zero", 0)
	file := filepath.Join(dir, "log", "partitions", "topic-0", "0.dat")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(dir, "reserve.probe.tmp") // the broker stays as it is meanwhile
	if err := os.Mkdir(probe, 0o700); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	for range 3 {
		if at, err := p.try(t, "one", 1); err == nil {
			t.Fatalf("a batch that cannot be synced got offset %d", at)
		}
	}
	if err := b.WriteError(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the broker says %v about its writes, want %v", err, syscall.EIO)
	}
	broken.Store(false)
	if err := os.Remove(probe); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broker writes again", func() bool { return b.WriteError() == nil })
	after, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(before, after) {
		t.Error("the file that could not be synced is still the same")
	}
	p = newRawProducerAs(t, client(t, b.Addr()), "topic", p.id, p.epoch)
	if at := p.send(t, "one", 1); at != 1 {
		t.Errorf("the batch got offset %d, want 1", at)
	}
	if at := p.send(t, "two", 2); at != 2 {
		t.Errorf("the next batch got offset %d, want 2", at)
	}
	if n := len(readAll(t, b.Addr(), "topic")); n != 3 {
		t.Errorf("read %d records, want 3", n)
	}
}
