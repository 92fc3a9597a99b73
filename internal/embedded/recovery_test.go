package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/embedded"
)

// crashed copies the directory of a running broker, which is what kill -9 would leave of it: what was written is in the
// files, what a shutdown adds is not.
func crashed(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(to, "broker.pid")); err != nil {
		t.Fatal(err)
	}
	return to
}

// eventually polls, for what the broker does by itself.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(wait)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s", wait, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func deleteRecords(t *testing.T, cl *kgo.Client, topic string, before int64) {
	t.Helper()
	var os kadm.Offsets
	os.AddOffset(topic, 0, before, -1)
	resp, err := kadm.NewClient(cl).DeleteRecords(within(t), os)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func segments(t *testing.T, dir, topic string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "log", "partitions", topic+"-0", "*.dat"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestRemovedRecordsStayRemoved: kfake knows the log start only from an orderly shutdown, and from nothing at all when the
// log is empty. Removed records came back after kill -9, and after an emptied log offsets began at 0 again, also after an
// orderly restart.
func TestRemovedRecordsStayRemoved(t *testing.T) {
	t.Parallel()
	for _, below := range []int64{1, 7, 10} { // in the first segment, in a later one, all
		for _, how := range []string{"kill", "shutdown"} {
			t.Run(fmt.Sprintf("below %d, %s", below, how), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				opts := embedded.Options{DataDir: dir, SegmentBytes: 200} // two or three records a segment
				b := start(t, opts)
				cl := client(t, b.Addr())
				createTopic(t, cl, "topic", 1, nil)
				produce(t, cl, "topic", 10, numbered)
				deleteRecords(t, cl, "topic", below)

				next := int64(10)
				for round := range 4 { // the second restart sees what the first one wrote
					wantRecords := int(next - below)
					if how == "kill" {
						opts.DataDir = crashed(t, opts.DataDir)
					} else {
						stop(t, b)
					}
					b = start(t, opts)
					cl = client(t, b.Addr())
					if s, e := offsets(t, cl, "topic"); s != below || e != next {
						t.Fatalf("restart %d: offsets %d to %d, want %d to %d", round, s, e, below, next)
					}
					if got := len(readAll(t, b.Addr(), "topic")); got != wantRecords {
						t.Fatalf("restart %d: read %d records, want %d", round, got, wantRecords)
					}
					if round < 2 {
						continue // twice without a record between, twice with one
					}
					if first := produce(t, cl, "topic", 1, numbered); first != next {
						t.Fatalf("restart %d: next record got offset %d, want %d", round, first, next)
					}
					next++
				}
			})
		}
	}
}

// TestRetentionThatRemovesAllKeepsOffsets is the same by age: every record goes, the process is killed, offsets go on.
func TestRetentionThatRemovesAllKeepsOffsets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir, RetentionInterval: 10 * time.Millisecond})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, map[string]string{"retention.ms": "100"})
	produce(t, cl, "topic", 5, numbered)
	eventually(t, "all records are removed", func() bool { s, e := offsets(t, cl, "topic"); return s == 5 && e == 5 })
	if files := segments(t, dir, "topic"); len(files) != 0 {
		t.Errorf("files of an empty log: %v", files)
	}
	b2 := start(t, embedded.Options{DataDir: crashed(t, dir)})
	cl2 := client(t, b2.Addr())
	if s, e := offsets(t, cl2, "topic"); s != 5 || e != 5 {
		t.Fatalf("offsets after kill -9 = %d to %d, want 5 to 5", s, e)
	}
	if first := produce(t, cl2, "topic", 1, numbered); first != 5 {
		t.Errorf("next record got offset %d, want 5", first)
	}
}

