package dashstream_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
)

// exampleBroker stands for the Kafka of the examples: a program reads its address from KAFKA_BROKERS, with FromEnv.
func exampleBroker() (addr string, stop func()) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "dashstream-quality"))
	if err != nil {
		panic(err)
	}
	return c.ListenAddrs()[0], c.Close
}

func Example() {
	addr, stop := exampleBroker()
	defer stop()
	ctx := context.Background()

	p, err := dashstream.New(dashstream.WithBrokers(addr))
	if err != nil {
		fmt.Println(err)
		return
	}

	type State struct {
		Question string   `json:"question"`
		Answers  []string `json:"answers"`
	}
	answer := func(state *State) (err error) {
		run := p.StartRun(ctx, dashstream.RunSpec{
			ThreadID:     "order-17",
			Graph:        dashstream.Graph{Name: "support", EntryPoint: "plan", Nodes: 2, Edges: 1},
			InitialState: state,
		})
		defer run.End(&err) // also if this panics

		plan := run.Node("plan")
		llm := plan.LLM("gpt-5", "openai")
		for _, word := range []string{"It ", "is ", "on ", "its ", "way."} {
			llm.Token(word)
		}
		llm.End(dashstream.Usage{PromptTokens: 812, CompletionTokens: 5, FinishReason: "stop"})
		plan.End(nil)
		run.Edge("plan", "reply")

		reply := run.Node("reply")
		tool := reply.Tool("send_mail", map[string]any{"to": "customer"})
		tool.End("sent")
		state.Answers = append(state.Answers, "It is on its way.")
		run.State(state)
		reply.End(nil)

		run.Quality(dashstream.Quality{Score: new(0.9), Passed: new(true), Model: "gpt-5"})
		return nil
	}
	if err := answer(&State{Question: "Where is my order?"}); err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		fmt.Println(err)
		return
	}
	total := p.Stats().Total()
	fmt.Printf("%d messages, all acknowledged: %t\n", total.Emitted, total.Acked == total.Emitted)
	// Output: 20 messages, all acknowledged: true
}

// A run that fails ends with GRAPH_ERROR and the text of the error.
func ExampleRun_End() {
	addr, stop := exampleBroker()
	defer stop()
	p, err := dashstream.New(dashstream.WithBrokers(addr))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close(context.Background())

	work := func(ctx context.Context) (err error) {
		run := p.StartRun(ctx, dashstream.RunSpec{ThreadID: "job-1"})
		defer run.End(&err)
		return errors.New("the warehouse does not answer")
	}
	fmt.Println(work(context.Background()))
	// Output: the warehouse does not answer
}

// Whatever has no method of its own can be sent as it is.
func ExampleProducer_Send() {
	addr, stop := exampleBroker()
	defer stop()
	p, err := dashstream.New(dashstream.WithBrokers(addr))
	if err != nil {
		fmt.Println(err)
		return
	}
	err = p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Metrics{Metrics: &pb.Metrics{
		Header: &pb.Header{ThreadId: "job-1"}, // the rest of the header is filled in
		Scope:  "cache",
		Metrics: map[string]*pb.MetricValue{
			"hits": {Value: &pb.MetricValue_IntValue{IntValue: 12}, Type: pb.MetricValue_METRIC_TYPE_COUNTER},
		},
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Close(context.Background()))
	// Output: <nil>
}

// Secrets of one's own.
func ExampleWithRedactionPatterns() {
	addr, stop := exampleBroker()
	defer stop()
	p, err := dashstream.New(
		dashstream.WithBrokers(addr),
		dashstream.WithRedactionPatterns(regexp.MustCompile(`\bEMP-\d{6}\b`)),
		dashstream.WithRedactionNames("social_security_number"),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close(context.Background())
	run := p.StartRun(context.Background(), dashstream.RunSpec{
		InitialState: map[string]any{"employee": "EMP-123456", "social_security_number": 78051120},
	})
	run.End(nil)
	// Sent: {"employee":"[REDACTED]","social_security_number":"[REDACTED]"}
}

// What was not acknowledged is told, in numbers.
func ExampleProducer_Close() {
	p, err := dashstream.New(dashstream.WithBrokers("127.0.0.1:1"), dashstream.WithFlushTimeout(100*time.Millisecond)) // nobody listens there
	if err != nil {
		fmt.Println(err)
		return
	}
	run := p.StartRun(context.Background(), dashstream.RunSpec{ThreadID: "job-1"})
	run.Edge("plan", "act")
	run.End(nil)

	err = p.Close(context.Background())
	var incomplete *dashstream.IncompleteError
	if errors.As(err, &incomplete) {
		fmt.Printf("%d acknowledged, %d dropped, %d in flight\n", incomplete.Acked, incomplete.Dropped, incomplete.InFlight)
	}
	// Output: 0 acknowledged, 3 dropped, 0 in flight
}
