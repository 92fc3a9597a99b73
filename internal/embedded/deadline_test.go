package embedded

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A client may be silent between requests, but has to end one that it began: it held the connection for ever, and with
// few descriptors the place of another client.
func TestBegunRequestHasToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := &conn{
			Conn: ours,
			l:    &listener{logger: slog.New(slog.DiscardHandler), memory: newMemory(1 << 20), closed: make(chan struct{}), conns: make(map[*conn]struct{})},
			gone: make(chan struct{}),
		}
		defer c.Close()
		go func() {
			time.Sleep(24 * time.Hour) // nothing was begun
			theirs.Write([]byte{0, 0})
		}()
		buf := make([]byte, 64)
		if n, err := c.Read(buf); n == 0 || err != nil {
			t.Fatalf("the first bytes after a long silence: %d, %v", n, err)
		}
		begun := time.Now()
		var err error
		giveUp := time.AfterFunc(10*stallTimeout, func() { ours.Close() }) // or the test would hang
		defer giveUp.Stop()
		for err == nil {
			_, err = c.Read(buf)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) > stallTimeout {
			t.Errorf("a request of which half the size came ended after %v with %v, want a deadline within %v", time.Since(begun), err, stallTimeout)
		}
	})
}