// TestTopicMadeAnewStartsAtZero: the log start on record belongs to the topic's id, not to its name.
func TestTopicMadeAnewStartsAtZero(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	produce(t, cl, "topic", 5, numbered)
	deleteRecords(t, cl, "topic", 4)
	record, err := os.ReadFile(filepath.Join(dir, "log", "partitions", "topic-0", "logstart.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(cl).DeleteTopic(within(t), "topic"); err != nil {
		t.Fatal(err)
	}
	cl = client(t, b.Addr()) // the first has the old topic's id for a while
	createTopic(t, cl, "topic", 1, nil)
	produce(t, cl, "topic", 2, numbered)
	// As if the record had been written at the moment the topic was deleted.
	if err := os.WriteFile(filepath.Join(dir, "log", "partitions", "topic-0", "logstart.json"), record, 0o600); err != nil {
		t.Fatal(err)
	}
	b2 := start(t, embedded.Options{DataDir: crashed(t, dir)})
	if s, e := offsets(t, client(t, b2.Addr()), "topic"); s != 0 || e != 2 {
		t.Errorf("offsets of the new topic after kill -9 = %d to %d, want 0 to 2", s, e)
	}
}

// TestTornEndIsCut: a batch of which only a part reached the file is not a record, and the next one takes its offset.
func TestTornEndIsCut(t *testing.T) {
	t.Parallel()
	for name, tear := range map[string]func(last []byte) []byte{
		"half a header":   func(last []byte) []byte { return last[:30] },
		"half a body":     func(last []byte) []byte { return last[:len(last)-3] },
		"a changed byte":  func(last []byte) []byte { last[len(last)-1] ^= 0xff; return last },
		"zeros":           func(last []byte) []byte { return make([]byte, 4096) },
		"another program": func(last []byte) []byte { return []byte(strings.Repeat("GET / HTTP/1.1\r\n", 20)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := start(t, embedded.Options{DataDir: dir})
			cl := client(t, b.Addr())
			createTopic(t, cl, "topic", 1, nil)
			produce(t, cl, "topic", 3, numbered)
			file := filepath.Join(dir, "log", "partitions", "topic-0", "0.dat")
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			produce(t, cl, "topic", 1, numbered)
			all, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir = crashed(t, dir)
			file = filepath.Join(dir, "log", "partitions", "topic-0", "0.dat")
			torn := append(whole, tear(all[len(whole):])...)
			if err := os.WriteFile(file, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			b2 := start(t, embedded.Options{DataDir: dir})
			records := readAll(t, b2.Addr(), "topic")
			if len(records) != 3 || !bytes.Equal(records[2].Value, numbered(2)) {
				t.Fatalf("read %d records, want the 3 whole ones", len(records))
			}
			if first := produce(t, client(t, b2.Addr()), "topic", 1, numbered); first != 3 {
				t.Errorf("next record got offset %d, want 3", first)
			}
			if got := len(readAll(t, b2.Addr(), "topic")); got != 4 {
				t.Errorf("read %d records after the next one, want 4", got)
			}
		})
	}
}

// TestGroupCommitsSurviveTornEntry: kfake ignored a torn last entry of its commit log but appended behind it, so that the
// commits of the whole next run were lost at the restart after it.
func TestGroupCommitsSurviveTornEntry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	commit := func(cl *kgo.Client, at int64) {
		var os kadm.Offsets
		os.AddOffset("topic", 0, at, -1)
		if err := kadm.NewClient(cl).CommitAllOffsets(within(t), "group", os); err != nil {
			t.Fatal(err)
		}
	}
	committed := func(cl *kgo.Client) int64 {
		resp, err := kadm.NewClient(cl).FetchOffsets(within(t), "group")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := resp.Lookup("topic", 0)
		return o.At
	}
	commit(cl, 1)
	dir = crashed(t, dir)
	f, err := os.OpenFile(filepath.Join(dir, "log", "groups.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{90, 0, 0, 0, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	b = start(t, embedded.Options{DataDir: dir})
	cl = client(t, b.Addr())
	if got := committed(cl); got != 1 {
		t.Fatalf("commit after the first kill = %d, want 1", got)
	}
	commit(cl, 2)
	b = start(t, embedded.Options{DataDir: crashed(t, dir)})
	if got := committed(client(t, b.Addr())); got != 2 {
		t.Errorf("commit after the second kill = %d, want 2", got)
	}
}

// TestIdempotentProducerAcrossKill: after kill -9 kfake knew nothing of the batches written since the last orderly
// shutdown. One sent again because its acknowledgement was lost was stored twice, or the producer's next one refused.
func TestIdempotentProducerAcrossKill(t *testing.T) {
	t.Parallel()
	for _, shutdownBefore := range []bool{false, true} {
		t.Run(fmt.Sprintf("after an orderly shutdown %v", shutdownBefore), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := start(t, embedded.Options{DataDir: dir})
			addr := b.Addr()
			cl := client(t, addr, kgo.MaxBufferedRecords(1000), kgo.RecordDeliveryTimeout(wait))
			createTopic(t, cl, "topic", 1, nil)
			produce(t, cl, "topic", 3, numbered)
			if shutdownBefore {
				stop(t, b)
				start(t, embedded.Options{DataDir: dir, Listen: addr})
			}
			// The client's own retries cannot be timed from here, so the same batch is sent twice by hand, as a retry is.
			raw := newRawProducer(t, cl, "topic")
			var want []string
			for i := range 7 {
				raw.send(t, fmt.Sprintf("raw %d", i), i)
				want = append(want, fmt.Sprintf("raw %d", i))
			}
			stopped := crashed(t, dir)
			b2 := start(t, embedded.Options{DataDir: stopped})
			cl2 := client(t, b2.Addr())
			again := newRawProducerAs(t, cl2, "topic", raw.id, raw.epoch)
			if first := again.send(t, "raw 6", 6); first != 3+6 {
				t.Errorf("a batch sent again got offset %d, want its own, 9", first)
			}
			if first := again.send(t, "raw 3", 3); first != 3+3 {
				t.Errorf("an older batch sent again got offset %d, want its own, 6", first)
			}
			again.send(t, "raw 7", 7) // and the producer goes on
			want = append(want, "raw 7")
			var got []string
			for _, r := range readAll(t, b2.Addr(), "topic") {
				if strings.HasPrefix(string(r.Value), "raw") {
					got = append(got, string(r.Value))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("log has %q, want %q", got, want)
			}
		})
	}
}

// TestTransactionsAcrossKill: a partition with transactions is read by kfake, which alone knows how they ended, and keeps
// its log start all the same.
func TestTransactionsAcrossKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr(), kgo.TransactionalID("tx"))
	createTopic(t, cl, "topic", 1, nil)
	for i, try := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, cl, "topic", 2, func(j int) []byte { return fmt.Appendf(nil, "tx %d.%d", i, j) })
		if err := cl.EndTransaction(within(t), try); err != nil {
			t.Fatal(err)
		}
	}
	deleteRecords(t, client(t, b.Addr()), "topic", 1)
	b2 := start(t, embedded.Options{DataDir: crashed(t, dir)})
	reader := client(t, b2.Addr(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"topic": {0: kgo.NewOffset().AtStart()}}))
	var got []string
	for len(got) < 3 {
		fetches := reader.PollFetches(within(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		for _, r := range fetches.Records() {
			got = append(got, string(r.Value))
		}
	}
	if want := []string{"tx 0.1", "tx 2.0", "tx 2.1"}; !slices.Equal(got, want) {
		t.Errorf("committed records after kill -9 = %q, want %q", got, want)
	}
}

// TestFilesOfDeletedTopicAreMovedAway: a partition directory without a topic would be written into by the next topic of
// that name.
func TestFilesOfDeletedTopicAreMovedAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	createTopic(t, client(t, b.Addr()), "other", 1, nil)
	stop(t, b)
	left := filepath.Join(dir, "log", "partitions", "topic-0")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "0.dat"), []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	b = start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	produce(t, cl, "topic", 3, numbered)
	if got := len(readAll(t, b.Addr(), "topic")); got != 3 {
		t.Errorf("read %d records, want 3", got)
	}
	moved, err := filepath.Glob(filepath.Join(dir, "log", "deleted", "topic-0-*", "0.dat"))
	if err != nil || len(moved) != 1 {
		t.Errorf("files moved away: %v (%v), want the one left over", moved, err)
	}
}

