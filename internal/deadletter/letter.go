package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dashflow/dashstream/internal/wire"
)

const (
	// version of the envelope.
	version = 1
	// MaxPayload bounds the part of a record's value that a letter holds, in bytes; MaxKey that of its key.
	MaxPayload = 256 << 10
	MaxKey     = 4 << 10
	// maxErrorBytes bounds the text of the error.
	maxErrorBytes = 1 << 10
	// maxLetter bounds a letter that is read: what is larger was not written here.
	maxLetter = 1 << 20
)

// Letter is about one record that could not be handled. Offsets and times are strings in JSON: programs that read numbers
// as floating point would change them.
type Letter struct {
	Version int `json:"version"`
	// Reason is one of [wire.Reasons], or unreadable_batch.
	Reason string `json:"reason"`
	// Error says more, without content of the record.
	Error string `json:"error"`
	// Component wrote the letter: exporter, gateway.
	Component string `json:"component"`
	// Topic, Partition and Offset are where the record is, TimestampMS its Kafka timestamp in milliseconds since the Unix
	// epoch.
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	Offset      int64  `json:"offset,string"`
	TimestampMS int64  `json:"timestamp_ms,string"`
	// Key is the record's, base64 in JSON; KeySize its size where it was too large to be kept whole.
	Key     []byte `json:"key,omitempty"`
	KeySize int    `json:"key_size,omitempty"`
	// PayloadSize and PayloadSHA256 are of the record's whole value. A batch that cannot be read has neither.
	PayloadSize   int    `json:"payload_size"`
	PayloadSHA256 string `json:"payload_sha256,omitempty"`
	// Payload is the value, where it is allowed to be kept, up to MaxPayload; base64 in JSON.
	Payload          []byte `json:"payload,omitempty"`
	PayloadTruncated bool   `json:"payload_truncated,omitempty"`
	// WrittenAt is when the letter was made.
	WrittenAt time.Time `json:"written_at"`
}

// Source is the record that a letter is about.
type Source struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp time.Time
	Key       []byte
	Value     []byte
	// Unreadable is a record that never came: its batch cannot be read.
	Unreadable bool
}

// Key is what the letters of one record have in common: topic/partition/offset.
func (l Letter) RecordKey() string {
	return l.Topic + "/" + strconv.Itoa(int(l.Partition)) + "/" + strconv.FormatInt(l.Offset, 10)
}

// newLetter describes a record; the payload is in it only where it is to be kept.
func newLetter(component, reason, text string, from Source, keep bool, now time.Time) Letter {
	l := Letter{
		Version: version, Reason: reason, Error: wire.Clip(text, maxErrorBytes), Component: component,
		Topic: from.Topic, Partition: from.Partition, Offset: from.Offset, TimestampMS: from.Timestamp.UnixMilli(), WrittenAt: now.UTC(),
	}
	if l.Key = from.Key; len(l.Key) > MaxKey {
		l.Key, l.KeySize = l.Key[:MaxKey], len(l.Key)
	}
	if from.Unreadable {
		return l
	}
	sum := sha256.Sum256(from.Value)
	l.PayloadSize, l.PayloadSHA256 = len(from.Value), hex.EncodeToString(sum[:])
	if keep {
		if l.Payload = from.Value; len(l.Payload) > MaxPayload {
			l.Payload, l.PayloadTruncated = l.Payload[:MaxPayload], true
		}
	}
	return l
}

// Matches reports whether a value is that of the record.
func (l Letter) Matches(value []byte) bool {
	sum := sha256.Sum256(value)
	return len(value) == l.PayloadSize && hex.EncodeToString(sum[:]) == l.PayloadSHA256
}

// Parse reads a letter. The topic is open to other writers, so nothing in it is taken on trust.
func Parse(value []byte) (Letter, error) {
	var l Letter
	if len(value) > maxLetter {
		return l, fmt.Errorf("a letter of %d bytes: at most %d are allowed", len(value), maxLetter)
	}
	if err := json.Unmarshal(value, &l); err != nil {
		return Letter{}, fmt.Errorf("no letter: %w", err)
	}
	switch {
	case l.Version != version:
		return Letter{}, fmt.Errorf("a letter of version %d: want %d", l.Version, version)
	case l.Topic == "" || strings.ContainsRune(l.Topic, '/'):
		return Letter{}, fmt.Errorf("a letter about topic %q: no topic has that name", wire.Clip(l.Topic, 64))
	case l.Partition < 0 || l.Offset < 0:
		return Letter{}, fmt.Errorf("a letter about partition %d, offset %d: want 0 or more", l.Partition, l.Offset)
	case l.Reason == "":
		return Letter{}, errors.New("a letter without a reason")
	case l.PayloadSize < 0 || len(l.Payload) > l.PayloadSize:
		return Letter{}, fmt.Errorf("a letter with %d bytes of a payload of %d", len(l.Payload), l.PayloadSize)
	}
	return l, nil
}
