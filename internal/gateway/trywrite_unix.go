//go:build unix

package gateway

import (
	"errors"
	"net"
	"syscall"
)

// tryWriter writes what a socket takes at once.
type tryWriter interface {
	// tryWrite returns how much was taken. A full socket is no error.
	tryWrite(b []byte) (int, error)
}

type rawWriter struct{ conn syscall.RawConn }

// newTryWriter returns nil where the connection is not a socket of ours, such
// as net.Pipe or TLS.
func newTryWriter(c net.Conn) tryWriter {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return &rawWriter{conn: raw}
}

func (w *rawWriter) tryWrite(b []byte) (int, error) {
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
