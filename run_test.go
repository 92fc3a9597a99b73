package dashstream_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/internal/testkafka"
)

func TestRunFromStartToEnd(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	p := newProducer(t, c, topic)
	run := p.StartRun(t.Context(), dashstream.RunSpec{
		ThreadID:     "thread-1",
		Graph:        dashstream.Graph{Name: "g", Manifest: map[string]any{"nodes": []string{"plan"}}, EntryPoint: "plan", Nodes: 1, Edges: 2},
		InitialState: map[string]any{"n": 1},
	})
	n := run.Node("plan")
	n.Progress("half", 50)
	n.Thinking("hm", 1)
	llm := n.LLM("gpt", "openai")
	llm.Token("hello ")
	llm.Token("world")
	llm.End(dashstream.Usage{PromptTokens: 3, CompletionTokens: 4, CostUSD: new(0.5), FinishReason: "stop"})
	tool := n.Tool("search", map[string]any{"q": "x"})
	tool.Retry(errors.New("again"))
	tool.End([]int{1, 2})
	run.State(map[string]any{"n": 2})
	n.End(nil, slog.Any("tags", []string{"a", "b"}))
	run.Edge("plan", "end")
	run.Quality(dashstream.Quality{Accuracy: new(0.9), Passed: new(true), Model: "gpt"})
	run.End(nil)
	flush(t, p)
	for _, r := range readAll(t, c, topic) {
		t.Log(r.msg)
	}
	t.Logf("%+v", p.Stats())
}
