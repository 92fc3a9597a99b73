package embedded

import "os"

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
