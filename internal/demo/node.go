package demo

import (
	"encoding/json"
	"log/slog"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// node writes what happens in one execution of a node.
type node struct {
	*timeline
	name string
	span int
	err  error
	out  []slog.Attr // of NODE_END
}

// think shows thoughts, one after the other.
func (n *node) think(thoughts ...string) {
	for i, text := range thoughts {
		n.add(thinking{span: n.span, step: i + 1, thought: text})
		n.wait(600*time.Millisecond, 950*time.Millisecond)
	}
}

func (n *node) progress(message string, percent float64) {
	n.add(progress{span: n.span, message: message, percent: percent})
}

// substep shows a part of the work from its beginning to its end.
func (n *node) substep(name string, work func()) {
	n.add(substep{span: n.span, name: name, status: "running"})
	work()
	n.add(substep{span: n.span, name: name, status: "done"})
}

func (n *node) warn(message string) { n.add(warning{span: n.span, message: message}) }

func (n *node) event(kind pb.EventType, attrs ...slog.Attr) {
	n.add(event{span: n.span, kind: kind, attrs: attrs})
}

// call is one call of a model.
type call struct {
	model        model
	instructions int      // tokens of the prompt that are the same each time
	prompt       []string // the rest of it
	text         string   // what the model says
	silent       bool     // the text comes at once and is not shown as it grows
	finish       string   // stop unless set
	failures     []error  // before it works, each is retried
	fatal        error    // it never works
	temperature  float64
}

// llm writes a call of a model and adds it to the usage in the state.
func (n *node) llm(c call) {
	id := n.id()
	if c.finish == "" {
		c.finish = "stop"
	}
	n.add(llmStart{call: id, span: n.span, model: c.model.name, provider: c.model.provider, attrs: []slog.Attr{
		slog.Float64("temperature", c.temperature), slog.Bool("streaming", !c.silent), slog.Int("max_tokens", 1024),
	}})
	for i, err := range c.failures {
		n.wait(300*time.Millisecond, 700*time.Millisecond)
		n.add(llmRetry{call: id, attempt: i + 1, err: err})
		n.now += time.Duration(500<<i) * time.Millisecond
	}
	n.wait(c.model.first*3/4, c.model.first*5/4)
	if c.fatal != nil {
		n.add(llmFail{call: id, err: c.fatal})
		return
	}
	said := pieces(c.text)
	interval := time.Duration(float64(time.Second) / c.model.rate)
	if c.silent {
		n.now += min(time.Duration(len(said))*interval, 900*time.Millisecond).Round(time.Millisecond)
	} else {
		for i := 0; i < len(said); {
			k := min(1+n.rng.IntN(3), len(said)-i)
			chunk := ""
			for _, p := range said[i : i+k] {
				chunk += p
			}
			i += k
			n.now += (time.Duration(k) * interval * time.Duration(80+n.rng.IntN(41)) / 100).Round(time.Millisecond)
			n.add(token{call: id, text: chunk})
		}
	}
	u := llmEnd{call: id, prompt: promptTokens(c.instructions, c.prompt...), completion: len(said), finish: c.finish}
	u.cost = c.model.cost(u.prompt, u.completion)
	n.wait(5*time.Millisecond, 20*time.Millisecond)
	n.add(u)
	n.note(func(s *state) {
		s.Usage.Calls++
		s.Usage.PromptTokens += u.prompt
		s.Usage.CompletionTokens += u.completion
		s.Usage.CostUSD = round(s.Usage.CostUSD+u.cost, 8)
	})
}

// toolCall is one call of a tool.
type toolCall struct {
	name     string
	args     any
	lo, hi   time.Duration // how long an attempt takes
	failures []error       // before it works, each is retried
	result   any
	fatal    error // it never works
}

// tool writes a call of a tool.
func (n *node) tool(c toolCall) {
	id := n.id()
	n.add(toolStart{call: id, span: n.span, name: c.name, args: encoded(c.args)})
	for i, err := range c.failures {
		n.wait(c.lo, c.hi)
		n.add(toolRetry{call: id, err: err})
		n.now += time.Duration(300<<i) * time.Millisecond
	}
	n.wait(c.lo, c.hi)
	if c.fatal != nil {
		n.add(toolFail{call: id, err: c.fatal})
		return
	}
	n.add(toolEnd{call: id, result: encoded(c.result)})
}

// encoded is JSON of a value of this package; all of them can be encoded, which a test of every scenario proves.
func encoded(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		text, _ = json.Marshal(map[string]string{"unserializable": err.Error()}) // strings always can
	}
	return text
}

// report writes an Error message beside the node.
func (n *node) report(err error, severity pb.Error_ErrorSeverity, code string, context map[string]string, suggestions ...string) {
	n.add(reportError{node: n.name, err: err, severity: severity, code: code, context: context, suggestions: suggestions})
}

// checkpoint saves the state as it is then.
func (n *node) checkpoint(reason string) { n.add(saveCheckpoint{span: n.span, reason: reason}) }
