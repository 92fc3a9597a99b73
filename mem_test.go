package dashstream_test

import (
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
)

// The queue is bounded in bytes of memory: what it holds takes no more than it says.
func TestQueueTakesTheMemoryItSays(t *testing.T) {
	const limit = 32 << 20
	for name, emit := range map[string]func(*dashstream.Producer, *dashstream.Run, *dashstream.LLM){
		"edges":  func(_ *dashstream.Producer, r *dashstream.Run, _ *dashstream.LLM) { r.Edge("plan", "act") },
		"tokens": func(_ *dashstream.Producer, _ *dashstream.Run, l *dashstream.LLM) { l.Token(" hello") },
		"attributes": func(_ *dashstream.Producer, r *dashstream.Run, _ *dashstream.LLM) {
			r.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, "n", slog.String("a", strings.Repeat("x", 100)), slog.Int("b", 1), slog.Any("c", []int{1, 2, 3}))
		},
		"large": func(_ *dashstream.Producer, r *dashstream.Run, _ *dashstream.LLM) {
			r.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, "n", slog.String("a", strings.Repeat("x", 10_000)))
		},
		"sent": func(p *dashstream.Producer, _ *dashstream.Run, _ *dashstream.LLM) {
			_ = p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Metrics{Metrics: &pb.Metrics{Header: &pb.Header{ThreadId: "t"}, Tags: map[string]string{"a": "b", "c": "d"}}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := offline(t, dashstream.WithQueueBytes(limit))
			run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
			llm := run.Node("n").LLM("m", "p")
			before := heap()
			for p.Stats().Total().DroppedTotal() == 0 {
				emit(p, run, llm)
			}
			used := int(heap() - before)
			s := p.Stats()
			t.Logf("%d messages, %d bytes by our count, %d of the heap: %.2f", s.QueueMessages, s.QueueBytes+s.SendingBytes, used, float64(used)/float64(s.QueueBytes+s.SendingBytes))
			if used > 3*(s.QueueBytes+s.SendingBytes)/2 {
				t.Errorf("%d bytes of the heap for %d", used, s.QueueBytes+s.SendingBytes)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
