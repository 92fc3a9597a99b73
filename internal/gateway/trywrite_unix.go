//go:build unix

package gateway

import (
	"errors"
	"net"
	"syscall"
)

type rawWriter struct{ conn syscall.RawConn }

// newRawWriter returns nil where the connection is not a socket of ours, such as
// net.Pipe or TLS.
func newRawWriter(c net.Conn) tryWriter {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return &rawWriter{conn: raw}
}

// TryWrite implements tryWriter.
func (w *rawWriter) TryWrite(b []byte) (int, error) {
	n := 0
	var werr error
	err := w.conn.Write(func(fd uintptr) bool {
		for n < len(b) {
			m, err := syscall.Write(int(fd), b[n:])
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil {
				if !errors.Is(err, syscall.EAGAIN) {
					werr = err
				}
				break
			}
			n += m
		}
		// Always done: waiting for room is not for this goroutine.
		return true
	})
	return n, errors.Join(werr, err)
}
