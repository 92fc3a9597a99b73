package gateway_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// narrowListener accepts connections that take little at once: a write goes on in
// the middle of frames, on whichever goroutine comes next.
type narrowListener struct {
	net.Listener
	wrap func(*net.TCPConn) net.Conn
}

func (l narrowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp := c.(*net.TCPConn)
	if err := tcp.SetWriteBuffer(64 << 10); err != nil {
		return nil, err
	}
	return l.wrap(tcp), nil
}

// choppy takes part of what it is given, of any length.
type choppy struct{ *net.TCPConn }

func (c choppy) TryWrite(b []byte) (int, error) { return c.TCPConn.Write(b[:rand.IntN(len(b)+1)]) }

// blocking can only be written to by those who may wait.
type blocking struct{ net.Conn }

// Frames are shared by sessions, begun on one goroutine and ended on another, with
// pongs, errors and pings between them: whatever a socket takes at a time, each
// client's bytes are whole frames, with what was stored, and nothing else.
func TestEveryByteOfEveryFrameIsTheClientsOwn(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	s := start(t, c, topic, func(cfg *gateway.Config) {
		cfg.Feed.TailBytes, cfg.Feed.CacheBytes = 4<<20, 4<<20
		cfg.MaxClientFramesPerSecond, cfg.MaxConnectionsPerIP = 1_000_000, 1000
		cfg.PingInterval, cfg.SendTimeout = time.Second, patience
	})
	kinds := map[string]func(*net.TCPConn) net.Conn{
		"socket":   func(c *net.TCPConn) net.Conn { return c },
		"choppy":   func(c *net.TCPConn) net.Conn { return choppy{c} },
		"blocking": func(c *net.TCPConn) net.Conn { return blocking{c} },
	}
	log := &writtenLog{values: make([][][]byte, 2)}
	log.write(t, c, topic, 150)
	var running sync.WaitGroup
	for name, wrap := range kinds {
		hs := httptest.NewUnstartedServer(s.mux)
		hs.Listener = narrowListener{hs.Listener, wrap}
		hs.Start()
		t.Cleanup(hs.Close)
		for _, protocol := range []string{"dashstream.v1+proto", "dashstream.v1+json"} {
			for i := range 2 {
				r := &rawClient{t: t, name: fmt.Sprintf("%s %s %d", name, protocol, i), address: hs.Listener.Addr().String(), protocol: protocol, log: log}
				running.Go(func() { r.run(i == 1) })
			}
		}
	}
	for range 3 {
		log.write(t, c, topic, 50)
	}
	log.end()
	running.Wait()
}

// writtenLog is what is in each partition, by offset.
type writtenLog struct {
	mu     sync.Mutex
	values [][][]byte
	ended  bool
}

func (l *writtenLog) write(t *testing.T, c *testkafka.Cluster, topic string, n int) {
	t.Helper()
	var records []*kgo.Record
	l.mu.Lock()
	for i := range n {
		p, size := i%2, rand.IntN(3000)
		switch rand.IntN(50) {
		case 0:
			size = 100_000
		case 1:
			size = 300_000 // a frame of its own, within the memory for large ones
		case 2:
			size = 0
		}
		text := make([]byte, size)
		for j := range text {
			text[j] = byte('a' + rand.IntN(26)) // compressed, but not to nothing
		}
		thread := fmt.Sprint("thread-", rand.IntN(4))
		v := message(t, thread, "red", uint64(len(l.values[p])+1), string(text))
		l.values[p] = append(l.values[p], v)
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(p), Key: []byte(thread), Value: v})
	}
	l.mu.Unlock()
	produce(t, c, records...)
}

func (l *writtenLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// holds reports whether a record is what was written.
func (l *writtenLog) holds(r *streampb.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.values[r.GetPartition()]
	if r.GetOffset() >= int64(len(list)) {
		return false
	}
	want := list[r.GetOffset()]
	if r.GetMessage() == nil {
		return bytes.Equal(r.GetValue(), want)
	}
	m, err := wire.Decode(want, wire.DefaultLimits())
	return err == nil && proto.Equal(m, r.GetMessage())
}

// all reports whether next is the end of what was written last.
func (l *writtenLog) all(next map[int32]int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended && next[0] == int64(len(l.values[0])) && next[1] == int64(len(l.values[1]))
}

// rawClient reads frames byte by byte as RFC 6455 has them, and knows nothing of
// the gateway's code.
type rawClient struct {
	t                       *testing.T
	name, address, protocol string
	log                     *writtenLog

	next   map[int32]int64
	stream string
	// pings holds what was sent in pings and has not come back.
	pings chan []byte
	bad   chan struct{} // one for each message that has to be refused
}

// run reads the log to its end; a client that is rude says goodbye in the middle of
// frames and comes back.
func (r *rawClient) run(rude bool) {
	r.next = map[int32]int64{}
	for session := 0; ; session++ {
		most := 1 << 30
		if rude && session < 3 {
			most = 1 + rand.IntN(200)
		}
		if r.session(most) || r.t.Failed() {
			return
		}
	}
}

// session reads so many frames at most, and reports whether that was all of the
// log.
func (r *rawClient) session(most int) (done bool) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*patience)
	defer cancel()
	conn, early, _, err := ws.Dialer{Protocols: []string{r.protocol}}.Dial(ctx, "ws://"+r.address+"/ws")
	if err != nil {
		r.t.Errorf("%s: %v", r.name, err)
		return false
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // a test that hangs fails
	}
	in := io.Reader(conn)
	if early != nil {
		in = io.MultiReader(io.LimitReader(early, int64(early.Buffered())), conn)
	}
	r.pings, r.bad = make(chan []byte, 8), make(chan struct{}, 8)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel()
	op, ask := r.ask()
	writing.Go(func() { r.disturb(ctx, conn, op, ask) })
	for range most {
		h, payload, err := readWhole(in)
		if err == nil {
			err = r.frame(h, payload)
		}
		if err != nil {
			r.t.Errorf("%s: at %v: frame %+v of %d bytes: %v", r.name, r.next, h, len(payload), err)
			return false
		}
		if r.log.all(r.next) {
			return true
		}
	}
	return false
}

