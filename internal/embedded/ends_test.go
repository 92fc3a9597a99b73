package embedded_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dashflow/dashstream/internal/embedded"
)

// clusterID is the id in the directory's identity.
func clusterID(t *testing.T, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "broker.json"))
	if err != nil {
		t.Fatal(err)
	}
	var id struct {
		ClusterID string `json:"cluster_id"`
	}
	if err := json.Unmarshal(raw, &id); err != nil || id.ClusterID == "" {
		t.Fatalf("identity %s: %v", raw, err)
	}
	return id.ClusterID
}

// edit changes ends.json of a directory.
func edit(t *testing.T, dir string, change func(map[string]any)) {
	t.Helper()
	path := filepath.Join(dir, "log", "ends.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content := make(map[string]any)
	if err := json.Unmarshal(raw, &content); err != nil {
		t.Fatal(err)
	}
	change(content)
	if raw, err = json.Marshal(content); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLostRecordsMakeAnotherStream: where records that clients may have seen are gone, their offsets are given to other
// records, so the cluster id, by which clients know the stream, must not be the same. Where none can be gone, it stays.
func TestLostRecordsMakeAnotherStream(t *testing.T) {
	t.Parallel()
	truncate := func(t *testing.T, dir string, keep func(whole, all int) int, sizes [2]int) {
		t.Helper()
		if err := os.Truncate(filepath.Join(dir, "log", "partitions", "topic-0", "0.dat"), int64(keep(sizes[0], sizes[1]))); err != nil {
			t.Fatal(err)
		}
	}
	write := func(t *testing.T, dir string, at int, data []byte) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, "log", "partitions", "topic-0", "0.dat"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(data, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name    string
		inOrder bool // the broker was stopped in order before the damage
		noted   bool // the broker had noted how far the log reached
		fsync   bool
		damage  func(t *testing.T, dir string, sizes [2]int) // bytes with 3 records and with 4
		changes bool
	}{
		{name: "killed", damage: func(*testing.T, string, [2]int) {}},
		{name: "killed later", noted: true, damage: func(*testing.T, string, [2]int) {}},
		{name: "killed while it wrote", damage: func(t *testing.T, dir string, n [2]int) {
			truncate(t, dir, func(_, all int) int { return all - 3 }, n)
		}},
		{name: "killed at the first bytes", damage: func(t *testing.T, dir string, n [2]int) {
			truncate(t, dir, func(whole, _ int) int { return whole + 5 }, n)
		}},
		{name: "a whole record is gone", noted: true, changes: true, damage: func(t *testing.T, dir string, n [2]int) {
			truncate(t, dir, func(whole, _ int) int { return whole }, n)
		}},
		{name: "a record is cut off that was there", noted: true, changes: true, damage: func(t *testing.T, dir string, n [2]int) {
			truncate(t, dir, func(_, all int) int { return all - 3 }, n)
		}},
		{name: "half is gone after an orderly stop", inOrder: true, changes: true, damage: func(t *testing.T, dir string, n [2]int) {
			truncate(t, dir, func(whole, _ int) int { return whole / 2 }, n)
		}},
		{name: "all files are gone after an orderly stop", inOrder: true, changes: true, damage: func(t *testing.T, dir string, _ [2]int) {
			if err := os.Remove(filepath.Join(dir, "log", "partitions", "topic-0", "0.dat")); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "a changed byte", changes: true, damage: func(t *testing.T, dir string, n [2]int) {
			write(t, dir, n[0]/2, []byte{0xff, 0xfe})
		}},
		{name: "zeros where a record was", changes: true, damage: func(t *testing.T, dir string, n [2]int) {
			write(t, dir, n[0], make([]byte, n[1]-n[0]))
		}},
		{name: "the machine went down", changes: true, damage: func(t *testing.T, dir string, _ [2]int) {
			edit(t, dir, func(c map[string]any) { c["boot"] = "another" })
		}},
		{name: "the machine went down and records are synced", fsync: true, damage: func(t *testing.T, dir string, _ [2]int) {
			edit(t, dir, func(c map[string]any) { c["boot"] = "another" })
		}},
		{name: "the machine went down after an orderly stop", inOrder: true, damage: func(t *testing.T, dir string, _ [2]int) {
			edit(t, dir, func(c map[string]any) { c["boot"] = "another" })
		}},
		{name: "the record of the ends is damaged", damage: func(t *testing.T, dir string, _ [2]int) {
			if err := os.WriteFile(filepath.Join(dir, "log", "ends.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); err != nil && tc.name == "the machine went down" {
				t.Skip("this system does not tell one run of the machine from another")
			}
			dir := t.TempDir()
			b := start(t, embedded.Options{DataDir: dir, Fsync: tc.fsync})
			cl := client(t, b.Addr())
			createTopic(t, cl, "topic", 1, nil)
			var sizes [2]int
			size := func() int {
				info, err := os.Stat(filepath.Join(dir, "log", "partitions", "topic-0", "0.dat"))
				if err != nil {
					t.Fatal(err)
				}
				return int(info.Size())
			}
			produce(t, cl, "topic", 3, numbered)
			sizes[0] = size()
			produce(t, cl, "topic", 1, numbered)
			sizes[1] = size()
			if tc.noted {
				eventually(t, "the end is noted", func() bool {
					raw, err := os.ReadFile(filepath.Join(dir, "log", "ends.json"))
					var content struct{ Topics map[string][]int64 }
					if err != nil || json.Unmarshal(raw, &content) != nil {
						return false
					}
					for _, list := range content.Topics {
						return len(list) == 1 && list[0] == 4
					}
					return false
				})
			}
			if tc.inOrder {
				stop(t, b)
			} else if !tc.noted {
				// What the broker may have noted in between, on a slow machine, is not this case.
				dir = crashed(t, dir)
				edit(t, dir, func(c map[string]any) { c["topics"] = map[string][]int64{} })
			} else {
				dir = crashed(t, dir)
			}
			before := clusterID(t, dir)
			tc.damage(t, dir, sizes)

			b = start(t, embedded.Options{DataDir: dir, Fsync: tc.fsync})
			after := clusterID(t, dir)
			if changed := before != after; changed != tc.changes {
				t.Errorf("the cluster id changed: %v, want %v", changed, tc.changes)
			}
			if b.ClusterID() != after {
				t.Errorf("clients see the cluster id %s, the directory has %s", b.ClusterID(), after)
			}
			produce(t, client(t, b.Addr()), "topic", 1, numbered)
			// Told once, and not at each start from then on.
			for range 2 {
				stop(t, b)
				b = start(t, embedded.Options{DataDir: dir, Fsync: tc.fsync})
			}
			start(t, embedded.Options{DataDir: crashed(t, dir)})
			if again := clusterID(t, dir); again != after || b.ClusterID() != after {
				t.Errorf("the cluster id changed again, without a loss")
			}
		})
	}
}

// TestChangeOfIDCutShort: the identity was rewritten, kfake's copy of the id not yet.
func TestChangeOfIDCutShort(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	old := clusterID(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "broker.json"), []byte(`{"format":1,"cluster_id":"next","previous_cluster_id":"`+old+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, embedded.Options{DataDir: dir})
	if b.ClusterID() != "next" {
		t.Errorf("cluster id %q, want the new one", b.ClusterID())
	}
	if n := len(readAll(t, b.Addr(), "topic")); n != 3 {
		t.Errorf("read %d records, want 3", n)
	}
}

// TestRestoredCopy: a copy from earlier goes on at offsets that were given to other records since. The user says so with a
// file, once.
func TestRestoredCopy(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	old := clusterID(t, dir)
	mark := filepath.Join(dir, "restored")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, embedded.Options{DataDir: dir})
	id := b.ClusterID()
	if id == old {
		t.Error("a restored copy has the cluster id that it had")
	}
	if n := len(readAll(t, b.Addr(), "topic")); n != 3 {
		t.Errorf("read %d records, want 3", n)
	}
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file that says so is still there: %v", err)
	}
	stop(t, b)
	if b = start(t, embedded.Options{DataDir: dir}); b.ClusterID() != id {
		t.Error("the cluster id changed again")
	}
}

// What is on record of another stream says nothing about this one, and does not change its id.
func TestEndsOfAnotherStreamSayNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	produce(t, cl, "topic", 3, numbered)
	stop(t, b)
	for _, id := range []string{"another", b.ClusterID()} { // the second shows that the end counts otherwise
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		edit(t, copied, func(c map[string]any) {
			c["cluster_id"] = id
			for topic := range c["topics"].(map[string]any) {
				c["topics"].(map[string]any)[topic] = []int64{100}
			}
		})
		same := start(t, embedded.Options{DataDir: copied}).ClusterID() == b.ClusterID()
		if want := id == "another"; same != want {
			t.Errorf("with the ends of the stream %q on record the id is kept: %v, want %v", id, same, want)
		}
	}
}
