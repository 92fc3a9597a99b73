// Quickstart is the smallest agent that can be watched: a graph of two nodes that calls a model and a tool.
//
//	go run ./cmd/dashstream up
//	go run ./examples/quickstart
//
// It finds Kafka as every DashStream program does, by KAFKA_BROKERS and the other variables of docs/configuration.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dashflow/dashstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.LookupEnv, os.Stdout, 150*time.Millisecond)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// state is what the nodes share. Its JSON is what people see.
type state struct {
	City     string   `json:"city"`
	Forecast string   `json:"forecast,omitempty"`
	Messages []string `json:"messages"`
}

// run makes a producer, lets the agent work once, and waits until all of it has arrived.
func run(ctx context.Context, env func(string) (string, bool), out io.Writer, pace time.Duration) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := dashstream.New(dashstream.FromLookup(env), dashstream.WithLogger(log))
	if err != nil {
		return err
	}
	defer func() {
		// Not ctx: what was emitted should arrive also when the program is interrupted.
		// Lost telemetry is an error here, since all this program is for is to be seen; an agent would log it.
		err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
	}()
	ready, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := p.Ready(ready); err != nil { // an agent in production would go on without telemetry
		return err
	}
	thread := fmt.Sprintf("quickstart-%d", time.Now().UnixMilli())
	if err := agent(ctx, p, thread, pace); err != nil {
		return err
	}
	fmt.Fprintf(out, "The run is in thread %s.\n", thread)
	return nil
}

// agent is the graph: plan → answer.
func agent(ctx context.Context, p *dashstream.Producer, thread string, pace time.Duration) (err error) {
	s := state{City: "Lisbon", Messages: []string{"user: What is the weather in Lisbon?"}}
	run := p.StartRun(ctx, dashstream.RunSpec{
		ThreadID: thread,
		Graph: dashstream.Graph{
			Name: "weather", EntryPoint: "plan", Nodes: 2, Edges: 1,
			Manifest: map[string]any{
				"nodes": map[string]any{"plan": map[string]string{"kind": "tool"}, "answer": map[string]string{"kind": "llm"}},
				"edges": map[string]any{"plan": []map[string]string{{"to": "answer"}}},
			},
		},
		InitialState: s,
	})
	defer run.End(&err)

	if err := plan(ctx, run, &s, pace); err != nil {
		return err
	}
	run.Edge("plan", "answer")
	if err := answer(ctx, run, &s, pace); err != nil {
		return err
	}
	run.Quality(dashstream.Quality{Accuracy: new(0.97), Score: new(0.93), Passed: new(true), Model: "small-model", Category: "Simple"})
	return nil
}

func plan(ctx context.Context, run *dashstream.Run, s *state, pace time.Duration) (err error) {
	node := run.Node("plan")
	defer node.Done(&err)
	node.Thinking("I need the forecast for "+s.City+".", 1)
	tool := node.Tool("forecast", map[string]string{"city": s.City})
	if err := wait(ctx, pace); err != nil {
		tool.Fail(err)
		return err
	}
	s.Forecast = "sunny, 24 °C"
	tool.End(map[string]string{"forecast": s.Forecast})
	run.State(s)
	return nil
}

func answer(ctx context.Context, run *dashstream.Run, s *state, pace time.Duration) (err error) {
	node := run.Node("answer")
	defer node.Done(&err)
	llm := node.LLM("small-model", "example")
	text := ""
	for _, token := range []string{"It ", "is ", s.Forecast, " in ", s.City, ". ", "Enjoy!"} {
		if err := wait(ctx, pace); err != nil {
			llm.Fail(err)
			return err
		}
		llm.Token(token)
		text += token
	}
	llm.End(dashstream.Usage{PromptTokens: 41, CompletionTokens: 12, CostUSD: new(0.00004), FinishReason: "stop"})
	s.Messages = append(s.Messages, "agent: "+text)
	run.State(s)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
