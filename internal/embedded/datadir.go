package embedded

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// The data directory:
//
//	broker.json   identity: format and cluster id, rewritten only when records are lost
//	broker.lock   held by the process that owns the directory
//	broker.pid    the pid of that process, for the error a second one gives
//	reserve       room that is given up when the disk is full
//	log/          kfake's directory: meta.json, topics.json, groups.log, pids.log, partitions/TOPIC-N/OFFSET.dat
//
// kfake takes a directory without meta.json for a new one and would write an empty topics.json over a full log. So the
// identity is kept outside, and a directory that has the one and lost the other is an error, never a fresh start.
const (
	identityFile   = "broker.json"
	lockFile       = "broker.lock"
	pidFile        = "broker.pid"
	restoredFile   = "restored" // made by the user
	logDir         = "log"
	metaFile       = "meta.json" // of kfake
	identityFormat = 1
	fakeFormat     = 1 // kfake's currentPersistVersion
)

// ErrLocked is wrapped by the error for a data directory that another process, or another broker of this one, holds.
var ErrLocked = errors.New("data directory is in use")

type identity struct {
	Format    int       `json:"format"`
	ClusterID string    `json:"cluster_id"`
	Created   time.Time `json:"created"`
	// Previous is the cluster id before the last change, which kfake's files may still have if the change was cut short.
	Previous string `json:"previous_cluster_id,omitempty"`
}

// dataDir is a locked and checked data directory.
type dataDir struct {
	path    string
	id      identity
	lock    *flock.Flock
	reserve *reserve
}

func (d *dataDir) log() string { return filepath.Join(d.path, logDir) }

// openDataDir creates the directory when absent, locks it and checks that it is one this version can serve. The caller
// must release it.
func openDataDir(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := refuseForeign(path); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	d := &dataDir{path: path, reserve: &reserve{dir: path}, lock: flock.New(filepath.Join(path, lockFile), flock.SetPermissions(0o600))}
	locked, err := d.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data directory %s: lock: %w", path, err)
	}
	if !locked {
		return nil, lockedError(path)
	}
	if err := d.prepare(); err != nil {
		_ = d.release() // what cannot be written cannot be removed either; the first error says why
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	return d, nil
}

// refuseForeign keeps a mistyped path from scattering a broker's files among somebody's own. A directory that is ours has
// the identity, or is a first start cut short, which has no file but ours; a new file system has its lost+found. It runs
// before anything is written.
func refuseForeign(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	foreign, locked, log := "", false, false
	for _, e := range entries {
		switch e.Name() {
		case identityFile:
			return nil
		case lockFile:
			locked = true
		case logDir:
			log = true
		case pidFile, reserveFile, identityFile + temporary, "lost+found":
		default:
			foreign = e.Name()
		}
	}
	if log && !locked {
		foreign = logDir
	}
	if foreign != "" {
		return fmt.Errorf("it has files (%q) but no broker's log (%s); name a new or empty directory", foreign, identityFile)
	}
	return nil
}

