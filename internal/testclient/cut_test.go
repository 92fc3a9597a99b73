package testclient_test

import (
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
)

// A server that was killed, or cut a slow client off, ends the connection within a
// frame. What came of the frame was taken for all of it where that had 512 bytes,
// or another size at which the reader's buffer was full.
func TestAFrameThatIsCutOffIsNoFrame(t *testing.T) {
	t.Parallel()
	frame, err := proto.Marshal(&streampb.ServerFrame{Frame: &streampb.ServerFrame_Error{Error: &streampb.Error{Message: strings.Repeat("x", 600)}}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	part := make(chan int, 1)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			up := ws.Upgrader{Protocol: func([]byte) bool { return true }}
			if _, err := up.Upgrade(conn); err == nil {
				_ = ws.WriteHeader(conn, ws.Header{Fin: true, OpCode: ws.OpBinary, Length: int64(len(frame))})
				_, _ = conn.Write(frame[:<-part])
			}
			_ = conn.Close()
		}
	}()
	for n := range len(frame) + 1 {
		part <- n
		c := testclient.Dial(t, "http://"+ln.Addr().String(), "dashstream.v1+proto", nil)
		if err := c.Step(t.Context()); (err == nil) != (n == len(frame)) {
			t.Fatalf("%d of %d bytes of a frame: %v", n, len(frame), err)
		}
		c.Close()
	}
}
