package demo

import (
	"log/slog"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

func approvalGraph() *graph {
	return &graph{
		Name: "operations_assistant", Version: "2", EntryPoint: "gather", ExitPoints: []string{"confirm", "decline"},
		Nodes: []graphNode{
			{ID: "gather", Label: "Gather facts", Kind: kindTool, Description: "Looks before anything is done."},
			{ID: "propose", Label: "Propose", Kind: kindLLM, Description: "Says what should be done, and why."},
			{ID: "approve", Label: "Approve", Kind: kindHuman, Description: "Waits for a person."},
			{ID: "execute", Label: "Execute", Kind: kindTool, Description: "Does it."},
			{ID: "confirm", Label: "Confirm", Kind: kindLLM, Description: "Says what was done."},
			{ID: "decline", Label: "Decline", Kind: kindLLM, Description: "Says what was not done, and why."},
		},
		Edges: []graphEdge{
			direct("gather", "propose"), direct("propose", "approve"),
			conditional("approve", "execute", "approved"), conditional("approve", "decline", "rejected"), direct("execute", "confirm"),
		},
	}
}

func writeApproval(t *timeline) {
	p := t.proposal()
	writer := pick(t, writers)
	person := pick(t, []string{"Mara Lindqvist", "Tomás Oyelaran", "Wei-Ling Chao", "Jonas Abernathy", "Farida Kassem"})
	approved := t.chance(0.7)
	t.begin(p.text, p.category, p.id)
	t.node("gather", func(n *node) {
		n.think("Before I touch anything I want to see what is there.")
		n.tool(toolCall{name: p.tool, args: p.args, lo: 500 * time.Millisecond, hi: 1100 * time.Millisecond, result: p.facts})
		n.state(func(s *state) {
			s.Lookups = p.facts
			s.Messages = append(s.Messages, message{Role: "tool", Name: p.tool, Content: string(encoded(p.facts))})
		})
	})
	t.edge("gather", "propose")
	asked := t.now
	t.node("propose", func(n *node) {
		n.think("What is the smallest step that helps?", "And who has to agree?")
		n.llm(call{model: writer, instructions: 280, prompt: []string{p.text, string(encoded(p.facts))}, text: p.plan, temperature: 0.3})
		n.quality(n.judge(writer, 0), writer, "operations", asked, 1, 0)
		n.state(func(s *state) {
			s.Approval = &approval{Action: p.action, Reason: p.reason, Decision: "pending"}
			s.Messages = append(s.Messages, message{Role: "assistant", Content: p.plan})
		})
	})
	t.edge("propose", "approve")
	decision, note, next := "approved", p.approved, "execute"
	if !approved {
		decision, note, next = "rejected", p.rejected, "decline"
	}
	t.node("approve", func(n *node) {
		n.state(func(s *state) { s.Status = "waiting for approval" })
		n.checkpoint("before a human decides")
		n.add(interrupt{node: "approve", reason: p.reason, attrs: []slog.Attr{slog.String("prompt", "May I call "+p.action+"?"), slog.Any("arguments", p.actionArgs)}})
		n.wait(3*time.Second, 6*time.Second)
		n.add(resume{node: "approve", input: note, attrs: []slog.Attr{slog.String("decision", decision), slog.String("by", person)}})
		n.wait(40*time.Millisecond, 90*time.Millisecond)
		n.add(useCheckpoint{span: n.span, kind: pb.EventType_EVENT_TYPE_CHECKPOINT_LOAD})
		n.state(func(s *state) {
			s.Status = "running"
			s.Approval = &approval{Action: p.action, Reason: p.reason, Decision: decision, By: person, Note: note}
			s.Messages = append(s.Messages, message{Role: "user", Name: person, Content: note})
		})
	})
	t.branch("approve", next, decision)
	if approved {
		t.node("execute", func(n *node) {
			n.progress("Calling "+p.action, 20)
			n.tool(toolCall{name: p.action, args: p.actionArgs, lo: 600 * time.Millisecond, hi: 1200 * time.Millisecond, result: p.result})
			n.progress("Done", 100)
			n.state(func(s *state) {
				s.Messages = append(s.Messages, message{Role: "tool", Name: p.action, Content: string(encoded(p.result))})
			})
		})
		t.edge("execute", "confirm")
		next = "confirm"
	}
	closing := "It is done. " + person + " approved it with the words: " + note
	if !approved {
		closing = "Nothing was changed. " + person + " decided against it: " + note
	}
	t.node(next, func(n *node) {
		n.llm(call{model: writer, instructions: 120, prompt: []string{note}, text: closing, temperature: 0.2})
		n.add(useCheckpoint{span: n.span, kind: pb.EventType_EVENT_TYPE_CHECKPOINT_DELETE})
		n.state(func(s *state) {
			s.Answer, s.Status = closing, decision
			s.Messages = append(s.Messages, message{Role: "assistant", Content: closing})
		})
	})
}
