package faults

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testlog"
	"github.com/dashflow/dashstream/internal/testprocess"
	"github.com/dashflow/dashstream/internal/wire"
)

// agents are runs of the SDK's producer, one after the other.
type agents struct {
	t *testing.T
	// prefix begins the names of their threads.
	prefix   string
	producer *dashstream.Producer
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// mine says whether a thread is theirs.
func (a *agents) mine(thread string) bool { return strings.HasPrefix(thread, a.prefix) }

// startAgents begins to write through the SDK, a few hundred messages a second.
func startAgents(t *testing.T, kafka, prefix string, opts ...dashstream.Option) *agents {
	t.Helper()
	p, err := dashstream.New(append([]dashstream.Option{dashstream.WithBrokers(kafka), dashstream.WithFlushTimeout(testprocess.Patience)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a := &agents{t: t, prefix: prefix, producer: p, stop: cancel}
	for i := range 3 {
		a.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				run := p.StartRun(ctx, dashstream.RunSpec{ThreadID: fmt.Sprintf("%s%d-%d", prefix, i, n/4), Graph: dashstream.Graph{Name: "faults"}})
				for step := range 20 {
					run.Event(pb.EventType_EVENT_TYPE_NODE_PROGRESS, "node", slog.Int("step", step), slog.String("text", strings.Repeat("x", step*step)))
					run.State(map[string]any{"step": step, "run": n})
					select {
					case <-ctx.Done():
					case <-time.After(15 * time.Millisecond):
					}
				}
				run.End(nil)
			}
		})
	}
	t.Cleanup(func() { cancel(); a.done.Wait(); _ = p.Close(context.Background()) }) // a test that cares has closed it
	return a
}

// end stops the agents and closes the producer, which has a minute to send what it has.
func (a *agents) end() dashstream.Counts {
	a.t.Helper()
	a.stop()
	a.done.Wait()
	if err := a.producer.Close(context.Background()); err != nil {
		a.t.Logf("close the producer: %v", err)
	}
	return a.producer.Stats().Total()
}

// in counts their messages in the log.
func (a *agents) in(log testlog.Log) (n uint64) {
	for _, p := range log {
		for _, e := range p {
			if a.mine(e.Thread) {
				n++
			}
		}
	}
	return n
}

// account fails unless the log holds what the producer says that it does.
func (a *agents) account(log testlog.Log) {
	a.t.Helper()
	c := a.end()
	inLog := a.in(log)
	unknown := c.Failed[dashstream.FailUnknown]
	if c.Emitted != c.Acked+c.DroppedTotal()+c.FailedTotal() || inLog < c.Acked || inLog > c.Acked+unknown {
		a.t.Errorf("the log holds %d messages of the SDK, which counts %+v", inLog, c)
	}
	missing, err := log.Missing(a.mine)
	if err != nil {
		a.t.Error(err)
	}
	if lost := c.DroppedTotal() + c.FailedTotal(); missing > lost {
		a.t.Errorf("%d sequence numbers are missing, the SDK counts %d lost", missing, lost)
	}
	a.t.Logf("SDK: %d emitted, %d acknowledged, %d dropped, %d failed", c.Emitted, c.Acked, c.DroppedTotal(), c.FailedTotal())
}

// witness is a producer that writes down each acknowledgement.
type witness struct {
	t      *testing.T
	client *kgo.Client
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu sync.Mutex
	// acked are the records that it was told are in the log, by partition and offset.
	acked map[int32]map[int64]string
	total int
}

func startWitness(t *testing.T, kafka string) *witness {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(200),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &witness{t: t, client: cl, stop: cancel, acked: map[int32]map[int64]string{}}
	w.done.Go(func() {
		for n := uint64(1); ctx.Err() == nil; n++ {
			var id [16]byte
			_, _ = rand.Read(id[:])             // never fails
			thread := fmt.Sprint("witness-", n) // one for each, so that a lost one leaves no gap of its own
			value, err := wire.Append(nil, &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{
				Header: &pb.Header{MessageId: id[:], ThreadId: thread, Sequence: 1, Type: pb.MessageType_MESSAGE_TYPE_EVENT},
			}}}, wire.DefaultMaxBytes)
			if err != nil {
				t.Error(err)
				return
			}
			cl.Produce(ctx, &kgo.Record{Key: []byte(thread), Value: value}, func(r *kgo.Record, err error) {
				if err == nil {
					w.note(r)
				}
			})
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	t.Cleanup(w.end)
	return w
}

func (w *witness) note(r *kgo.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.acked[r.Partition] == nil {
		w.acked[r.Partition] = map[int64]string{}
	}
	w.acked[r.Partition][r.Offset] = string(r.Value)
	w.total++
}

func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}

// end gives up what has not been acknowledged.
func (w *witness) end() {
	w.stop()
	w.done.Wait()
	w.client.Close()
}

// read reads the whole log, and fails unless each record that was acknowledged by then is where it was said to be. before is
// what was read of it earlier, and may be nil.
func (w *witness) read(kafka string, before testlog.Log) testlog.Log {
	w.t.Helper()
	w.mu.Lock()
	last := map[int32]int64{}
	for p, at := range w.acked {
		for o := range at {
			last[p] = max(last[p], o)
		}
	}
	w.mu.Unlock()
	log := testlog.ReadAgain(w.t, kafka, topic, before)
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, at := range w.acked {
		for o, value := range at {
			if e := log.At(p, o); e.Value != value && (e.Value != "" || o <= last[p]) {
				w.t.Fatalf("partition %d offset %d was acknowledged, and the log, of %d records there, does not have it", p, o, len(log[p]))
			}
		}
	}
	return log
}

// once fails where a record is in the log twice: each has an id of its own.
func once(t *testing.T, log testlog.Log) {
	t.Helper()
	type place struct {
		partition int
		offset    int
	}
	seen := make(map[string]place, log.Len())
	for p := range log {
		for o, e := range log[p] {
			if was, ok := seen[e.Value]; ok {
				t.Fatalf("partition %d offset %d and partition %d offset %d hold the same record, of thread %s", was.partition, was.offset, p, o, e.Thread)
			}
			seen[e.Value] = place{p, o}
		}
	}
}
