package embedded

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
)

// logStarts keeps, in each partition's directory, the offset below which records were removed.
//
// kfake writes the log start to disk only when it shuts down in order, and takes it from the first batch it finds
// otherwise. After kill -9 removed records would come back; and a log that was emptied would begin at offset 0 again, in
// which case offsets that clients hold as positions would be given to other records. So the log start is on disk before
// the records are removed, and recovery restores it.
//
// The file lies in the partition's directory, which goes when the topic is deleted, and carries the topic's id, so that a
// topic created again under the same name is not taken for the old one.
type logStarts struct {
	log     string
	reserve *reserve
	mu      sync.Mutex // one writer at a time: the start only ever rises
}

const logStartFile = "logstart.json"

type logStart struct {
	Version int    `json:"version"`
	TopicID string `json:"topic_id"` // base64, as in topics.json
	Offset  int64  `json:"offset"`
}

// read returns the log start on record for the topic with this id; 0 when there is none.
func (l *logStarts) read(topic, id string, partition int32) (int64, error) {
	var s logStart
	path := filepath.Join(partitionDir(l.log, topic, partition), logStartFile)
	if _, err := readJSON(path, &s); err != nil {
		return 0, fmt.Errorf("%s-%d: %w", topic, partition, err)
	}
	switch {
	case s.Version > 1:
		return 0, fmt.Errorf("%s has version %d, written by a newer version; this one reads up to 1", path, s.Version)
	case s.TopicID != id:
		return 0, nil
	case s.Offset < 0:
		return 0, fmt.Errorf("%s has offset %d; want 0 or more", path, s.Offset)
	}
	return s.Offset, nil
}

// raise puts the log start on record, before the records below it are removed. A lower one than on record changes nothing.
func (l *logStarts) raise(topic, id string, partition int32, offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, err := l.read(topic, id, partition)
	if err != nil {
		return err
	}
	if offset <= have {
		return nil
	}
	raw, err := json.Marshal(logStart{Version: 1, TopicID: id, Offset: offset})
	if err == nil {
		// The directory is there, since there are records to remove. It is not made here: if the topic was deleted just now,
		// it must not come back.
		err = l.reserve.retry(func() error {
			return writeFileAtomic(filepath.Join(partitionDir(l.log, topic, partition), logStartFile), raw)
		})
	}
	if err != nil {
		return fmt.Errorf("record the log start of %s-%d: %w", topic, partition, err)
	}
	return nil
}
