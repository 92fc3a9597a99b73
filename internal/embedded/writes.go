package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// writeFailure is the first write of a kfake cluster that failed, if one did.
//
// kfake goes on after it, and must not be let: it notes an idempotent producer's batch before it stores it, so that the
// batch, sent again, is answered with success and an offset that the next record gets; and it appends to its other logs
// behind the half of an entry. So the cluster takes no further records, and is replaced by one that knows what is on disk
// as soon as writing works again.
type writeFailure struct {
	mu       sync.Mutex
	err      error
	happened chan struct{} // closed when err is set
}

func newWriteFailure() *writeFailure { return &writeFailure{happened: make(chan struct{})} }

// set takes the first failure; further ones follow from it.
func (w *writeFailure) set(err error) (first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return false
	}
	w.err = err
	close(w.happened)
	return true
}

func (w *writeFailure) get() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// reserve is a file that takes room on the disk, to be given up when the disk is full: what makes room has to write a
// little first, as what retention removes must stay removed.
type reserve struct {
	dir string
	mu  sync.Mutex
}

const (
	reserveFile  = "reserve"
	reserveBytes = 1 << 20
	probeFile    = "reserve.probe"
)

// keep makes the file when it is absent. It writes what no file system can compress.
func (r *reserve) keep() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	path := filepath.Join(r.dir, reserveFile)
	if info, err := os.Stat(path); err == nil && info.Size() >= reserveBytes {
		return nil
	}
	return fill(path, reserveBytes)
}

// probe tells whether there is room again, for the reserve and for as much beside it.
func (r *reserve) probe() error {
	if err := r.keep(); err != nil {
		return err
	}
	path := filepath.Join(r.dir, probeFile)
	return errors.Join(fill(path, reserveBytes), removeFile(path))
}

func fill(path string, size int) error {
	junk := make([]byte, size)
	rand.Read(junk) // never fails
	return writeFileAtomic(path, junk)
}

// retry calls a function again when its first call found the disk full and there was a reserve to give up.
func (r *reserve) retry(write func() error) error {
	err := write()
	if !diskFull(err) {
		return err
	}
	r.mu.Lock()
	gone := os.Remove(filepath.Join(r.dir, reserveFile))
	r.mu.Unlock()
	if errors.Is(gone, fs.ErrNotExist) {
		return err
	}
	if gone != nil {
		return fmt.Errorf("%w, and the reserve could not be given up: %w", err, gone)
	}
	return write()
}
