package embedded_test

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/embedded"
)

// TestDamageInTheMiddleMakesAnotherStream: a file was damaged or missing, and the log went on with a hole and the same
// cluster id: when its names and sizes fitted the snapshot of an orderly stop, the files were not looked at, and a hole
// between two files was not looked for. Retention is no damage.
func TestDamageInTheMiddleMakesAnotherStream(t *testing.T) {
	t.Parallel()
	flip := func(back int) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)-back] ^= 0x01
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(t *testing.T, path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	again := func(t *testing.T, path string) {
		t.Helper()
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "1.dat"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const records, trimmed = 20, 5
	for _, tc := range []struct {
		name    string
		file    int // counted from the end if negative
		damage  func(*testing.T, string)
		missing bool // records are gone
	}{
		{"middle file has a changed byte", 3, flip(1), true},
		{"middle file has a changed offset", 3, func(t *testing.T, path string) { flip(fileSize(t, path)-7)(t, path) }, true},
		{"first file has a changed byte", 0, flip(1), true},
		{"last file has a changed byte", -1, flip(1), true},
		{"middle file is gone", 3, remove, true},
		{"first file is gone", 0, remove, true},
		{"a file is there twice", 3, again, false},
		{"nothing", 0, nil, false},
	} {
		for _, inOrder := range []bool{false, true} {
			t.Run(tc.name+", in order "+strconv.FormatBool(inOrder), func(t *testing.T) {
				t.Parallel()
				opts := embedded.Options{DataDir: t.TempDir(), SegmentBytes: 150}
				b := start(t, opts)
				cl := client(t, b.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()))
				createTopic(t, cl, "topic", 1, nil)
				for i := range records {
					produce(t, cl, "topic", 1, func(int) []byte { return numbered(i) })
				}
				deleteRecords(t, cl, "topic", trimmed)
				if inOrder {
					stop(t, b)
				} else {
					opts.DataDir = crashed(t, opts.DataDir)
				}
				files := segments(t, opts.DataDir, "topic")
				slices.SortFunc(files, func(a, b string) int { return cmp.Compare(baseOf(t, a), baseOf(t, b)) })
				before := clusterID(t, opts.DataDir)
				if tc.damage != nil {
					tc.damage(t, files[(tc.file+len(files))%len(files)])
				}

				b = start(t, opts)
				if after := clusterID(t, opts.DataDir); (after != before) != (tc.damage != nil) {
					t.Errorf("the cluster id changed: %v, want %v", after != before, tc.damage != nil)
				}
				got := readHoled(t, b.Addr(), "topic")
				if gone := len(got) < records-trimmed; gone != tc.missing {
					t.Errorf("read %d records of %d", len(got), records-trimmed)
				}
				last := int64(-1)
				for _, r := range got {
					if r.Offset <= last || string(r.Value) != string(numbered(int(r.Offset))) {
						t.Errorf("offset %d has %q, after offset %d", r.Offset, r.Value, last)
					}
					last = r.Offset
				}
				// Told once, and written on.
				after := clusterID(t, opts.DataDir)
				produce(t, client(t, b.Addr()), "topic", 1, numbered)
				stop(t, b)
				b = start(t, opts)
				if n := len(readHoled(t, b.Addr(), "topic")); n != len(got)+1 {
					t.Errorf("read %d records after a restart, want %d", n, len(got)+1)
				}
				start(t, embedded.Options{DataDir: crashed(t, opts.DataDir)})
				if clusterID(t, opts.DataDir) != after {
					t.Error("the cluster id changed again, without a loss")
				}
			})
		}
	}
}

// readHoled reads to the end of a log that may have holes, the last record not among them.
func readHoled(t *testing.T, addr, topic string) []*kgo.Record {
	t.Helper()
	cl := client(t, addr, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	_, end := offsets(t, cl, topic)
	var got []*kgo.Record
	for len(got) == 0 || got[len(got)-1].Offset < end-1 {
		fetches := cl.PollFetches(within(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d records of a log that ends at %d: %v", len(got), end, err)
		}
		got = append(got, fetches.Records()...)
	}
	return got
}

func baseOf(t *testing.T, path string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), ".dat"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func fileSize(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size())
}

// TestProducersStateOlderThanTheLog: the process was killed while it started, after a snapshot was written, or while it
// stopped, before the producers' state was. The next start took the snapshot and had forgotten what producers had written:
// a batch that was sent again got a second offset.
func TestProducersStateOlderThanTheLog(t *testing.T) {
	t.Parallel()
	for _, cut := range []string{"start", "stop"} {
		t.Run(cut, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := start(t, embedded.Options{DataDir: dir})
			cl := client(t, b.Addr())
			createTopic(t, cl, "topic", 2, nil)
			p := newRawProducer(t, cl, "topic")
			for i := range 3 {
				p.send(t, "value", i)
			}
			state := filepath.Join(dir, "log", "seq_windows.json")
			older, err := os.ReadFile(state)
			if err != nil {
				t.Fatal(err)
			}
			if cut == "start" {
				dir = crashed(t, dir)
				state = filepath.Join(dir, "log", "seq_windows.json")
				b = start(t, embedded.Options{DataDir: dir})
			}
			stop(t, b)
			if err := os.WriteFile(state, older, 0o600); err != nil {
				t.Fatal(err)
			}
			b = start(t, embedded.Options{DataDir: dir})
			again := newRawProducerAs(t, client(t, b.Addr()), "topic", p.id, p.epoch)
			if at := again.send(t, "value", 2); at != 2 {
				t.Errorf("a batch sent again got offset %d, want its own, 2", at)
			}
			if at := again.send(t, "next", 3); at != 3 {
				t.Errorf("the next batch got offset %d, want 3", at)
			}
		})
	}
}
