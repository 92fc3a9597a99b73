package demo

import (
	"log/slog"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

func retryGraph() *graph {
	return &graph{
		Name: "lookup_assistant", Version: "4", EntryPoint: "understand", ExitPoints: []string{"answer"},
		Nodes: []graphNode{
			{ID: "understand", Label: "Understand", Kind: kindLLM, Description: "Finds the tool that knows."},
			{ID: "lookup", Label: "Look it up", Kind: kindTool, Description: "Asks the tool, again where it fails."},
			{ID: "answer", Label: "Answer", Kind: kindLLM, Description: "Says it in a sentence."},
		},
		Edges: []graphEdge{direct("understand", "lookup"), direct("lookup", "answer")},
	}
}

func writeRetry(t *timeline) {
	l := t.lookup()
	writer, helper := pick(t, writers), pick(t, helpers)
	t.begin(l.text, l.category, l.id)
	asked := t.now
	t.node("understand", func(n *node) {
		n.think("This is a matter for "+l.tool+".", "I have everything that it wants to know.")
		n.llm(call{model: helper, instructions: 130, prompt: []string{l.text}, text: "I will ask " + l.tool + ".", finish: "tool_calls"})
		n.state(func(s *state) { s.Plan = []string{"ask " + l.tool, "answer in one sentence"} })
	})
	t.edge("understand", "lookup")
	failures := []error{TimeoutError(l.tool + ": no answer within 2 seconds")}
	if t.chance(0.4) {
		failures = append(failures, UpstreamError(l.tool+": status 502"))
	}
	t.node("lookup", func(n *node) {
		n.progress("Asking "+l.tool, 10)
		n.tool(toolCall{name: l.tool, args: l.args, lo: 600 * time.Millisecond, hi: 1200 * time.Millisecond, failures: failures, result: l.result})
		n.warn("The tool answered after a retry")
		err := failures[len(failures)-1]
		n.report(err, pb.Error_SEVERITY_WARNING, codeOf(err), map[string]string{"tool": l.tool}, "Nothing to do: a retry went through")
		n.progress("Answer received", 100)
		n.state(func(s *state) {
			s.Lookups = map[string]any{l.key: l.result}
			s.Messages = append(s.Messages, message{Role: "tool", Name: l.tool, Content: string(encoded(l.result))})
		})
		n.out = []slog.Attr{slog.Int("attempts", len(failures)+1)}
	})
	t.edge("lookup", "answer")
	t.node("answer", func(n *node) {
		limited := []error{RateLimitError("429: too many requests, try again in 500 ms")}
		if t.chance(0.3) {
			limited = append(limited, RateLimitError("429: too many requests, try again in 1 s"))
		}
		n.llm(call{model: writer, instructions: 150, prompt: []string{l.text, string(encoded(l.result))}, text: l.answer, temperature: 0.2, failures: limited})
		n.quality(n.judge(writer, 0.01), writer, "lookup", asked, 1, len(failures)+len(limited))
		n.state(func(s *state) {
			s.Answer, s.Status = l.answer, "answered"
			s.Messages = append(s.Messages, message{Role: "assistant", Content: l.answer})
		})
	})
}
