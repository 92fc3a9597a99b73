package dashstream_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// network dials brokers for a producer and breaks what a test wants broken.
type network struct {
	loseAcks atomic.Int64 // so many answers to produce requests are lost, with their connections
	mute     atomic.Bool  // no answer to a produce request comes
	down     atomic.Bool  // no connection is made, and those there are break
	produced atomic.Int64 // produce requests that were written

	mu    sync.Mutex
	conns []net.Conn
}

func (n *network) option() dashstream.Option {
	return dashstream.WithKafkaOptions(kgo.Dialer(n.dial))
}

func (n *network) dial(ctx context.Context, proto, addr string) (net.Conn, error) {
	if n.down.Load() {
		return nil, errors.New("the network is down")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, proto, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	return &brokenConn{Conn: c, n: n}, nil
}

func (n *network) cut() {
	n.down.Store(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

type brokenConn struct {
	net.Conn
	n       *network
	produce atomic.Bool
}

func (c *brokenConn) Write(b []byte) (int, error) {
	if len(b) >= 6 && binary.BigEndian.Uint16(b[4:]) == uint16(kmsg.Produce) {
		c.produce.Store(true)
		c.n.produced.Add(1)
	}
	return c.Conn.Write(b)
}

func (c *brokenConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b) // the broker has answered, so it has appended
	if err != nil || !c.produce.Load() {
		return n, err
	}
	if c.n.mute.Load() {
		for c.n.mute.Load() {
			if _, err = c.Conn.Read(make([]byte, 1)); err != nil {
				return 0, err
			}
		}
	}
	if c.n.loseAcks.Add(-1) >= 0 {
		_ = c.Conn.Close()
		return 0, errors.New("the answer was lost")
	}
	return n, err
}

// PRO-04: an acknowledgement that is lost makes no second copy, and none is lost.
func TestLostAcknowledgements(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	var n network
	p := newProducer(t, c, topic, n.option(), dashstream.WithFlushTimeout(time.Minute))
	var runs []*dashstream.Run
	for i := range 4 {
		runs = append(runs, p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: fmt.Sprint("t", i)}))
	}
	for i := range 500 {
		if i%50 == 0 {
			n.loseAcks.Store(1)
		}
		runs[i%4].Edge("a", "b")
		if i%25 == 0 {
			flush(t, p)
		}
	}
	flush(t, p)
	records := readAll(t, c, topic)
	checkSequences(t, records)
	ids := map[string]bool{}
	for _, r := range records {
		ids[string(r.header().MessageId)] = true
	}
	total := p.Stats().Total()
	if len(records) != 504 || len(ids) != 504 || total.Acked != 504 {
		t.Errorf("%d records with %d ids, %d acknowledged; want 504 of each", len(records), len(ids), total.Acked)
	}
	if p.Stats().Retries == 0 {
		t.Error("no retry was counted")
	}
}

// The caller never waits, and what is left at the end is dropped, not unknown: no broker ever saw it.
func TestBrokerIsNotThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	p, err := dashstream.New(dashstream.WithBrokers(addr), dashstream.WithQueueBytes(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	slowest := time.Duration(0)
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	for range 50_000 {
		start := time.Now()
		run.Edge("a", "b")
		slowest = max(slowest, time.Since(start))
	}
	if slowest > 10*time.Second { // one that waited for the broker would not return at all
		t.Errorf("a call took %s", slowest)
	}
	checkAccounts(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	err = p.Close(ctx)
	var incomplete *dashstream.IncompleteError
	if !errors.As(err, &incomplete) || !errors.Is(err, context.DeadlineExceeded) || incomplete.InFlight != 0 {
		t.Errorf("close: %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("close took %s", took)
	}
	checkAccounts(t, p)
	total := p.Stats().Total()
	if total.Dropped[dashstream.DropShutdown] == 0 || total.FailedTotal() != 0 || total.Acked != 0 || total.InFlight != 0 {
		t.Errorf("dropped %v, failed %v, acknowledged %d, in flight %d", total.Dropped, total.Failed, total.Acked, total.InFlight)
	}
	run.Edge("a", "b")
	if n := p.Stats().Total().Dropped[dashstream.DropClosed]; n != 1 {
		t.Errorf("%d messages dropped after close, want 1", n)
	}
	if again := p.Close(context.Background()); !errors.Is(again, err) {
		t.Errorf("the second close returned %v", again)
	}
}

// PRO-14: with a broker that works but no time, everything is either acknowledged or dropped.
func TestCloseWithoutTime(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	p := newProducer(t, c, topic)
	warm := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "warm"})
	warm.End(nil)
	flush(t, p)
	const n = 10_000
	runs := make([]*dashstream.Run, 10)
	for i := range runs {
		runs[i] = p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: fmt.Sprint(i)})
	}
	for i := range n {
		runs[i%len(runs)].Edge("a", "b")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_ = p.Close(ctx)
	checkAccounts(t, p)
	total := p.Stats().Total()
	if total.InFlight != 0 || total.Emitted != total.Acked+total.DroppedTotal()+total.FailedTotal() {
		t.Errorf("%+v", total)
	}
	records := readAll(t, c, topic)
	// What is neither acknowledged nor unknown is not in the log.
	if got := uint64(len(records)); got < total.Acked || got > total.Acked+total.Failed[dashstream.FailUnknown] {
		t.Errorf("%d records in the log, %d acknowledged, %d unknown", got, total.Acked, total.Failed[dashstream.FailUnknown])
	}
	checkSequences(t, records) // the log has a beginning of each thread, without a hole
}

