package demo

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/dashflow/dashstream"
)

// player plays one script through the SDK, as the agent that the script is about.
type player struct {
	producer *dashstream.Producer
	now      func() time.Time
	script   *script

	run        *dashstream.Run
	nodes      map[int]*dashstream.Node // open ones, by span
	parallels  map[int]*dashstream.Parallel
	llms       map[int]openCall
	tools      map[int]*dashstream.Tool
	trace      trace
	state      json.RawMessage
	checkpoint string
}

type openCall struct {
	llm  *dashstream.LLM
	span int
}

// start begins the run.
func start(ctx context.Context, producer *dashstream.Producer, now func() time.Time, s *script) (*player, error) {
	spec, err := s.graph.spec()
	if err != nil {
		return nil, err
	}
	p := &player{
		producer: producer, now: now, script: s, state: s.initial,
		nodes: map[int]*dashstream.Node{}, parallels: map[int]*dashstream.Parallel{}, llms: map[int]openCall{}, tools: map[int]*dashstream.Tool{},
	}
	p.trace.begin(now())
	p.run = producer.StartRun(ctx, dashstream.RunSpec{
		ThreadID: s.thread, Graph: spec, InitialState: s.initial,
		Attrs: []slog.Attr{
			slog.Bool("demo", true), slog.String("demo_scenario", s.scenario), slog.String("demo_seed", strconv.FormatUint(s.seed, 10)),
			slog.Int("demo_run", s.number), slog.String("task", s.task), slog.String("category", s.category),
		},
	})
	return p, nil
}

// interrupt ends the run before its time: what is open is closed, and the run says why, as does the error returned.
func (p *player) interrupt() error {
	err := InterruptedError("the demo was stopped")
	for _, id := range slices.Sorted(maps.Keys(p.llms)) {
		p.llms[id].llm.Fail(err)
	}
	for _, id := range slices.Sorted(maps.Keys(p.tools)) {
		p.tools[id].Fail(err)
	}
	// A node may be open within another, which began before it.
	for _, span := range slices.Backward(slices.Sorted(maps.Keys(p.nodes))) {
		p.nodes[span].End(err)
		p.trace.ended(span, err, p.now())
	}
	for _, id := range slices.Sorted(maps.Keys(p.parallels)) {
		p.parallels[id].End()
	}
	p.end(err)
	return err
}

// end sends the trace of the run and its last event.
func (p *player) end(err error) {
	_ = p.producer.Send(p.trace.message(p, err)) // what is not taken is counted
	p.run.End(&err)
}
