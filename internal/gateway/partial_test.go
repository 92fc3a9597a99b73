package gateway

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// narrow is a connection that takes so many bytes before a write without
// blocking finds it full; the rest comes with the write that waits.
type narrow struct {
	net.Conn // nil: nothing else of it is used
	room     int
	got      bytes.Buffer
}

func (n *narrow) TryWrite(b []byte) (int, error) {
	b = b[:min(len(b), n.room)]
	n.room -= len(b)
	return n.got.Write(b)
}

func (n *narrow) Write(b []byte) (int, error)      { return n.got.Write(b) }
func (n *narrow) SetWriteDeadline(time.Time) error { return nil }

// Wherever a socket is full, between frames or in one: what it did not take
// follows what it took.
func TestAPartialWriteGoesOnWhereItEnded(t *testing.T) {
	t.Parallel()
	want := []byte("one" + "second" + "the third frame")
	h := &hub{cfg: Config{SendTimeout: time.Second}, metrics: newMetrics(prometheus.NewPedanticRegistry(), time.Now())}
	for room := range len(want) + 1 {
		conn := &narrow{room: room}
		s := &session{hub: h, conn: conn, try: conn}
		var out outbox
		out.add(want[:3])
		out.add(want[3:9])
		out.add(want[9:])
		if whole := s.writeNow(&out); whole != (room == len(want)) {
			t.Errorf("room for %d of %d bytes: all was written: %v", room, len(want), whole)
		} else if !whole && !s.write(out.bufs) {
			t.Errorf("room for %d bytes: the session ended", room)
		}
		if !bytes.Equal(conn.got.Bytes(), want) || s.written.Load() != int64(len(want)) {
			t.Errorf("room for %d bytes: %q came, %d counted; want %q", room, conn.got.Bytes(), s.written.Load(), want)
		}
	}
}
