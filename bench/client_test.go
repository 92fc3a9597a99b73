package bench

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/streampb"
)

// Opcodes of RFC 6455.
const opBinary, opClose, opPing, opPong = 0x2, 0x8, 0x9, 0xa

// subscriber is a WebSocket client that does no more than count.
type subscriber struct {
	conn net.Conn
	in   *bufio.Reader
	// buf holds the last message, until the next is read.
	buf  []byte
	last []byte
	// records counts those received; onRecord, when set, sees each value.
	records  int
	onRecord func(value []byte)
	// blind: records are not looked at, nor counted.
	blind bool
}

func dial(addr string) (*subscriber, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: dashstream.v1+proto\r\n\r\n", addr)
	if err != nil {
		return nil, err
	}
	s := &subscriber{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("handshake: %s", resp.Status)
	}
	return s, nil
}

func (s *subscriber) subscribe(sub *streampb.Subscribe) error {
	b, err := proto.Marshal(&streampb.ClientFrame{Frame: &streampb.ClientFrame_Subscribe{Subscribe: sub}})
	if err != nil {
		return err
	}
	return s.send(opBinary, b)
}

func (s *subscriber) send(opcode byte, b []byte) error {
	// A mask of zeros leaves the payload as it is.
	h := []byte{0x80 | opcode, 0x80 | byte(len(b)), 0, 0, 0, 0}
	if len(b) >= 126 {
		h = append([]byte{0x80 | opcode, 0x80 | 126}, binary.BigEndian.AppendUint16(nil, uint16(len(b)))...)
		h = append(h, 0, 0, 0, 0)
	}
	_, err := s.conn.Write(append(h, b...))
	return err
}

// next reads one message and returns the number of the ServerFrame's field.
func (s *subscriber) next() (protowire.Number, error) {
	var h [10]byte
	if _, err := io.ReadFull(s.in, h[:2]); err != nil {
		return 0, err
	}
	opcode, n := h[0]&0x0f, uint64(h[1])
	switch n {
	case 126:
		if _, err := io.ReadFull(s.in, h[:2]); err != nil {
			return 0, err
		}
		n = uint64(binary.BigEndian.Uint16(h[:2]))
	case 127:
		if _, err := io.ReadFull(s.in, h[:8]); err != nil {
			return 0, err
		}
		n = binary.BigEndian.Uint64(h[:8])
	}
	if uint64(cap(s.buf)) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:n]
	s.last = b
	if _, err := io.ReadFull(s.in, b); err != nil {
		return 0, err
	}
	switch {
	case opcode == opClose && n >= 2:
		return 0, fmt.Errorf("closed with code %d %s", binary.BigEndian.Uint16(b), b[2:])
	case opcode == opPing:
		return 0, s.send(opPong, b)
	}
	field, typ, m := protowire.ConsumeTag(b)
	if m < 0 || typ != protowire.BytesType {
		return 0, nil
	}
	body, k := protowire.ConsumeBytes(b[m:])
	if k < 0 {
		return 0, protowire.ParseError(k)
	}
	if field == fieldBatch && !s.blind {
		if err := s.batch(body); err != nil {
			return 0, err
		}
	}
	return field, nil
}

func (s *subscriber) batch(b []byte) error {
	for len(b) > 0 {
		field, _, m := protowire.ConsumeTag(b)
		if m < 0 {
			return protowire.ParseError(m)
		}
		rec, k := protowire.ConsumeBytes(b[m:])
		if k < 0 {
			return protowire.ParseError(k)
		}
		b = b[m+k:]
		if field != 1 {
			continue
		}
		s.records++
		if s.onRecord != nil {
			s.onRecord(valueOf(rec))
		}
	}
	return nil
}

// valueOf returns the value of an encoded Record.
func valueOf(rec []byte) []byte {
	for len(rec) > 0 {
		field, typ, m := protowire.ConsumeTag(rec)
		if m < 0 {
			return nil
		}
		n := protowire.ConsumeFieldValue(field, typ, rec[m:])
		if n < 0 {
			return nil
		}
		if field == 5 {
			v, _ := protowire.ConsumeBytes(rec[m:])
			return v
		}
		rec = rec[m+n:]
	}
	return nil
}

// until reads until a frame of the given field has come.
func (s *subscriber) until(field protowire.Number) error {
	for {
		got, err := s.next()
		if err != nil || got == field {
			return err
		}
	}
}

// hello returns what a gateway says of its stream.
func hello(addr string) (*streampb.Hello, error) {
	s, err := dial(addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.conn.Close() }()
	if err := s.until(fieldHello); err != nil {
		return nil, err
	}
	var f streampb.ServerFrame
	if err := proto.Unmarshal(s.last, &f); err != nil {
		return nil, err
	}
	return f.GetHello(), nil
}
