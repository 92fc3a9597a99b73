package dashstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
)

// benchRun is a run of a producer whose broker does not answer: what is measured is the caller's side.
func benchRun(b *testing.B) *dashstream.Run {
	p, err := dashstream.New(dashstream.WithBrokers("127.0.0.1:1"), dashstream.WithQueueBytes(8<<20), dashstream.WithFlushTimeout(0))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close(context.Background()) })
	run := p.StartRun(b.Context(), dashstream.RunSpec{ThreadID: "bench"})
	b.ReportAllocs()
	b.ResetTimer()
	return run
}

func BenchmarkEvent(b *testing.B) {
	run := benchRun(b)
	for b.Loop() {
		run.Event(pb.EventType_EVENT_TYPE_EDGE_TRAVERSAL, "plan")
	}
}

func BenchmarkEventWithAttributes(b *testing.B) {
	run := benchRun(b)
	for b.Loop() {
		run.Event(pb.EventType_EVENT_TYPE_EDGE_TRAVERSAL, "plan", slog.String("to", "act"), slog.Int("n", 1), slog.Bool("ok", true))
	}
}

func BenchmarkEdge(b *testing.B) {
	run := benchRun(b)
	for b.Loop() {
		run.Edge("plan", "act")
	}
}

func BenchmarkToken(b *testing.B) {
	llm := benchRun(b).Node("plan").LLM("model", "provider")
	for b.Loop() {
		llm.Token(" hello")
	}
}

func BenchmarkEventParallel(b *testing.B) {
	run := benchRun(b)
	b.RunParallel(func(pb_ *testing.PB) {
		for pb_.Next() {
			run.Edge("plan", "act")
		}
	})
}

func BenchmarkState(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			type message struct{ Role, Content string }
			var state struct {
				History []message
				Turn    int
			}
			for i := range n {
				state.History = append(state.History, message{"user", fmt.Sprintf("message number %d", i)})
			}
			run := benchRun(b)
			for b.Loop() {
				state.Turn++
				run.State(state)
			}
		})
	}
}
