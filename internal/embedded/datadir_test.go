package embedded_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/embedded"
)

// filled returns the directory of a broker that was stopped in order after it wrote records.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	produce(t, cl, "topic", 3, numbered)
	cl.Close()
	stop(t, b)
	return dir
}

// TestDamagedDirectoryIsRefused: kfake starts empty, or on what it can read, when one of its files is gone or cut off. A
// log that a broken file stands in front of must not be overwritten.
func TestDamagedDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name   string
		damage func(*testing.T, string)
		want   string
	}{
		{"identity gone", remove("broker.json"), "broker.json is missing"},
		{"identity empty", replace("broker.json", ""), "broker.json is damaged"},
		{"identity of nobody", replace("broker.json", `{"format":1}`), "broker.json is damaged"},
		{"identity newer", replace("broker.json", `{"format":2,"cluster_id":"x"}`), "newer version"},
		{"meta gone", remove("log/meta.json"), "meta.json is missing"},
		{"meta empty", replace("log/meta.json", ""), "meta.json"},
		{"meta newer", replace("log/meta.json", `{"version":2,"cluster_id":"x"}`), "newer version"},
		{"meta of another", replace("log/meta.json", `{"version":1,"cluster_id":"other"}`), `"other"`},
		{"topics gone", remove("log/topics.json"), "topics.json is missing"},
		{"topics empty", replace("log/topics.json", ""), "topics.json"},
		{"topics newer", replace("log/topics.json", `{"version":2,"topics":[]}`), "newer version"},
		{"snapshot newer", replace("log/partitions/topic-0/snapshot.json", `{"version":2}`), "newer version"},
		{"log start cut off", replace("log/partitions/topic-0/logstart.json", `{"version":1,`), "logstart.json"},
		{"log start newer", replace("log/partitions/topic-0/logstart.json", `{"version":2}`), "newer version"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := filled(t)
			tc.damage(t, dir)
			before := content(t, dir)
			_, err := embedded.Start(within(t), embedded.Options{DataDir: dir, Listen: "127.0.0.1:0"})
			if err == nil {
				t.Fatal("the broker started")
			}
			for _, want := range []string{dir, tc.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not have %q", err, want)
				}
			}
			after := content(t, dir)
			for name, had := range before {
				if after[name] != had {
					t.Errorf("%s was changed by a start that was refused", name)
				}
			}
		})
	}
}

// content returns the files of the broker's directory, without those of the lock.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(path, "broker.lock") || strings.HasPrefix(path, "broker.pid") {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestFirstStartCutShort: whatever part of a first start reached the disk, the next one completes it and keeps the identity.
func TestFirstStartCutShort(t *testing.T) {
	t.Parallel()
	fresh := t.TempDir()
	b := start(t, embedded.Options{DataDir: fresh})
	id := b.ClusterID()
	stop(t, b)
	for name, keep := range map[string][]string{
		"only the lock":             {},
		"the identity":              {"broker.json"},
		"and an empty log":          {"broker.json", "log/"},
		"and kfake's meta":          {"broker.json", "log/meta.json"},
		"and no topics":             {"broker.json", "log/meta.json", "log/topics.json"},
		"topics but no meta":        {"broker.json", "log/topics.json"},
		"an unfinished meta beside": {"broker.json", "log/meta.json.tmp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, file := range keep {
				if strings.HasSuffix(file, "/") {
					if err := os.Mkdir(filepath.Join(dir, file), 0o700); err != nil {
						t.Fatal(err)
					}
					continue
				}
				raw, err := os.ReadFile(filepath.Join(fresh, file))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b := start(t, embedded.Options{DataDir: dir})
			if len(keep) > 0 && b.ClusterID() != id {
				t.Errorf("cluster id = %q, want the one on disk, %q", b.ClusterID(), id)
			}
			cl := client(t, b.Addr())
			createTopic(t, cl, "topic", 1, nil)
			produce(t, cl, "topic", 1, numbered)
		})
	}
}

// A path mistyped must not end with a broker's files among somebody's own: nothing is made, changed or locked there.
func TestForeignDirectoryIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]string{
		"a file":               {"thesis.tex"},
		"a hidden file":        {".profile"},
		"a log of its own":     {"log/today.txt"},
		"what looks like ours": {"broker.lock", "thesis.tex"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, file := range files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte("mine"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := embedded.Start(within(t), embedded.Options{DataDir: dir, Listen: "127.0.0.1:0"})
			if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "new or empty directory") {
				t.Errorf("got %v, want an error that names %s and what is allowed", err, dir)
			}
			var left []string
			walk := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					left = append(left, path)
				}
				return err
			})
			if walk != nil || !slices.Equal(left, files) {
				t.Errorf("the directory has %v, had %v; error %v", left, files, walk)
			}
		})
	}
}

// A volume that was just made is empty, but for what its file system puts there.
func TestNewVolumeIsTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, embedded.Options{DataDir: dir})
}

// A directory that cannot be written is one error, whatever cannot be undone after it.
func TestUnwritableDirectoryIsOneError(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	// A directory in the place of the file that names the process can be neither written nor removed, by anybody.
	if err := os.MkdirAll(filepath.Join(dir, "broker.pid", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.Start(within(t), embedded.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	if err == nil || strings.Contains(err.Error(), "remove") || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "broker.pid") {
		t.Errorf("got %v", err)
	}
}

func TestUnusableDirectoryIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.Start(within(t), embedded.Options{DataDir: file, Listen: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as directory: %v, want an error naming %s", err, file)
	}
}
