package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// readiness is the content of the ready file.
type readiness struct {
	PID int `json:"pid"`
	// HTTP and Kafka are HOST:PORT; Kafka is the embedded broker's.
	HTTP  string `json:"http,omitempty"`
	Kafka string `json:"kafka,omitempty"`
}

// clearReadyFile removes the file of an earlier process, and finds out whether a new one can be written: better now than when
// everything runs.
func clearReadyFile(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular() && info.Mode().Type() != os.ModeSymlink:
		return fmt.Errorf("--ready-file %s: exists and is no regular file; name a file", path)
	case err == nil:
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("--ready-file: remove that of an earlier process: %w", err)
		}
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), temporaryPattern)
	if err != nil {
		return fmt.Errorf("--ready-file %s cannot be written: %w", path, err)
	}
	return errors.Join(tmp.Close(), os.Remove(tmp.Name()))
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