// A broker that takes records and does not answer: their outcome is unknown, and called so.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	var n network
	p := newProducer(t, c, topic, n.option())
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	flush(t, p)
	n.mute.Store(true)
	written := n.produced.Load()
	run.Edge("a", "b")
	testkafka.Eventually(t, "the request is written", func(context.Context) error {
		if n.produced.Load() == written {
			return errors.New("not yet")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := p.Close(ctx)
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("close took %s", took)
	}
	n.mute.Store(false)
	total := p.Stats().Total()
	if err == nil || total.Failed[dashstream.FailUnknown] == 0 || total.InFlight != 0 {
		t.Errorf("close: %v, %+v", err, total)
	}
	checkAccounts(t, p)
}

// Messages wait while the broker is away, and arrive in order when it is back.
func TestBrokerComesBack(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{Own: true})
	topic := c.Topic(t, 2)
	var n network
	p := newProducer(t, c, topic, n.option(), dashstream.WithFlushTimeout(time.Minute))
	runs := []*dashstream.Run{p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "a"}), p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "b"})}
	for round := range 3 {
		for i := range 200 {
			runs[i%2].Edge("a", "b")
		}
		flush(t, p)
		n.cut()
		for i := range 200 {
			runs[i%2].Edge(fmt.Sprint(round), "b")
		}
		n.down.Store(false)
	}
	flush(t, p)
	records := readAll(t, c, topic)
	if len(records) != 1202 {
		t.Errorf("%d records, want 1202", len(records))
	}
	checkSequences(t, records)
}

// fakeKafka is a broker whose answers a test decides.
func fakeKafka(t *testing.T, partitions int32, topic string) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// refuse answers the next produce requests with an error.
func refuse(c *kfake.Cluster, times int, code int16) {
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if times--; times > 0 {
			c.KeepControl()
		}
		return refusal(req, code), nil, true
	})
}

// refusal answers a produce request with an error for every partition.
func refusal(req kmsg.Request, code int16) kmsg.Response {
	r := req.(*kmsg.ProduceRequest)
	resp := r.ResponseKind().(*kmsg.ProduceResponse)
	for _, rt := range r.Topics {
		t := kmsg.NewProduceResponseTopic()
		t.Topic, t.TopicID = rt.Topic, rt.TopicID
		for _, rp := range rt.Partitions {
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition, part.ErrorCode = rp.Partition, code
			t.Partitions = append(t.Partitions, part)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func fakeProducer(t *testing.T, c *kfake.Cluster, topic string, opts ...dashstream.Option) *dashstream.Producer {
	t.Helper()
	p, err := dashstream.New(append([]dashstream.Option{dashstream.WithBrokers(c.ListenAddrs()...), dashstream.WithTopic(topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx)
	})
	return p
}

func TestBrokerRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  *kerr.Error
		want dashstream.FailReason
	}{
		"too large":    {kerr.MessageTooLarge, dashstream.FailTooLarge},
		"unauthorized": {kerr.TopicAuthorizationFailed, dashstream.FailUnauthorized},
		"invalid":      {kerr.InvalidRecord, dashstream.FailRejected},
		"unheard of":   {kerr.UnknownServerError, dashstream.FailUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fakeKafka(t, 1, "t")
			p := fakeProducer(t, c, "t")
			state := map[string]any{"n": 1}
			run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: state})
			flush(t, p)
			refuse(c, 1, tt.err.Code)
			state["n"] = 2
			run.State(state)
			err := p.Flush(t.Context())
			var incomplete *dashstream.IncompleteError
			if !errors.As(err, &incomplete) || incomplete.Failed != 1 {
				t.Errorf("flush: %v", err)
			}
			if got := p.Stats().Types[pb.MessageType_MESSAGE_TYPE_STATE_DIFF].Failed; got[tt.want] != 1 {
				t.Errorf("failed %v, want 1 %s", got, tt.want)
			}
			checkAccounts(t, p)
		})
	}
}

