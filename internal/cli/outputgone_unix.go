//go:build unix

package cli

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// outputGone reports whether what is written to w can reach nobody any more: it
// is a pipe or a socket whose other end was closed. A writer that has nothing to
// write would not learn it otherwise.
func outputGone(w io.Writer) bool {
	f, ok := w.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		// A pipe without readers is an error in Linux, and hung up in others.
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return err == nil && gone
}
