package demo

import (
	"fmt"
	"log/slog"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

func tuneGraph() *graph {
	return &graph{
		Name: "prompt_tuner", Version: "1", EntryPoint: "baseline", ExitPoints: []string{"select"},
		Nodes: []graphNode{
			{ID: "baseline", Label: "Baseline", Kind: kindFunction, Description: "Scores the prompt as it is."},
			{ID: "propose", Label: "Propose", Kind: kindLLM, Description: "Writes another prompt."},
			{ID: "evaluate", Label: "Evaluate", Kind: kindFunction, Description: "Scores it on the same examples."},
			{ID: "select", Label: "Select", Kind: kindRouter, Description: "Keeps the best one."},
		},
		Edges: []graphEdge{
			direct("baseline", "propose"), direct("propose", "evaluate"),
			conditional("evaluate", "propose", "try another"), conditional("evaluate", "select", "good enough"),
		},
	}
}

// goodPrompt is the score at which no other prompt is tried.
const goodPrompt = 0.9

func writeTune(t *timeline) {
	task := pick(t, tunings())
	writer, helper := pick(t, writers), pick(t, helpers)
	t.begin(task.text, task.category, task.id)
	// evaluate scores a prompt on examples.
	evaluate := func(n *node, name, prompt string, bonus float64, turn int) float64 {
		asked := n.now
		for i, part := range []string{"plain examples", "ambiguous examples", "hostile examples"} {
			n.substep(part, func() { n.wait(250*time.Millisecond, 600*time.Millisecond) })
			n.progress(fmt.Sprintf("%d of 3 sets of examples", i+1), float64(i+1)*100/3)
		}
		n.llm(call{model: helper, instructions: 900, prompt: []string{prompt}, text: "48 examples, the answers are attached.", silent: true})
		v := n.judge(helper, bonus)
		n.quality(v, helper, "tuning", asked, turn, 0)
		n.state(func(s *state) {
			s.Scores = append(s.Scores, v.score)
			s.Candidates = append(s.Candidates, candidate{name, prompt, v.score})
			best := s.Candidates[0]
			for _, c := range s.Candidates {
				if c.Score > best.Score {
					best = c
				}
			}
			s.Best = best.Name
		})
		return v.score
	}
	base := 0.0
	t.node("baseline", func(n *node) {
		n.event(pb.EventType_EVENT_TYPE_OPTIMIZATION_START, slog.String("target", task.name), slog.String("metric", "quality_score"), slog.Int("max_candidates", len(task.candidates)))
		base = evaluate(n, "baseline", task.baseline, -0.14, 1)
	})
	t.edge("baseline", "propose")
	best := base
	for i, prompt := range task.candidates {
		t.node("propose", func(n *node) {
			n.think(fmt.Sprintf("The best score so far is %.3f. What do the misses have in common?", best))
			n.llm(call{model: writer, instructions: 500, prompt: []string{task.baseline}, text: prompt, temperature: 0.9})
		})
		t.edge("propose", "evaluate")
		t.node("evaluate", func(n *node) {
			best = max(best, evaluate(n, fmt.Sprintf("candidate %d", i+1), prompt, -0.1+float64(0.06*float64(i)), i+2))
		})
		if best >= goodPrompt {
			t.branch("evaluate", "select", "good enough")
			break
		}
		if i == len(task.candidates)-1 {
			t.branch("evaluate", "select", "no candidates left")
			break
		}
		t.branch("evaluate", "propose", "try another")
	}
	t.node("select", func(n *node) {
		n.event(pb.EventType_EVENT_TYPE_OPTIMIZATION_END, slog.String("target", task.name), slog.Float64("baseline", base), slog.Float64("best", best), slog.Float64("improvement", round(best-base, 3)))
		closing := fmt.Sprintf("The best prompt scores %.3f, the one in use %.3f.", best, base)
		n.llm(call{model: writer, instructions: 130, prompt: task.candidates, text: closing, temperature: 0.1})
		n.state(func(s *state) {
			s.Answer, s.Status = closing, "tuned"
			s.Messages = append(s.Messages, message{Role: "assistant", Content: closing})
		})
	})
}
