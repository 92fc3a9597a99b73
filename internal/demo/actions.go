package demo

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"maps"
	"time"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
)

// action is what a step does: it is data until a player plays it through the SDK.
type action interface{ play(p *player) }

type nodeStart struct {
	span  int
	node  string
	attrs []slog.Attr
}

func (a nodeStart) play(p *player) {
	p.nodes[a.span] = p.run.Node(a.node, a.attrs...)
	p.trace.started(a.span, a.node, p.now())
}

type nodeEnd struct {
	span  int
	err   error
	attrs []slog.Attr
}

func (a nodeEnd) play(p *player) {
	p.nodes[a.span].End(a.err, a.attrs...)
	delete(p.nodes, a.span)
	p.trace.ended(a.span, a.err, p.now())
}

type progress struct {
	span    int
	message string
	percent float64
}

func (a progress) play(p *player) { p.nodes[a.span].Progress(a.message, a.percent) }

type thinking struct {
	span, step int
	thought    string
}

func (a thinking) play(p *player) { p.nodes[a.span].Thinking(a.thought, a.step) }

type substep struct {
	span         int
	name, status string
}

func (a substep) play(p *player) { p.nodes[a.span].Substep(a.name, a.status) }

type warning struct {
	span    int
	message string
}

func (a warning) play(p *player) { p.nodes[a.span].Warning(a.message) }

// event is an event of a node that has no action of its own.
type event struct {
	span  int
	kind  pb.EventType
	attrs []slog.Attr
}

func (a event) play(p *player) { p.nodes[a.span].Event(a.kind, a.attrs...) }

type edge struct {
	from, to    string
	conditional bool
	result      string
}

func (a edge) play(p *player) {
	if a.conditional {
		p.run.Branch(a.from, a.to, a.result)
		return
	}
	p.run.Edge(a.from, a.to)
}

type parallelStart struct {
	id       int
	from     string
	branches []string
}

func (a parallelStart) play(p *player) { p.parallels[a.id] = p.run.Parallel(a.from, a.branches...) }

type parallelEnd struct{ id int }

func (a parallelEnd) play(p *player) {
	p.parallels[a.id].End()
	delete(p.parallels, a.id)
}

type llmStart struct {
	call, span      int
	model, provider string
	attrs           []slog.Attr
}

func (a llmStart) play(p *player) {
	p.llms[a.call] = openCall{p.nodes[a.span].LLM(a.model, a.provider, a.attrs...), a.span}
}

type token struct {
	call int
	text string
}

func (a token) play(p *player) { p.llms[a.call].llm.Token(a.text) }

type llmRetry struct {
	call, attempt int
	err           error
}

func (a llmRetry) play(p *player) { p.llms[a.call].llm.Retry(a.attempt, a.err) }

type llmEnd struct {
	call               int
	prompt, completion int
	cost               float64
	finish             string
}

func (a llmEnd) play(p *player) {
	c := p.llms[a.call]
	c.llm.End(dashstream.Usage{PromptTokens: a.prompt, CompletionTokens: a.completion, TotalTokens: a.prompt + a.completion, CostUSD: &a.cost, FinishReason: a.finish})
	delete(p.llms, a.call)
	p.trace.spent(c.span, a.prompt, a.completion)
}

type llmFail struct {
	call int
	err  error
}

func (a llmFail) play(p *player) {
	p.llms[a.call].llm.Fail(a.err)
	delete(p.llms, a.call)
}

type toolStart struct {
	call, span int
	name       string
	args       json.RawMessage
}

func (a toolStart) play(p *player) { p.tools[a.call] = p.nodes[a.span].Tool(a.name, a.args) }

type toolRetry struct {
	call int
	err  error
}

func (a toolRetry) play(p *player) { p.tools[a.call].Retry(a.err) }

type toolEnd struct {
	call   int
	result json.RawMessage
}

func (a toolEnd) play(p *player) {
	p.tools[a.call].End(a.result)
	delete(p.tools, a.call)
}

type toolFail struct {
	call int
	err  error
}

func (a toolFail) play(p *player) {
	p.tools[a.call].Fail(a.err)
	delete(p.tools, a.call)
}

type setState struct{ json json.RawMessage }

func (a setState) play(p *player) {
	p.run.State(a.json)
	p.state = a.json
}

// saveCheckpoint publishes the state as it is, and says in an event where it can be found.
type saveCheckpoint struct {
	span   int
	reason string
}

func (a saveCheckpoint) play(p *player) {
	p.checkpoint = hex.EncodeToString(p.run.Checkpoint(p.state))
	p.nodes[a.span].Event(pb.EventType_EVENT_TYPE_CHECKPOINT_SAVE, slog.String("checkpoint_id", p.checkpoint), slog.String("reason", a.reason))
}

// useCheckpoint says that the last checkpoint was loaded or deleted.
type useCheckpoint struct {
	span int
	kind pb.EventType
}

func (a useCheckpoint) play(p *player) {
	p.nodes[a.span].Event(a.kind, slog.String("checkpoint_id", p.checkpoint))
}

type quality struct {
	verdict
	model, category, application, queryID string
	latency                               time.Duration
	turn, retries                         int
}

func (a quality) play(p *player) {
	p.run.Quality(dashstream.Quality{
		Accuracy: &a.accuracy, Relevance: &a.relevance, Completeness: &a.completeness, Score: &a.score, Passed: &a.passed,
		Latency: &a.latency, RetryCount: &a.retries, TurnNumber: &a.turn,
		Model: a.model, Category: a.category, ApplicationType: a.application, QueryID: a.queryID,
		Tags: map[string]string{"demo": "true", "scenario": p.script.scenario},
	})
}

type reportError struct {
	node        string
	err         error
	severity    pb.Error_ErrorSeverity
	code        string
	context     map[string]string
	suggestions []string
}

func (a reportError) play(p *player) {
	context := map[string]string{"node": a.node}
	maps.Copy(context, a.context)
	p.run.Error(a.err, dashstream.ErrorInfo{Code: a.code, Context: context, Severity: a.severity, Suggestions: a.suggestions})
	p.trace.failed(a.node, a.err, a.severity <= pb.Error_SEVERITY_WARNING, p.now())
}

type interrupt struct {
	node, reason string
	attrs        []slog.Attr
}

func (a interrupt) play(p *player) { p.run.Interrupt(a.node, a.reason, a.attrs...) }

type resume struct {
	node, input string
	attrs       []slog.Attr
}

func (a resume) play(p *player) { p.run.Resume(a.node, a.input, a.attrs...) }

// finish ends the run as the script says.
type finish struct{}

func (finish) play(p *player) { p.end(p.script.failure) }
