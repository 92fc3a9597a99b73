package dashstream_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

func agent(ctx context.Context, state map[string]any) (err error) {
	p, err := dashstream.New(dashstream.FromEnv()) // one for the process
	if err != nil {
		return err
	}
	defer func() {
		// Not ctx: what was emitted should arrive also when it has ended. Close has a deadline of its own, and its error
		// says what did not arrive and why. Log it instead where lost telemetry must not fail the program.
		err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
	}()

	run := p.StartRun(ctx, dashstream.RunSpec{ThreadID: "order-17", Graph: dashstream.Graph{Name: "support"}, InitialState: state})
	defer run.End(&err)

	node := run.Node("plan")
	defer node.Done(&err) // like run.End, this also sees a panic
	llm := node.LLM("gpt-5", "openai")
	llm.Token("Let me ")
	llm.End(dashstream.Usage{PromptTokens: 812, CompletionTokens: 94})
	state["plan"] = "look up the order"
	run.State(state)
	return nil
}

// What README.md and the package documentation show is the function above, and works.
func TestReadme(t *testing.T) {
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	t.Setenv("KAFKA_BROKERS", c.BrokerList())
	t.Setenv("KAFKA_TOPIC", topic)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a program that was interrupted
	if err := agent(ctx, map[string]any{"question": "Where is my order?"}); err != nil {
		t.Error(err)
	}
	records := readAll(t, c, topic)
	if last := records[len(records)-1].msg.GetEvent(); last.GetEventType() != pb.EventType_EVENT_TYPE_GRAPH_END {
		t.Errorf("the last event is %v", last)
	}

	text := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	_, code, _ := strings.Cut(text("README.md"), "```go\n")
	code, _, _ = strings.Cut(code, "```")
	if code == "" || !strings.Contains(text("readme_test.go"), "\n"+code) {
		t.Errorf("README.md shows code that is not compiled here:\n%s", code)
	}
	doc := strings.ReplaceAll(strings.ReplaceAll(text("doc.go"), "\n//\t", "\n"), "\n//\n", "\n\n")
	if !strings.Contains(doc, code) {
		t.Errorf("the package documentation shows other code than README.md")
	}
	// The example program closes the producer in the same way.
	if closing := "err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))"; !strings.Contains(code, closing) || !strings.Contains(text("examples/quickstart/main.go"), closing) {
		t.Errorf("README.md and the quickstart close the producer in different ways")
	}
}
