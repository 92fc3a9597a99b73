package demo

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// script is one run, as it was decided before it is played. It does not change.
type script struct {
	scenario string
	number   int // of the run, from 1
	seed     uint64
	thread   string
	graph    *graph
	task     string
	category string
	initial  json.RawMessage
	steps    []step
	final    json.RawMessage
	// failure ends the run with GRAPH_ERROR.
	failure error
}

// step is something that happens at a time since the start of the run.
type step struct {
	at time.Duration
	do action
}

func (s *script) duration() time.Duration { return s.steps[len(s.steps)-1].at }

// scenario is a kind of run.
type scenario struct {
	name, help string
	graph      func() *graph
	write      func(t *timeline)
}

// scenarios are in the order in which runs take turns.
func scenarios() []scenario {
	return []scenario{
		{"rag", "answer a question from documents: a chain", ragGraph, writeRAG},
		{"research", "search several sources at once and put the findings together: parallel branches", researchGraph, writeResearch},
		{"critic", "write, criticise and revise until it is good enough: a loop", criticGraph, writeCritic},
		{"retry", "look things up with a tool and a model that fail at first", retryGraph, writeRetry},
		{"agent", "mend a program with tools and a nested agent", agentGraph, writeAgent},
		{"approval", "propose an action and wait for a human to approve it", approvalGraph, writeApproval},
		{"failure", "fail for good, after retries", failureGraph, writeFailure},
		{"tune", "find the best prompt by trying several", tuneGraph, writeTune},
	}
}

// AllScenarios stands for every scenario, each in turn.
const AllScenarios = "all"

// Scenario is a kind of run, for people who choose.
type Scenario struct{ Name, Help string }

// Scenarios lists the kinds of runs.
func Scenarios() []Scenario {
	var out []Scenario
	for _, s := range scenarios() {
		out = append(out, Scenario{s.name, s.help})
	}
	return out
}

func scenarioNames() string {
	names := make([]string, 0, 9)
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return strings.Join(append(names, AllScenarios), ", ")
}

// write decides run number n of a seed. name is a scenario or AllScenarios.
func write(seed uint64, n int, name string) (*script, error) {
	all := scenarios()
	chosen := all[(n-1)%len(all)]
	if name != AllScenarios {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("scenario %q: allowed are %s", name, scenarioNames())
		}
		chosen = all[i]
	}
	d := &draft{
		// Each run has a source of its own, so that none depends on how many came before it.
		rng:   rand.New(rand.NewPCG(seed, uint64(n))),
		graph: chosen.graph(),
	}
	t := &timeline{draft: d}
	chosen.write(t)
	s := &script{
		scenario: chosen.name, number: n, seed: seed, graph: d.graph, task: d.task, category: d.category, failure: d.failure,
		thread: "demo-" + strconv.FormatUint(seed, 10) + "-" + fmt.Sprintf("%04d", n) + "-" + chosen.name,
	}
	if err := d.settle(s, t.now); err != nil {
		return nil, fmt.Errorf("write run %s: %w", s.thread, err)
	}
	return s, nil
}
