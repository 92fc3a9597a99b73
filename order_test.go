package dashstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// emitMixed emits one message of a random kind.
func emitMixed(p *dashstream.Producer, run *dashstream.Run, rng *rand.Rand, i int) {
	switch rng.IntN(9) {
	case 0:
		run.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, "n", slog.Int("i", i))
	case 1:
		run.Edge("a", "b")
	case 2:
		run.State(map[string]any{"i": i, "r": rng.IntN(1000)})
	case 3:
		run.Quality(dashstream.Quality{Accuracy: new(rng.Float64())})
	case 4:
		run.Error(fmt.Errorf("error %d", i), dashstream.ErrorInfo{})
	case 5:
		_ = p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_TokenChunk{TokenChunk: &pb.TokenChunk{
			Header: &pb.Header{ThreadId: run.ThreadID()}, Text: "hello",
		}}})
	case 6:
		_ = p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_EventBatch{EventBatch: &pb.EventBatch{
			Header: &pb.Header{ThreadId: run.ThreadID()},
			Events: []*pb.Event{{Header: &pb.Header{ThreadId: run.ThreadID()}}, {Header: &pb.Header{ThreadId: run.ThreadID()}}},
		}}})
	case 7:
		_ = p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_ToolExecution{ToolExecution: &pb.ToolExecution{
			Header: &pb.Header{ThreadId: run.ThreadID()}, ToolName: "t",
		}}})
	default:
		run.Checkpoint(map[string]any{"i": i})
	}
}

// PRO-01, H-06: the order of the log is the order of the sequences, for all types of messages, whoever emits them.
func TestLogOrderIsSequenceOrder(t *testing.T) {
	t.Parallel()
	const emitters, threads = 8, 3
	each := 100_000
	if raceEnabled {
		each = 5_000
	}
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	p := newProducer(t, c, topic, dashstream.WithFlushTimeout(2*time.Minute), dashstream.WithQueueBytes(64<<20))
	var runs []*dashstream.Run
	for i := range threads {
		runs = append(runs, p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: fmt.Sprintf("thread-%d", i)}))
	}
	var wg sync.WaitGroup
	for e := range emitters {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(e)))
			for i := range each {
				emitMixed(p, runs[rng.IntN(threads)], rng, i)
				if i%64 == 0 {
					makeRoom(p)
				}
			}
		})
	}
	wg.Wait()
	for _, r := range runs {
		r.End(nil)
	}
	flush(t, p)
	checkAccounts(t, p)
	total := p.Stats().Total()
	if total.Acked != total.Emitted || total.Emitted < emitters*uint64(each) {
		t.Errorf("emitted %d, acknowledged %d", total.Emitted, total.Acked)
	}
	records := readAll(t, c, topic)
	if uint64(len(records)) != total.Acked {
		t.Errorf("%d records in the log, %d acknowledged", len(records), total.Acked)
	}
	checkSequences(t, records)
}

// PRO-04: a request that is refused and sent again does not come after those that were on their way with it.
func TestARetryKeepsTheOrder(t *testing.T) {
	t.Parallel()
	c := fakeKafka(t, 1, "t")
	var n network
	p := fakeProducer(t, c, "t", n.option(), dashstream.WithFlushTimeout(time.Minute))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	flush(t, p)
	const rounds, each = 3, 4_000 // four requests a round, at least
	text := noise(1 << 10)
	for range rounds {
		c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
			// Once two more are on their way.
			c.SleepControl(func() {
				until := n.produced.Load() + 2
				for deadline := time.Now().Add(5 * time.Second); n.produced.Load() < until && time.Now().Before(deadline); {
					<-time.After(time.Millisecond)
				}
			})
			return refusal(req, kerr.NotLeaderForPartition.Code), nil, true
		})
		for range each {
			run.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, "n", slog.String("text", text))
			makeRoom(p)
		}
		flush(t, p)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	defer cancel()
	const want = 1 + rounds*each
	for next := uint64(1); next <= want; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", next-1, want, err)
		}
		for r := range fetches.RecordsAll() {
			m, err := wire.Decode(r.Value, wire.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if got := wire.HeaderOf(m).Sequence; got != next {
				t.Fatalf("offset %d: sequence %d, want %d", r.Offset, got, next)
			}
			next++
		}
	}
}

// makeRoom waits until the queue is not nearly full: a test that is to lose nothing has to.
func makeRoom(p *dashstream.Producer) {
	for {
		s := p.Stats()
		if s.QueueBytes < s.QueueCapacityBytes/2 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// checkSequences fails unless the sequences of each thread are 1, 2, 3 … in the order of the log, on one partition, under
// the key of the thread.
func checkSequences(t *testing.T, records []record) {
	t.Helper()
	last := map[string]uint64{}
	partition := map[string]int32{}
	bad := 0
	for _, r := range records {
		h := r.header()
		if r.key != h.ThreadId {
			t.Fatalf("a record of thread %q has the key %q", h.ThreadId, r.key)
		}
		if p, ok := partition[h.ThreadId]; ok && p != r.partition {
			t.Fatalf("thread %q is on partitions %d and %d", h.ThreadId, p, r.partition)
		}
		partition[h.ThreadId] = r.partition
		if h.Sequence != last[h.ThreadId]+1 {
			if bad++; bad < 10 {
				t.Errorf("partition %d offset %d, thread %q: sequence %d behind %d", r.partition, r.offset, h.ThreadId, h.Sequence, last[h.ThreadId])
			}
		}
		last[h.ThreadId] = h.Sequence
	}
}

// checkAccounts fails unless every account adds up.
func checkAccounts(t testing.TB, p *dashstream.Producer) {
	t.Helper()
	s := p.Stats()
	for _, kind := range dashstream.MessageTypes() {
		c := s.Types[kind]
		if c.Emitted != c.Acked+c.DroppedTotal()+c.FailedTotal()+c.InFlight {
			t.Errorf("%s: emitted %d, acknowledged %d, dropped %v, failed %v, in flight %d", kind, c.Emitted, c.Acked, c.Dropped, c.Failed, c.InFlight)
		}
	}
	if int(s.Total().InFlight) < s.QueueMessages || s.QueueBytes > s.QueueCapacityBytes || s.QueueBytes < 0 {
		t.Errorf("in flight %d, queue %d messages, %d of %d bytes", s.Total().InFlight, s.QueueMessages, s.QueueBytes, s.QueueCapacityBytes)
	}
}