// prepare runs under the lock.
func (d *dataDir) prepare() error {
	err := d.reserve.retry(func() error {
		return os.WriteFile(filepath.Join(d.path, pidFile), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
	})
	if err != nil && !diskFull(err) {
		return err
	}
	if err := d.identify(); err != nil {
		return err
	}
	if err := d.check(); err != nil {
		return err
	}
	return d.restored()
}

// restored makes the directory another stream when the user says that it is a copy from earlier: it looks like a whole log
// and is one, but its next offsets were given to other records.
func (d *dataDir) restored() error {
	path := filepath.Join(d.path, restoredFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := d.changeID(); err != nil {
		return fmt.Errorf("change the cluster id of a restored copy: %w", err)
	}
	return removeFile(path)
}

func lockedError(path string) error {
	holder := "another process"
	if raw, err := os.ReadFile(filepath.Join(path, pidFile)); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil {
			holder = "process " + strconv.Itoa(pid)
			if pid == os.Getpid() {
				holder += " (this one)"
			}
		}
	}
	return fmt.Errorf("%w: %s is held by %s; stop it, or choose another data directory", ErrLocked, path, holder)
}

// release gives the directory up. The lock file stays: removing it would let two processes lock two different files.
func (d *dataDir) release() error {
	if err := os.Remove(filepath.Join(d.path, pidFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, d.lock.Unlock())
	}
	return d.lock.Unlock()
}

// identify reads the identity, or makes one for a directory that has never held a log.
func (d *dataDir) identify() error {
	file := filepath.Join(d.path, identityFile)
	raw, err := os.ReadFile(file)
	switch {
	case err == nil:
		if err := json.Unmarshal(raw, &d.id); err != nil {
			return fmt.Errorf("%s is damaged (%w); restore it from a copy, or move the directory away to start empty", identityFile, err)
		}
		if d.id.Format > identityFormat {
			return fmt.Errorf("%s has format %d, written by a newer version; this one reads up to %d", identityFile, d.id.Format, identityFormat)
		}
		if d.id.Format < 1 || d.id.ClusterID == "" {
			return fmt.Errorf("%s is damaged (format %d, cluster id %q); restore it from a copy, or move the directory away to start empty",
				identityFile, d.id.Format, d.id.ClusterID)
		}
		return os.MkdirAll(d.log(), 0o700)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}

	// log/ is made after the identity is on disk, so one without the other was not a first start cut short.
	if _, err := os.Lstat(d.log()); err == nil {
		return fmt.Errorf("%s is missing but %s/ exists; restore it from a copy, or move the directory away to start empty", identityFile, logDir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.id = identity{Format: identityFormat, ClusterID: newClusterID(), Created: time.Now().UTC().Truncate(time.Second)}
	if err := d.id.write(d.path); err != nil {
		return err
	}
	return os.Mkdir(d.log(), 0o700)
}

func (id identity) write(dir string) error {
	raw, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(dir, identityFile), append(raw, '\n'))
}

// changeID gives the directory a new cluster id. kfake must not run yet.
func (d *dataDir) changeID() error {
	next := d.id
	next.Previous, next.ClusterID = d.id.ClusterID, newClusterID()
	if err := next.write(d.path); err != nil {
		return err
	}
	d.id = next
	return d.writeMeta()
}

// writeMeta brings kfake's copy of the cluster id up to date, if there is one.
func (d *dataDir) writeMeta() error {
	meta := make(map[string]any)
	path := filepath.Join(d.log(), metaFile)
	if found, err := readJSON(path, &meta); err != nil || !found {
		return err
	}
	meta["cluster_id"] = d.id.ClusterID
	raw, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	return writeFileAtomic(path, raw)
}

// check compares kfake's files with the identity. A missing meta.json is a first start that was cut short only as long as
// no topic was ever written.
func (d *dataDir) check() error {
	var meta struct {
		Version   int    `json:"version"`
		ClusterID string `json:"cluster_id"`
	}
	found, err := readJSON(filepath.Join(d.log(), metaFile), &meta)
	if err != nil {
		return damaged(err)
	}
	if found {
		if meta.Version > fakeFormat {
			return fmt.Errorf("%s/meta.json has version %d, written by a newer version; this one reads up to %d", logDir, meta.Version, fakeFormat)
		}
		if meta.ClusterID == d.id.Previous && meta.ClusterID != d.id.ClusterID {
			if err := d.writeMeta(); err != nil { // a change that was cut short
				return err
			}
			meta.ClusterID = d.id.ClusterID
		}
		if meta.ClusterID != d.id.ClusterID {
			return fmt.Errorf("%s/meta.json has cluster id %q but %s has %q; the directory mixes two brokers' files",
				logDir, meta.ClusterID, identityFile, d.id.ClusterID)
		}
	}
	topics, foundTopics, err := readTopics(d.log())
	if err != nil {
		return damaged(err)
	}
	data, err := hasSegments(d.log())
	if err != nil {
		return err
	}
	if !found && (data || len(topics) > 0) {
		return damaged(fmt.Errorf("%s/meta.json is missing but there are topics", logDir))
	}
	if !foundTopics && data {
		return damaged(fmt.Errorf("%s/topics.json is missing but there are records", logDir))
	}
	return nil
}

func damaged(err error) error {
	return fmt.Errorf("the broker's files are damaged: %w; restore them from a copy, or move the directory away to start empty", err)
}

// diskTopic is what kfake's topics.json says of a topic.
type diskTopic struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"` // base64
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

func readTopics(log string) (topics []diskTopic, found bool, err error) {
	var file struct {
		Version int         `json:"version"`
		Topics  []diskTopic `json:"topics"`
	}
	found, err = readJSON(filepath.Join(log, "topics.json"), &file)
	if err == nil && file.Version > fakeFormat {
		err = fmt.Errorf("%s/topics.json has version %d, written by a newer version; this one reads up to %d", logDir, file.Version, fakeFormat)
	}
	return file.Topics, found, err
}

// hasSegments reports whether any partition directory holds a log file with records.
func hasSegments(log string) (bool, error) {
	dirs, err := os.ReadDir(filepath.Join(log, "partitions"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for _, dir := range dirs {
		segs, err := segmentFiles(filepath.Join(log, "partitions", dir.Name()))
		if err != nil {
			return false, err
		}
		for _, seg := range segs {
			if seg.size > 0 {
				return true, nil
			}
		}
	}
	return false, err
}

func newClusterID() string {
	var id [16]byte
	for {
		rand.Read(id[:]) // never fails
		if s := base64.RawURLEncoding.EncodeToString(id[:]); s[0] != '-' {
			return s // a leading dash would read as an option on a command line
		}
	}
}

// readJSON reads a file into v; found is false when there is no such file. An empty file is an error.
func readJSON(path string, v any) (found bool, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		if err = json.Unmarshal(raw, v); err != nil {
			err = fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	return err == nil, err
}

// temporary ends the name of a file that is being written.
const temporary = ".tmp"

// writeFileAtomic replaces the file so that after a crash, of the machine too, it holds the old or the new content.
func writeFileAtomic(path string, data []byte) (err error) {
	tmp := path + temporary
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes renames and new files in dir durable. Not every system can open a directory for that; where it cannot,
// there is nothing to sync either.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	err = f.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrInvalid) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
