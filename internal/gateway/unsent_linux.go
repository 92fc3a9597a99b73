package gateway

import (
	"net"
	"syscall"
)

// unsentBytes is how much of what a client has no room for is kept in the system's
// buffer, beyond what is on its way.
const unsentBytes = 128 << 10

// tcpNotSentLowat is TCP_NOTSENT_LOWAT of linux/tcp.h, which package syscall lacks.
const tcpNotSentLowat = 0x19

// limitUnsent keeps the system from taking megabytes for a client that reads slowly.
// They would be held for each such client, and a buffer so full takes nothing more
// until a third of it is free again: a client that reads all the time would be taken
// for one that reads nothing.
func limitUnsent(c net.Conn) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return // closed; whoever reads or writes next will see
	}
	_ = raw.Control(func(fd uintptr) {
		// Refused by a kernel or a socket that does not know it: then it is as before.
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsentBytes)
	})
}
