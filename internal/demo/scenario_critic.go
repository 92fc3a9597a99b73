package demo

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

func criticGraph() *graph {
	return &graph{
		Name: "writer_and_critic", Version: "5", EntryPoint: "outline", ExitPoints: []string{"publish"},
		Nodes: []graphNode{
			{ID: "outline", Label: "Outline", Kind: kindLLM, Description: "Decides what has to be said."},
			{ID: "write", Label: "Write", Kind: kindLLM, Description: "Writes a draft, or revises the one before."},
			{ID: "critique", Label: "Criticise", Kind: kindRouter, Description: "Scores the draft and sends it back or on."},
			{ID: "publish", Label: "Publish", Kind: kindFunction, Description: "Hands the text over."},
		},
		Edges: []graphEdge{
			direct("outline", "write"), direct("write", "critique"),
			conditional("critique", "write", "revise"), conditional("critique", "publish", "good enough"),
		},
	}
}

// maxRevisions bounds the loop between writer and critic.
const maxRevisions = 3

func writeCritic(t *timeline) {
	q := pick(t, questions())
	writer, helper := pick(t, writers), pick(t, helpers)
	t.begin("Write a short note that answers: "+q.text, q.category, q.id)
	t.node("outline", func(n *node) {
		n.think("Who asks this wants to act on it.", "So the note has to be short, and in the order in which things are done.")
		outline := "Say what is true of " + q.topic + "; say why; say what to do."
		n.llm(call{model: writer, instructions: 110, prompt: []string{q.text}, text: outline, temperature: 0.5})
		n.state(func(s *state) { s.Plan = strings.Split(strings.TrimSuffix(outline, "."), "; ") })
	})
	t.edge("outline", "write")
	drafts := []string{
		t.answer(q, 2, false),
		t.answer(q, len(q.facts), false),
		t.answer(q, len(q.facts), false) + " " + q.fix,
	}
	bonus := []float64{-0.17, -0.08, 0.02}
	comments := []string{
		"It stops half way: the reader learns what happens but not what follows from it.",
		q.gap,
		"Clear and complete; nothing has to be asked again.",
	}
	for round := 1; ; round++ {
		draft, asked := drafts[round-1], t.now
		t.node("write", func(n *node) {
			if round > 1 {
				n.think("The critic is right: " + lower(comments[round-2]))
			}
			n.progress(fmt.Sprintf("Draft %d", round), float64(round*100/(maxRevisions+1)))
			n.llm(call{model: writer, instructions: 240, prompt: append([]string{q.text}, drafts[:round-1]...), text: draft, temperature: 0.6})
			n.state(func(s *state) {
				s.Draft, s.Revision = draft, round
				s.Messages = append(s.Messages, message{Role: "assistant", Name: "writer", Content: draft})
			})
			n.out = []slog.Attr{slog.Int("words", len(strings.Fields(draft)))}
		})
		t.edge("write", "critique")
		v := t.judge(writer, bonus[round-1])
		comment := comments[round-1]
		if v.passed {
			comment = comments[2]
		}
		t.node("critique", func(n *node) {
			n.think("Would I know what to do after reading this?", "And would I believe it?")
			n.llm(call{model: helper, instructions: 210, prompt: []string{q.text, draft}, text: fmt.Sprintf("Score %.2f. %s", v.score, comment), temperature: 0.1})
			n.quality(v, writer, "writing", asked, round, round-1)
			if !v.passed && round == maxRevisions {
				n.warn(fmt.Sprintf("%d drafts were not good enough; the last one goes out as it is", maxRevisions))
			}
			n.state(func(s *state) {
				s.Scores = append(s.Scores, v.score)
				s.Critiques = append(s.Critiques, critique{round, v.score, comment})
				s.Messages = append(s.Messages, message{Role: "critic", Content: comment})
			})
		})
		if v.passed {
			t.branch("critique", "publish", "good enough")
			break
		}
		if round == maxRevisions {
			t.branch("critique", "publish", "no revisions left")
			break
		}
		t.branch("critique", "write", "revise")
	}
	t.node("publish", func(n *node) {
		n.tool(toolCall{
			name: "publish_note", args: map[string]any{"channel": "notes", "topic": q.topic},
			lo: 200 * time.Millisecond, hi: 500 * time.Millisecond, result: map[string]any{"published": true, "id": "note-" + q.id},
		})
		n.state(func(s *state) { s.Answer, s.Status = s.Draft, "published" })
	})
}

// lower makes a sentence fit behind a colon.
func lower(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
