package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// syncer puts on the disk what is written, before any client hears of it. kfake can sync each batch itself, but ignores
// whether that worked, and a record that is acknowledged nevertheless may be gone when the machine is. So each answer that
// goes out waits for the syncer: whatever the log files have grown by until then is synced first.
type syncer struct {
	log    string
	sync   func(*os.File) error
	failed func(error)

	mu    sync.Mutex
	dirs  map[string]*syncedDir
	files map[string]*syncedFile // kfake's entry logs
	err   error                  // the first failure; nothing goes out after it
	lost  []string               // the files that could not be synced
}

type syncedDir struct {
	base  int64                  // files below are synced and complete
	files map[string]*syncedFile // of the files from base on, log and index
}

// syncedFile is a file as far as it is on the disk. It stays open so that the system reports to it whatever goes wrong
// between two syncs.
type syncedFile struct {
	f    *os.File
	size int64
}

func newSyncer(log string, sync func(*os.File) error, failed func(error)) *syncer {
	s := &syncer{log: log, sync: sync, failed: failed, dirs: make(map[string]*syncedDir), files: make(map[string]*syncedFile)}
	for _, name := range []string{"groups.log", pidsFile} {
		s.files[filepath.Join(log, name)] = &syncedFile{}
	}
	return s
}

// add makes the syncer look after a partition from now on.
func (s *syncer) add(topic string, partition int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := partitionDir(s.log, topic, partition)
	if s.dirs[dir] == nil {
		s.dirs[dir] = &syncedDir{files: make(map[string]*syncedFile)}
	}
}

// flush syncs what is not yet. After it failed once it always fails.
func (s *syncer) flush() error {
	s.mu.Lock()
	if s.err != nil {
		defer s.mu.Unlock()
		return s.err
	}
	err := s.flushAll()
	s.err = err
	s.mu.Unlock()
	if err != nil {
		s.failed(err)
	}
	return err
}

func (s *syncer) flushAll() error {
	for path, file := range s.files {
		if _, err := s.flushFile(path, file); err != nil {
			return err
		}
	}
	for dir, d := range s.dirs {
		if err := s.flushDir(dir, d); err != nil {
			return err
		}
	}
	return nil
}

func (s *syncer) flushDir(dir string, d *syncedDir) error {
	segs, err := segmentFiles(dir)
	if err != nil {
		return err
	}
	if n := len(segs); n > 0 && segs[n-1].base < d.base {
		*d = syncedDir{files: d.files} // made anew
	}
	added := false
	for _, seg := range segs {
		if seg.base < d.base {
			continue
		}
		for _, path := range []string{seg.path, indexFile(seg.path)} {
			file := d.files[path]
			if file == nil {
				file = &syncedFile{}
				d.files[path] = file
			}
			fresh, err := s.flushFile(path, file)
			if err != nil {
				return err
			}
			added = added || fresh
		}
		d.base = seg.base
	}
	for path, file := range d.files { // only the last file is written to
		if n := len(segs); n == 0 || path != segs[n-1].path && path != indexFile(segs[n-1].path) {
			file.close()
			delete(d.files, path)
		}
	}
	if added {
		return syncDir(dir)
	}
	return nil
}

// flushFile syncs a file that has grown or is another one than before, which fresh tells.
func (s *syncer) flushFile(path string, file *syncedFile) (fresh bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		file.close()
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if file.f != nil {
		if have, err := file.f.Stat(); err != nil || !os.SameFile(have, info) {
			file.close()
		}
	}
	if file.f == nil {
		if file.f, err = os.OpenFile(path, os.O_RDWR, 0); errors.Is(err, fs.ErrNotExist) {
			file.f = nil
			return false, nil
		} else if err != nil {
			file.f = nil
			return false, err
		}
		fresh = true
	}
	if !fresh && file.size == info.Size() {
		return false, nil
	}
	if err := s.sync(file.f); err != nil {
		s.lost = append(s.lost, path)
		return fresh, fmt.Errorf("sync %s: %w", path, err)
	}
	file.size = info.Size()
	return fresh, nil
}

func (f *syncedFile) close() {
	if f.f != nil {
		f.f.Close()
	}
	*f = syncedFile{}
}

// close gives the files up and returns those that could not be synced. A further sync of such a file reports success and
// means nothing, so it has to be written anew.
func (s *syncer) close() (lost []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = os.ErrClosed
	}
	for _, d := range s.dirs {
		for _, file := range d.files {
			file.close()
		}
	}
	for _, file := range s.files {
		file.close()
	}
	return s.lost
}

// rewrite writes files that could not be synced anew, as other files of the same content.
func rewrite(paths []string) error {
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = writeFileAtomic(path, raw)
		}
		if err != nil {
			return fmt.Errorf("write a file anew that could not be synced: %w", err)
		}
	}
	return nil
}
