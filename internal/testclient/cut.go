package testclient

import (
	"context"
	"errors"
	"io"
	"net"
)

// errCut is how a connection ends that [Cut] made.
var errCut = errors.New("the connection ended")

// Dialer is a function that connects, as [net.Dialer.DialContext].
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Cut returns a dialer of connections whose end is not io.EOF. The WebSocket
// library passes on an io.EOF that comes inside a frame, where what it has read so
// far filled its buffer, and whoever reads the message takes its first part for all
// of it.
func Cut(dial Dialer) Dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return cut{c}, nil
	}
}

type cut struct{ net.Conn }

func (c cut) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		err = errCut
	}
	return n, err
}