// A topic that is made later gets what was sent before, in order.
func TestTopicComesLater(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.TopicName(t)
	p := newProducer(t, c, topic, dashstream.WithFlushTimeout(time.Minute))
	if err := p.Ready(t.Context()); err == nil {
		t.Error("ready without a topic")
	} else {
		t.Log(err)
	}
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	for range 100 {
		run.Edge("a", "b")
	}
	c.CreateTopic(t, topic, 2, nil)
	flush(t, p)
	records := readAll(t, c, topic)
	if len(records) != 101 {
		t.Errorf("%d records, want 101", len(records))
	}
	checkSequences(t, records)
	if err := p.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
}

// What cannot be delivered in time fails, certainly not taken, and what comes after is delivered in order.
func TestDeliveryTimeout(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	var n network
	p := newProducer(t, c, topic, n.option(), dashstream.WithDeliveryTimeout(time.Second), dashstream.WithFlushTimeout(time.Minute))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	flush(t, p)
	n.cut()
	for range 10 {
		run.Edge("a", "b")
	}
	testkafka.Eventually(t, "they time out", func(context.Context) error {
		if got := p.Stats().Total().FailedTotal(); got != 10 {
			return fmt.Errorf("%d failed", got)
		}
		return nil
	})
	n.down.Store(false)
	run.Edge("a", "b")
	flush(t, p)
	records := readAll(t, c, topic)
	if len(records) != 2 || records[1].header().Sequence != 12 {
		t.Errorf("%d records, the last has sequence %d; want 2 and 12", len(records), records[len(records)-1].header().Sequence)
	}
	checkAccounts(t, p)
}

// nowhere dials nothing.
func nowhere(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("there is no network")
}

// A topic that was made with Kafka's own default for max.message.bytes takes a backlog, and the largest message.
func TestTopicWithDefaultLimits(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.TopicName(t)
	c.CreateTopic(t, topic, 1, map[string]string{"max.message.bytes": "1048588"})
	var n network
	p := newProducer(t, c, topic, n.option(), dashstream.WithFlushTimeout(time.Minute), dashstream.WithQueueBytes(64<<20))
	n.down.Store(true)
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	for range 20_000 {
		run.Edge("a node with a name", "another node with a name")
	}
	var attrs []slog.Attr
	for i := range 3 {
		attrs = append(attrs, slog.String(fmt.Sprint(i), noise(430_000+i))) // together just within the limit, compressed
	}
	run.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, "n", attrs...)
	n.down.Store(false)
	flush(t, p)
	records := readAll(t, c, topic)
	checkSequences(t, records)
	if last := len(records[len(records)-1].value); len(records) != 20_002 || last < 800_000 {
		t.Errorf("%d records, the last of %d bytes", len(records), last)
	}
}

// A topic that never comes does not hold messages for ever.
func TestTopicNeverComes(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	p := newProducer(t, c, c.TopicName(t), dashstream.WithDeliveryTimeout(time.Second), dashstream.WithFlushTimeout(time.Minute))
	p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"}).Edge("a", "b")
	err := p.Flush(t.Context())
	var incomplete *dashstream.IncompleteError
	if !errors.As(err, &incomplete) || incomplete.Failed != 2 {
		t.Errorf("flush: %v", err)
	}
	if got := p.Stats().Total().Failed; got[dashstream.FailTimeout]+got[dashstream.FailUnknownTopic] != 2 {
		t.Errorf("failed %v", got)
	}
}

// Flush waits for what was emitted before it, whatever becomes of what is emitted meanwhile.
func TestFlushIsAboutWhatCameBefore(t *testing.T) {
	t.Parallel()
	p := offline(t, dashstream.WithFlushTimeout(300*time.Millisecond), dashstream.WithQueueBytes(64<<10))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	run.Edge("a", "b")
	done := make(chan error, 1)
	go func() { done <- p.Flush(t.Context()) }()
	for {
		select {
		case err := <-done:
			var incomplete *dashstream.IncompleteError
			if !errors.As(err, &incomplete) || incomplete.InFlight != 2 || incomplete.Dropped != 0 {
				t.Errorf("flush: %v, want 2 in flight and none dropped", err)
			}
			return
		case <-time.After(time.Millisecond):
			run.Edge(noise(100_000), "b") // dropped at once
		}
	}
}
