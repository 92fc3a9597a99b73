//go:build !unix

package gateway

import "net"

// tryWriter writes what a socket takes at once. There is none here: every write
// gets a goroutine that may wait.
type tryWriter interface {
	tryWrite(b []byte) (int, error)
}

func newTryWriter(net.Conn) tryWriter { return nil }
