//go:build !unix

package gateway

import "net"

// newRawWriter has no such writer here: every write gets a goroutine that may
// wait.
func newRawWriter(net.Conn) tryWriter { return nil }
