package demo

import (
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

func failureGraph() *graph {
	return &graph{
		Name: "account_assistant", Version: "1", EntryPoint: "plan", ExitPoints: []string{"report"},
		Nodes: []graphNode{
			{ID: "plan", Label: "Plan", Kind: kindLLM, Description: "Decides on the steps."},
			{ID: "fetch", Label: "Fetch", Kind: kindTool, Description: "Gets what the steps need."},
			{ID: "compose", Label: "Compose", Kind: kindLLM, Description: "Puts it into a form that can be acted on."},
			{ID: "act", Label: "Act", Kind: kindTool, Description: "Does what was asked."},
			{ID: "report", Label: "Report", Kind: kindLLM, Description: "Says what was done."},
		},
		Edges: []graphEdge{direct("plan", "fetch"), direct("fetch", "compose"), direct("compose", "act"), direct("act", "report")},
	}
}

func writeFailure(t *timeline) {
	b := t.breakdown()
	writer, helper := pick(t, writers), pick(t, helpers)
	t.begin(b.text, b.category, b.id)
	asked := t.now
	fail := func(n *node) {
		n.report(b.fatal, pb.Error_SEVERITY_FATAL, codeOf(b.fatal), map[string]string{"task": b.id}, b.suggestions...)
		n.state(func(s *state) { s.Status, s.Failure = "failed", b.fatal.Error() })
		n.err = b.fatal
		// The failure is a judgement too: nothing of use came out.
		n.quality(verdict{accuracy: 0, relevance: 0.2, completeness: 0, score: 0.06}, writer, "operations", asked, 1, len(b.retries))
		n.fail(b.fatal)
	}
	attempt := func(n *node) { // calls the tool that fails
		n.progress("Calling "+b.tool, 30)
		n.tool(toolCall{name: b.tool, args: b.args, lo: 700 * time.Millisecond, hi: 1300 * time.Millisecond, failures: b.retries, fatal: b.fatal})
		fail(n)
	}
	t.node("plan", func(n *node) {
		n.think("What does the task need before anything can be done?", "First the data, then the action, then a word about it.", "Whatever fails, it must not be done twice.")
		n.llm(call{model: writer, instructions: 170, prompt: []string{b.text}, text: "1. Fetch what the account has.\n2. Put it into the form that the action wants.\n3. Act once, and say what was done.", temperature: 0.3})
		n.state(func(s *state) { s.Plan = []string{"fetch", "compose", "act", "report"} })
	})
	t.edge("plan", "fetch")
	if b.node == "fetch" {
		t.node("fetch", attempt)
		return
	}
	t.node("fetch", func(n *node) {
		n.tool(toolCall{name: "account_data", args: map[string]any{"sections": []string{"contracts", "payments"}}, lo: 400 * time.Millisecond, hi: 900 * time.Millisecond, result: map[string]any{"contracts": 14, "payments": 212}})
		n.state(func(s *state) { s.Lookups = map[string]any{"contracts": 14, "payments": 212} })
	})
	t.edge("fetch", "compose")
	if b.node == "compose" {
		t.node("compose", func(n *node) {
			n.think("Fourteen contracts are a lot of text for one prompt.")
			n.llm(call{model: writer, instructions: 400, prompt: []string{b.text}, failures: b.retries, fatal: b.fatal, temperature: 0.2})
			fail(n)
		})
		return
	}
	t.node("compose", func(n *node) {
		n.llm(call{model: helper, instructions: 220, prompt: []string{b.text}, text: "All 212 payments are matched; one form is ready to be sent.", temperature: 0.2})
		n.state(func(s *state) { s.Draft = "one form with 212 payments" })
	})
	t.edge("compose", "act")
	t.node("act", attempt)
}