// TestRecoveryReadsManySegments: recovery runs after a kill, keeps every record of every file, says so, and does not run
// after an orderly shutdown.
func TestRecoveryReadsManySegments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := embedded.Options{DataDir: dir, SegmentBytes: 10_000}
	b := start(t, opts)
	cl := client(t, b.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	createTopic(t, cl, "topic", 1, nil)
	value := bytes.Repeat([]byte("x"), 900)
	produce(t, cl, "topic", 100, func(i int) []byte { return append(strconv.AppendInt(nil, int64(i), 10), value...) })
	if n := len(segments(t, dir, "topic")); n < 5 {
		t.Fatalf("%d segments, want several", n)
	}
	opts.DataDir = crashed(t, dir)
	var log logRecorder
	opts.Logger = log.logger()
	b = start(t, opts)
	if !log.contains("was not shut down in order") {
		t.Errorf("nothing in the log about the recovery:\n%s", log.String())
	}
	records := readAll(t, b.Addr(), "topic")
	for i, r := range records {
		if r.Offset != int64(i) || !strings.HasPrefix(string(r.Value), strconv.Itoa(i)+"x") {
			t.Fatalf("record %d has offset %d, value %.10q", i, r.Offset, r.Value)
		}
	}
	if len(records) != 100 {
		t.Fatalf("read %d records, want 100", len(records))
	}
	stop(t, b)
	log.reset()
	start(t, opts)
	if log.contains("was not shut down in order") {
		t.Errorf("recovery after an orderly shutdown:\n%s", log.String())
	}
}

func TestStartIsBoundedByContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.Start(ctx, embedded.Options{DataDir: dir, Listen: "127.0.0.1:0"}); err == nil {
		t.Fatal("start with an ended context succeeded")
	}
	start(t, embedded.Options{DataDir: dir}) // and left nothing behind
}
