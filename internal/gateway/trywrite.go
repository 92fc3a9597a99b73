package gateway

import "net"

// tryWriter writes what a connection takes at once.
type tryWriter interface {
	// TryWrite returns how much was taken. A full connection is no error.
	TryWrite(b []byte) (int, error)
}

// newTryWriter returns nil where a write has to wait. A connection that is no
// socket may know by itself how not to.
func newTryWriter(c net.Conn) tryWriter {
	if w, ok := c.(tryWriter); ok {
		return w
	}
	return newRawWriter(c)
}