// readWhole reads one frame, in pieces of any size.
func readWhole(in io.Reader) (ws.Header, []byte, error) {
	h, err := ws.ReadHeader(in)
	if err != nil {
		return h, nil, err
	}
	if h.Masked || h.Rsv != 0 || !h.Fin || h.Length > 8<<20 {
		return h, nil, errors.New("no header of ours")
	}
	payload := make([]byte, 0, h.Length)
	for len(payload) < cap(payload) {
		n, err := in.Read(payload[len(payload):min(cap(payload), len(payload)+1+rand.IntN(20_000))])
		if payload = payload[:len(payload)+n]; err != nil {
			return h, payload, err
		}
	}
	return h, payload, nil
}

// ask is a subscribe from where the client is, and how it is sent.
func (r *rawClient) ask() (ws.OpCode, []byte) {
	start := &streampb.Start{From: &streampb.Start_Earliest{Earliest: true}}
	if len(r.next) > 0 {
		cur := &streampb.Cursor{StreamId: r.stream}
		for p, o := range r.next {
			cur.Partitions = append(cur.Partitions, &streampb.PartitionOffset{Partition: proto.Int32(p), NextOffset: proto.Int64(o)})
		}
		start.From = &streampb.Start_Cursor{Cursor: cur}
	}
	f := &streampb.ClientFrame{Frame: &streampb.ClientFrame_Subscribe{Subscribe: &streampb.Subscribe{Start: start}}}
	if r.protocol == "dashstream.v1+proto" {
		b, _ := proto.Marshal(f) // numbers and ASCII
		return ws.OpBinary, b
	}
	b, _ := protojson.Marshal(f) // likewise
	return ws.OpText, b
}

// disturb subscribes, and has the gateway put pongs and errors between the frames.
func (r *rawClient) disturb(ctx context.Context, conn net.Conn, op ws.OpCode, ask []byte) {
	send := func(op ws.OpCode, payload []byte) bool {
		return ws.WriteFrame(conn, ws.MaskFrameInPlace(ws.NewFrame(op, true, slices.Clone(payload)))) == nil
	}
	if !send(op, ask) {
		return
	}
	for ctx.Err() == nil {
		ping := make([]byte, 9+rand.IntN(117)) // not the 8 bytes of the gateway's own
		binary.BigEndian.PutUint64(ping, rand.Uint64())
		select {
		case r.pings <- ping: // no more at a time than may wait
		case <-ctx.Done():
			return
		}
		if !send(ws.OpPing, ping) {
			return
		}
		if rand.IntN(4) == 0 {
			select {
			case r.bad <- struct{}{}:
			case <-ctx.Done():
				return
			}
			if !send(op, []byte("\xff\xff\xff")) {
				return
			}
		}
	}
}

// frame checks a frame against the log and moves on.
func (r *rawClient) frame(h ws.Header, payload []byte) error {
	switch h.OpCode {
	case ws.OpPong:
		if want := <-r.pings; !bytes.Equal(want, payload) {
			return fmt.Errorf("a pong of %x, want %x", payload, want)
		}
		return nil
	case ws.OpPing:
		if len(payload) != 8 {
			return fmt.Errorf("a ping of %d bytes", len(payload))
		}
		return nil
	case ws.OpBinary, ws.OpText:
	default:
		return fmt.Errorf("opcode %d with %q", h.OpCode, payload)
	}
	f := &streampb.ServerFrame{}
	var err error
	if r.protocol == "dashstream.v1+proto" {
		err = proto.Unmarshal(payload, f)
	} else {
		err = protojson.Unmarshal(payload, f)
	}
	switch f := f.GetFrame().(type) {
	case *streampb.ServerFrame_Hello:
		r.stream = f.Hello.GetStreamId()
	case *streampb.ServerFrame_Subscribed:
	case *streampb.ServerFrame_Error:
		<-r.bad
	case *streampb.ServerFrame_Batch:
		for _, rec := range f.Batch.GetRecords() {
			if rec.GetOffset() != r.next[rec.GetPartition()] || !r.log.holds(rec) {
				return fmt.Errorf("record %d of partition %d, where %d is next: %.100q", rec.GetOffset(), rec.GetPartition(), r.next[rec.GetPartition()], rec.GetValue())
			}
			r.next[rec.GetPartition()]++
		}
	case *streampb.ServerFrame_CaughtUp, *streampb.ServerFrame_Progress:
	default:
		err = errors.Join(err, fmt.Errorf("frame %v", f))
	}
	return err
}
