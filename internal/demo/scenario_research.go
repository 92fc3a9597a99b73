package demo

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

func researchGraph() *graph {
	g := &graph{
		Name: "research", Version: "2", EntryPoint: "plan", ExitPoints: []string{"report"},
		Nodes: []graphNode{
			{ID: "plan", Label: "Plan", Kind: kindLLM, Description: "Splits the question into what each source can say."},
			{ID: "search_web", Label: "Search the web", Kind: kindTool, Description: "Public pages."},
			{ID: "search_papers", Label: "Search papers", Kind: kindTool, Description: "Articles and reports."},
			{ID: "search_internal", Label: "Search our documents", Kind: kindTool, Description: "The company's own knowledge."},
			{ID: "synthesize", Label: "Synthesize", Kind: kindLLM, Description: "Puts the findings together."},
			{ID: "verify", Label: "Verify", Kind: kindRouter, Description: "Looks for claims without a source."},
			{ID: "report", Label: "Report", Kind: kindFunction, Description: "Writes the report down."},
		},
	}
	for _, s := range researchSources {
		g.Edges = append(g.Edges, parallel("plan", s.node))
	}
	for _, s := range researchSources {
		g.Edges = append(g.Edges, direct(s.node, "synthesize"))
	}
	g.Edges = append(g.Edges, direct("synthesize", "verify"), conditional("verify", "synthesize", "unsupported claim"), conditional("verify", "report", "supported"))
	return g
}

var researchSources = []struct{ node, tool, where string }{
	{"search_web", "web_search", "the web"},
	{"search_papers", "paper_search", "papers"},
	{"search_internal", "document_search", "our documents"},
}

func writeResearch(t *timeline) {
	q := pick(t, questions())
	writer, helper := pick(t, writers), pick(t, helpers)
	t.begin(q.text, q.category, q.id)
	plan := []string{
		"What does the public say about " + q.topic + "?",
		"What has been measured?",
		"What do we know ourselves?",
	}
	t.node("plan", func(n *node) {
		n.think("Three kinds of sources may know about "+q.topic+".", "They do not depend on each other, so they can be asked at once.")
		n.llm(call{model: helper, instructions: 140, prompt: []string{q.text}, text: "1. " + plan[0] + "\n2. " + plan[1] + "\n3. " + plan[2], temperature: 0.3})
		n.state(func(s *state) { s.Plan = plan })
	})
	names := make([]string, 0, len(researchSources))
	for _, s := range researchSources {
		names = append(names, s.node)
	}
	var found []finding
	t.together("plan", names, func(b *timeline, name string) {
		i := len(found)
		f := finding{Source: q.sources[i], Claim: q.facts[i], Weight: pick(b, []string{"strong", "strong", "fair", "weak"})}
		found = append(found, f)
		b.searchSource(q, f, i, helper)
	})
	for _, s := range researchSources {
		t.edge(s.node, "synthesize")
	}
	report := t.answer(q, len(q.facts), true)
	asked := t.now
	synthesize := func(text string, revision int) {
		t.node("synthesize", func(n *node) {
			n.progress("Weighing the findings", 20)
			n.think("The sources do not contradict each other, they look from different sides.")
			n.llm(call{model: writer, instructions: 320, prompt: []string{q.text, found[0].Claim, found[1].Claim, found[2].Claim}, text: text, temperature: 0.4})
			n.state(func(s *state) { s.Draft, s.Revision = text, revision })
		})
		t.edge("synthesize", "verify")
	}
	verify := func(v verdict, turn int) {
		t.node("verify", func(n *node) {
			n.think("Is there a source behind every claim?")
			n.llm(call{model: helper, instructions: 150, prompt: []string{report}, text: v.asJSON(), silent: true})
			n.quality(v, writer, "research", asked, turn, turn-1)
			n.state(func(s *state) { s.Scores = append(s.Scores, v.score) })
		})
	}
	synthesize(report, 1)
	v := t.judge(writer, -0.04)
	verify(v, 1)
	if !v.passed {
		t.branch("verify", "synthesize", "unsupported claim")
		report += " " + q.fix
		synthesize(report, 2)
		v = t.judge(writer, 0.03)
		verify(v, 2)
	}
	result := "supported"
	if !v.passed {
		result = "no revisions left"
	}
	t.branch("verify", "report", result)
	t.node("report", func(n *node) {
		n.tool(toolCall{
			name: "save_report", args: map[string]any{"title": "About " + q.topic, "words": len(strings.Fields(report))},
			lo: 150 * time.Millisecond, hi: 400 * time.Millisecond, result: map[string]any{"path": "reports/" + q.id + ".md", "bytes": len(report)},
		})
		n.state(func(s *state) {
			s.Answer, s.Status = report, "done"
			s.Messages = append(s.Messages, message{Role: "assistant", Content: report})
		})
	})
}

// searchSource writes one of the branches.
func (t *timeline) searchSource(q question, f finding, i int, helper model) {
	source := researchSources[i]
	t.node(source.node, func(n *node) {
		n.progress("Asking "+source.where, 5)
		for page := 1; page <= 1+n.rng.IntN(2); page++ {
			n.tool(toolCall{
				name: source.tool, args: map[string]any{"query": q.topic, "page": page, "language": "en"},
				lo: 450 * time.Millisecond, hi: 1100 * time.Millisecond,
				result: map[string]any{"results": 4 + n.rng.IntN(9), "best": q.sources[i]},
			})
			n.progress(fmt.Sprintf("Read page %d of %s", page, source.where), float64(30*page))
		}
		if source.node == "search_web" && n.chance(0.3) {
			err := UpstreamError("one of the pages answered with status 503 and was left out")
			n.report(err, pb.Error_SEVERITY_WARNING, codeOf(err), map[string]string{"tool": source.tool}, "Ask for the page again later")
		}
		n.llm(call{model: helper, instructions: 120, prompt: []string{f.Claim, f.Source}, text: "Finding: " + f.Claim, temperature: 0.1})
		n.progress("Finding written down", 100)
		n.state(func(s *state) { s.Findings = append(s.Findings, f) })
		n.out = []slog.Attr{slog.String("weight", f.Weight)}
	})
}
