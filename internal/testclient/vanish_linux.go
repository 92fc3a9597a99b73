package testclient

import (
	"net"
	"syscall"
	"testing"
)

// Vanish makes a TCP connection deaf: the system drops all that comes for it, and acknowledges nothing, as if its power or
// its network were gone. To the other side it is half open.
func Vanish(t testing.TB, conn net.Conn) {
	t.Helper()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("a %T is no TCP connection", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var attached error
	err = raw.Control(func(fd uintptr) {
		// A filter of one instruction: keep 0 bytes of each packet.
		attached = syscall.AttachLsf(int(fd), []syscall.SockFilter{*syscall.LsfStmt(syscall.BPF_RET|syscall.BPF_K, 0)}) //nolint:staticcheck // a package is too much for one instruction
	})
	if err != nil || attached != nil {
		t.Fatalf("attach a filter to a socket: %v, %v", err, attached)
	}
}
