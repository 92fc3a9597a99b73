package demo

import (
	"log/slog"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

func agentGraph() *graph {
	return &graph{
		Name: "code_agent", Version: "7", EntryPoint: "agent", ExitPoints: []string{"finish"},
		Nodes: []graphNode{
			{ID: "agent", Label: "Agent", Kind: kindRouter, Description: "Decides what to do next."},
			{ID: "tools", Label: "Tools", Kind: kindTool, Description: "Reads and edits files."},
			{ID: "tester", Label: "Tester", Kind: kindSubgraph, Description: "An agent of its own that runs the tests and reads the result."},
			{ID: "tester.plan", Label: "Choose tests", Kind: kindLLM, Description: "Chooses what to run.", Parent: "tester"},
			{ID: "tester.run", Label: "Run tests", Kind: kindTool, Description: "Runs it.", Parent: "tester"},
			{ID: "tester.read", Label: "Read the result", Kind: kindLLM, Description: "Says what the result means.", Parent: "tester"},
			{ID: "finish", Label: "Finish", Kind: kindLLM, Description: "Says what was changed."},
		},
		Edges: []graphEdge{
			conditional("agent", "tools", "use a tool"), direct("tools", "agent"),
			conditional("agent", "tester", "run the tests"), direct("tester", "tester.plan"), direct("tester.plan", "tester.run"), direct("tester.run", "tester.read"), direct("tester", "agent"),
			conditional("agent", "finish", "done"),
		},
	}
}

// coder writes a run of the agent that mends programs.
type coder struct {
	*timeline
	bug            bug
	writer, helper model
	turn           int
}

func writeAgent(t *timeline) {
	c := &coder{timeline: t, bug: pick(t, bugs()), writer: pick(t, writers), helper: pick(t, helpers)}
	b := c.bug
	t.begin(b.text, b.category, b.id)
	c.use(b.suspicion+" Let me read "+b.path+".", toolCall{
		name: "read_file", args: map[string]any{"path": b.path}, result: map[string]any{"path": b.path, "lines": b.lines},
	}, func(s *state) { s.Files = map[string]file{b.path: {Lines: b.lines}} })
	c.use(b.cause+" I will change that: "+b.edit+".", toolCall{
		name: "edit_file", args: map[string]any{"path": b.path, "change": b.edit}, result: map[string]any{"changed_lines": 4 + t.rng.IntN(20)},
	}, func(s *state) { s.Files = map[string]file{b.path: {Lines: b.lines + 6, Changed: true}} })
	if t.chance(0.6) {
		c.test("FAIL: "+b.second, false)
		c.use(b.second+" So I also "+b.secondEdit+".", toolCall{
			name: "edit_file", args: map[string]any{"path": b.path, "change": b.secondEdit}, result: map[string]any{"changed_lines": 2 + t.rng.IntN(9)},
		}, func(s *state) { s.Files = map[string]file{b.path: {Lines: b.lines + 9, Changed: true}} })
	}
	c.test("ok: all tests pass", true)
	c.decide("All tests pass, nothing is left to do.")
	t.branch("agent", "finish", "done")
	t.node("finish", func(n *node) {
		n.llm(call{model: c.writer, instructions: 190, prompt: []string{b.text}, text: b.summary, temperature: 0.3})
		n.quality(n.judge(c.writer, 0.02), c.writer, "coding", 0, c.turn, 0)
		n.state(func(s *state) {
			s.Answer, s.Status = b.summary, "mended"
			s.Messages = append(s.Messages, message{Role: "assistant", Content: b.summary})
		})
	})
}

// decide is a turn of the agent.
func (c *coder) decide(says string) {
	c.turn++
	c.node("agent", func(n *node) {
		n.out = []slog.Attr{slog.Int("turn", c.turn)}
		n.llm(call{model: c.writer, instructions: 420 + 180*c.turn, prompt: []string{c.bug.text}, text: says, temperature: 0.3, finish: "tool_calls"})
		n.state(func(s *state) { s.Messages = append(s.Messages, message{Role: "assistant", Content: says}) })
	})
}

// use is a turn in which the agent calls a tool.
func (c *coder) use(says string, call toolCall, change func(*state)) {
	c.decide(says)
	c.branch("agent", "tools", "use a tool")
	c.node("tools", func(n *node) {
		call.lo, call.hi = 200*time.Millisecond, 600*time.Millisecond
		n.tool(call)
		n.state(func(s *state) {
			change(s)
			s.Messages = append(s.Messages, message{Role: "tool", Name: call.name, Content: string(encoded(call.result))})
		})
	})
	c.edge("tools", "agent")
}

// test is a turn in which the agent has another one run the tests: its nodes run within the node of the graph.
func (c *coder) test(result string, passes bool) {
	c.decide("Now the tests have to say whether that is right.")
	c.branch("agent", "tester", "run the tests")
	c.node("tester", func(n *node) {
		n.edge("tester", "tester.plan")
		n.node("tester.plan", func(n *node) {
			n.think(c.bug.test + " first, then its neighbours.")
			n.llm(call{model: c.helper, instructions: 140, prompt: []string{c.bug.path}, text: "Run " + c.bug.test + " and the package around it.", temperature: 0.1})
		})
		n.edge("tester.plan", "tester.run")
		n.node("tester.run", func(n *node) {
			n.progress("Building", 10)
			n.wait(300*time.Millisecond, 600*time.Millisecond)
			n.progress("Running "+c.bug.test, 40)
			n.tool(toolCall{
				name: "run_tests", args: map[string]any{"pattern": c.bug.test, "race": true}, lo: 700 * time.Millisecond, hi: 1400 * time.Millisecond,
				result: map[string]any{"passed": passes, "output": result},
			})
			n.progress("Tests ended", 100)
		})
		n.edge("tester.run", "tester.read")
		n.node("tester.read", func(n *node) {
			if !passes {
				err := ValidationError(result)
				n.report(err, pb.Error_SEVERITY_INFO, "test_failed", map[string]string{"test": c.bug.test})
			}
			n.llm(call{model: c.helper, instructions: 160, prompt: []string{result}, text: "The tests say: " + result + ".", temperature: 0.1})
		})
		n.out = []slog.Attr{slog.Bool("passed", passes)}
		n.state(func(s *state) {
			s.Messages = append(s.Messages, message{Role: "tool", Name: "tester", Content: result})
		})
	})
	c.edge("tester", "agent")
}
