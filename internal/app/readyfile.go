package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// readiness is the content of the ready file.
type readiness struct {
	PID int `json:"pid"`
	// HTTP and Kafka are HOST:PORT; Kafka is the embedded broker's.
	HTTP  string `json:"http,omitempty"`
	Kafka string `json:"kafka,omitempty"`
}

// prepareReadyFile finds out whether the file can be written: better now than when everything runs. It removes that of a
// process that has ended, which would say ready for this one. That of another that runs stays until this one can start.
func prepareReadyFile(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular() && info.Mode().Type() != os.ModeSymlink:
		return fmt.Errorf("--ready-file %s: exists and is no regular file; name a file", path)
	case err == nil && !ofAnother(path):
		if err := removeReadyFile(path); err != nil {
			return err
		}
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), temporaryPattern)
	if err != nil {
		return fmt.Errorf("--ready-file %s cannot be written: %w", path, err)
	}
	return errors.Join(tmp.Close(), os.Remove(tmp.Name()))
}

func removeReadyFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove --ready-file: %w", err)
	}
	return nil
}

// ofAnother reports that another process wrote the file, and that it runs.
func ofAnother(path string) bool {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names it
	var r readiness
	if err != nil || json.Unmarshal(raw, &r) != nil || r.PID <= 0 || r.PID == os.Getpid() {
		return false
	}
	other, err := os.FindProcess(r.PID)
	if err != nil {
		return false
	}
	defer func() { _ = other.Release() }()
	err = other.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission)
}

const temporaryPattern = ".ready-*"

// writeReadyFile puts the file there whole: a reader sees all of it or none.
func writeReadyFile(path string, r readiness) error {
	r.PID = os.Getpid()
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode ready file: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), temporaryPattern)
	if err != nil {
		return fmt.Errorf("write ready file %s: %w", path, err)
	}
	_, err = tmp.Write(append(body, '\n'))
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the write's error is the one to report
		return fmt.Errorf("write ready file %s: %w", path, err)
	}
	return nil
}
