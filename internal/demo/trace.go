package demo

import (
	"encoding/json"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// trace collects what the run did, for the ExecutionTrace at its end. All times are measured, like those that the SDK
// measures, so that the two agree at any pace.
type trace struct {
	began  time.Time
	nodes  []*pb.NodeExecutionRecord
	open   map[int]openNode // by span
	errors []*pb.ErrorRecord
	tokens uint64
}

type openNode struct {
	record *pb.NodeExecutionRecord
	began  time.Time
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func milliseconds(d time.Duration) uint64 { return uint64(max(0, d.Milliseconds())) }

func (t *trace) begin(now time.Time) {
	t.began, t.open = now, map[int]openNode{}
}

func (t *trace) started(span int, node string, now time.Time) {
	r := &pb.NodeExecutionRecord{Node: node, StartedAt: stamp(now)}
	t.nodes = append(t.nodes, r)
	t.open[span] = openNode{r, now}
}

func (t *trace) ended(span int, err error, now time.Time) {
	n, ok := t.open[span]
	if !ok {
		return
	}
	delete(t.open, span)
	n.record.DurationMs, n.record.EndedAt, n.record.Succeeded = milliseconds(now.Sub(n.began)), stamp(now), err == nil
	if err != nil {
		t.failed(n.record.Node, err, false, now)
	}
}

// spent adds the tokens of a call to its node.
func (t *trace) spent(span, prompt, completion int) {
	t.tokens += uint64(prompt + completion)
	if n, ok := t.open[span]; ok {
		n.record.PromptTokens += uint64(prompt)
		n.record.CompletionTokens += uint64(completion)
		n.record.TotalTokens += uint64(prompt + completion)
	}
}

func (t *trace) failed(node string, err error, recovered bool, now time.Time) {
	t.errors = append(t.errors, &pb.ErrorRecord{Node: node, Message: err.Error(), ErrorCode: codeOf(err), Timestamp: stamp(now), Recovered: recovered})
}

func (t *trace) message(p *player, err error) *pb.DashStreamMessage {
	now := p.now()
	scenario, _ := json.Marshal(p.script.scenario) // a string always can be encoded
	return &pb.DashStreamMessage{Message: &pb.DashStreamMessage_ExecutionTrace{ExecutionTrace: &pb.ExecutionTrace{
		Header:   &pb.Header{ThreadId: p.run.ThreadID()},
		ThreadId: p.run.ThreadID(), ExecutionId: p.script.thread,
		NodesExecuted: t.nodes, TotalDurationMs: milliseconds(now.Sub(t.began)), TotalTokens: t.tokens, Errors: t.errors,
		Completed: err == nil, StartedAt: stamp(t.began), EndedAt: stamp(now), FinalState: p.state,
		Metadata: map[string][]byte{"demo": []byte("true"), "scenario": scenario},
	}}}
}
