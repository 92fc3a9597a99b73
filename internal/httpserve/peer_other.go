//go:build !linux

package httpserve

import (
	"net"
	"time"
)

// setPeerTimeout leaves it to the system when a peer that acknowledges nothing is given up.
func setPeerTimeout(*net.TCPConn, time.Duration) error { return nil }
