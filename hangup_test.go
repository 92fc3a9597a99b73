package dashstream_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// hungUp is a connection that the broker closes as soon as it is made.
type hungUp struct{ net.Conn }

func (hungUp) Read([]byte) (int, error) { return 0, io.EOF }

// A broker that was stopping closed connections that had just been made, and messages were given up as unauthorized: some
// of those that waited while an embedded broker read its log anew.
func TestConnectionsThatEndAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	var hangUps atomic.Int64
	var d net.Dialer
	var mu sync.Mutex
	var conns []net.Conn
	p, err := dashstream.New(dashstream.WithBrokers(c.Brokers()...), dashstream.WithTopic(c.Topic(t, 1)), dashstream.WithFlushTimeout(testkafka.Wait),
		dashstream.WithKafkaOptions(kgo.Dialer(func(ctx context.Context, proto, addr string) (net.Conn, error) {
			conn, err := d.DialContext(ctx, proto, addr)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, conn)
			if hangUps.Add(-1) >= 0 {
				return hungUp{conn}, nil
			}
			return conn, nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "thread"})
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	hangUps.Store(10)
	for _, conn := range conns {
		_ = conn.Close() // the broker stops
	}
	mu.Unlock()
	run.Event(pb.EventType_EVENT_TYPE_NODE_WARNING, "node")
	run.End(nil)
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := p.Stats().Total(); n.Acked != 3 || hangUps.Load() > 0 {
		t.Errorf("%+v, want 3 acknowledged, %d connections less than meant ended at once", n, hangUps.Load())
	}
}
