package embedded

import (
	"bytes"
	"os"

	"github.com/twmb/franz-go/pkg/kerr"
)

// WithSync replaces the function that syncs a file.
func WithSync(o Options, sync func(*os.File) error) Options {
	o.syncFile = sync
	return o
}

// WithRequestBytes replaces how much of clients' requests is held at once.
func WithRequestBytes(o Options, n int64) Options {
	o.requestBytes = n
	return o
}

// RequestBytes is how much of clients' requests is held.
func RequestBytes(b *Broker) int64 {
	b.ln.memory.mu.Lock()
	defer b.ln.memory.mu.Unlock()
	return b.ln.memory.used
}

// AdmitBatch looks at a batch as one that is alone in its request.
func AdmitBatch(raw []byte) *kerr.Error { return newValidator().batch(raw) }

// Recovered returns how many bytes of a log file recovery keeps, and the offset after them.
func Recovered(raw []byte) (valid, next int64) {
	valid, _ = readBatches(bytes.NewReader(raw), func(b batch) bool { next = b.next(); return true })
	return valid, next
}
