package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing them")

// each calls check with runs of every scenario, of many seeds.
func each(t *testing.T, check func(t *testing.T, s *script)) {
	t.Helper()
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(200) {
				s, err := write(seed, int(seed)+1, sc.name)
				if err != nil {
					t.Fatal(err)
				}
				check(t, s)
				if t.Failed() {
					t.Fatalf("in %s", s.thread)
				}
			}
		})
	}
}

// A seed decides a run alone: neither other runs nor the order in which they are written change it.
func TestASeedDecidesTheScript(t *testing.T) {
	t.Parallel()
	first := map[int]string{}
	for n := 1; n <= 24; n++ {
		first[n] = listing(written(t, 7, n, AllScenarios))
	}
	different := map[string]bool{}
	for n := 24; n >= 1; n-- {
		if got := listing(written(t, 7, n, AllScenarios)); got != first[n] {
			t.Errorf("run %d was written differently the second time:\n%s\nfirst:\n%s", n, got, first[n])
		}
		different[first[n]] = true
		if listing(written(t, 8, n, AllScenarios)) == first[n] {
			t.Errorf("run %d of seeds 7 and 8 are the same", n)
		}
	}
	if len(different) != 24 {
		t.Errorf("24 runs of a seed have %d different scripts", len(different))
	}
}

// What the runs of a seed are is a promise: people write seeds down. A change of the texts or of the way they are chosen
// shows here.
func TestGolden(t *testing.T) {
	t.Parallel()
	for n, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			got := listing(written(t, 1, n+1, sc.name))
			path := filepath.Join("testdata", sc.name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs; if that is meant, run: go test ./internal/demo -run TestGolden -update\n%s", path, got)
			}
		})
	}
}

func written(t *testing.T, seed uint64, n int, scenario string) *script {
	t.Helper()
	s, err := write(seed, n, scenario)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listing is a script as text, with everything in it; tokens of a call are joined.
func listing(s *script) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\n%s\n%s\n", s.thread, s.graph.Name, s.category, s.task, s.initial)
	said := ""
	for _, st := range s.steps {
		if tok, ok := st.do.(token); ok {
			said += "|" + tok.text
			continue
		}
		if said != "" {
			fmt.Fprintf(&b, "        said %s\n", strings.ReplaceAll(said[1:], "\n", "⏎"))
			said = ""
		}
		var text string
		switch a := st.do.(type) {
		case setState:
			text = fmt.Sprintf("%d bytes, %.8x", len(a.json), sha256.Sum256(a.json))
		case toolStart:
			text = fmt.Sprintf("{call:%d span:%d name:%s args:%s}", a.call, a.span, a.name, a.args)
		case toolEnd:
			text = fmt.Sprintf("{call:%d result:%s}", a.call, a.result)
		case nodeStart:
			text = fmt.Sprintf("{span:%d node:%s} %s", a.span, a.node, attrs(a.attrs))
		case nodeEnd:
			text = fmt.Sprintf("{span:%d err:%v} %s", a.span, a.err, attrs(a.attrs))
		case llmStart:
			text = fmt.Sprintf("{call:%d span:%d model:%s provider:%s} %s", a.call, a.span, a.model, a.provider, attrs(a.attrs))
		case event:
			text = fmt.Sprintf("{span:%d kind:%s} %s", a.span, a.kind, attrs(a.attrs))
		case interrupt:
			text = fmt.Sprintf("{node:%s reason:%s} %s", a.node, a.reason, attrs(a.attrs))
		case resume:
			text = fmt.Sprintf("{node:%s input:%s} %s", a.node, a.input, attrs(a.attrs))
		default:
			text = fmt.Sprintf("%+v", a)
		}
		fmt.Fprintf(&b, "%7.3f %s %s\n", st.at.Seconds(), reflect.TypeOf(st.do).Name(), text)
	}
	fmt.Fprintf(&b, "failure: %v\nfinal state: %s\n", s.failure, s.final)
	return b.String()
}

func attrs(list []slog.Attr) string {
	return slog.GroupValue(list...).String()
}

// Whoever looks at the page sees something move, and sees a run end.
func TestPace(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *script) {
		if d := s.duration(); d < 4*time.Second || d > 32*time.Second {
			t.Errorf("a run takes %v", d)
		}
		human := false
		for i, st := range s.steps[1:] {
			_, pause := s.steps[i].do.(interrupt)
			human = human || pause
			if gap := st.at - s.steps[i].at; gap < 0 || gap > 2500*time.Millisecond && !pause || gap > 6*time.Second {
				t.Errorf("%v passes between %T and %T", gap, s.steps[i].do, st.do)
			}
		}
		if human != (s.scenario == "approval") {
			t.Errorf("a human is asked: %v", human)
		}
		if s.steps[0].at != 0 {
			t.Errorf("the first step comes after %v", s.steps[0].at)
		}
	})
}

// A script is what a correct agent could do: everything that begins ends once, within what it belongs to; the way through
// the graph follows its edges, from the entry to an exit.
func TestScriptsAreWellFormed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *script) {
		kinds := map[string]string{}
		for _, n := range s.graph.Nodes {
			kinds[n.ID] = n.Kind
		}
		edges := map[[2]string]bool{} // value: conditional
		for _, e := range s.graph.Edges {
			edges[[2]string{e.From, e.To}] = e.Conditional
			if kinds[e.From] == "" || kinds[e.To] == "" {
				t.Errorf("edge %s to %s of a node that is none", e.From, e.To)
			}
		}
		nodes, llms, tools, parallels := map[int]string{}, map[int]int{}, map[int]int{}, map[int]bool{}
		var order []string
		inNode := func(span int, what any) {
			if nodes[span] == "" {
				t.Errorf("%T outside of a node", what)
			}
		}
		for i, st := range s.steps {
			switch a := st.do.(type) {
			case nodeStart:
				if kinds[a.node] == "" {
					t.Errorf("node %s is not in the graph", a.node)
				}
				nodes[a.span] = a.node
				order = append(order, a.node)
			case nodeEnd:
				inNode(a.span, a)
				for call, span := range llms {
					if span == a.span {
						t.Errorf("call %d is open at the end of %s", call, nodes[a.span])
					}
				}
				for call, span := range tools {
					if span == a.span {
						t.Errorf("tool call %d is open at the end of %s", call, nodes[a.span])
					}
				}
				delete(nodes, a.span)
			case edge:
				if cond, ok := edges[[2]string{a.from, a.to}]; !ok || cond != a.conditional || cond != (a.result != "") {
					t.Errorf("edge %+v is not in the graph, or of another kind", a)
				}
			case parallelStart:
				parallels[a.id] = true
				for _, b := range a.branches {
					if _, ok := edges[[2]string{a.from, b}]; !ok {
						t.Errorf("no edge to branch %s", b)
					}
				}
			case parallelEnd:
				if !parallels[a.id] {
					t.Error("parallel branches end that did not begin")
				}
				delete(parallels, a.id)
			case llmStart:
				inNode(a.span, a)
				llms[a.call] = a.span
			case token:
				if _, ok := llms[a.call]; !ok || a.text == "" {
					t.Errorf("token %q outside of a call", a.text)
				}
			case llmRetry:
				if _, ok := llms[a.call]; !ok {
					t.Error("retry outside of a call")
				}
			case llmEnd:
				if _, ok := llms[a.call]; !ok || a.prompt <= 0 || a.completion <= 0 || a.cost <= 0 || a.cost > 0.2 {
					t.Errorf("call ends with %+v", a)
				}
				delete(llms, a.call)
			case llmFail:
				delete(llms, a.call)
			case toolStart:
				inNode(a.span, a)
				tools[a.call] = a.span
				if !json.Valid(a.args) || bytes.Contains(a.args, []byte("unserializable")) {
					t.Errorf("arguments %s", a.args)
				}
			case toolEnd:
				if _, ok := tools[a.call]; !ok || !json.Valid(a.result) || bytes.Contains(a.result, []byte("unserializable")) {
					t.Errorf("tool call %d ends with %s", a.call, a.result)
				}
				delete(tools, a.call)
			case toolFail:
				delete(tools, a.call)
			case quality:
				for _, v := range []float64{a.accuracy, a.relevance, a.completeness, a.score} {
					if v < 0 || v > 1 {
						t.Errorf("scores %+v", a.verdict)
					}
				}
				if difficulty[a.category] == 0 || a.queryID == "" || a.latency <= 0 || a.turn < 1 || a.passed != (a.score >= passMark) {
					t.Errorf("quality %+v", a)
				}
			case finish:
				if i != len(s.steps)-1 {
					t.Error("the run ends in the middle")
				}
			}
		}
		if len(nodes)+len(llms)+len(tools)+len(parallels) > 0 {
			t.Errorf("open at the end: nodes %v, calls %v, tools %v, branches %v", nodes, llms, tools, parallels)
		}
		if order[0] != s.graph.EntryPoint {
			t.Errorf("the run begins in %s, the graph in %s", order[0], s.graph.EntryPoint)
		}
		if atExit := slices.Contains(s.graph.ExitPoints, order[len(order)-1]); atExit == (s.failure != nil) {
			t.Errorf("the run ends in %s with %v, the graph in %v", order[len(order)-1], s.failure, s.graph.ExitPoints)
		}
		if (s.failure != nil) != (s.scenario == "failure") {
			t.Errorf("the run ends with %v", s.failure)
		}
		var final state
		if err := json.Unmarshal(s.final, &final); err != nil {
			t.Fatal(err)
		}
		if final.Status == "running" || final.Task != s.task || s.failure == nil && final.Answer == "" || s.failure != nil && final.Failure == "" || final.Usage.Calls == 0 {
			t.Errorf("the final state is %s", s.final)
		}
	})
}

// The loop between writer and critic ends, and sometimes does not at the first draft.
func TestTheCriticsLoopIsBounded(t *testing.T) {
	t.Parallel()
	rounds := map[int]int{}
	for seed := range uint64(300) {
		n := 0
		for _, st := range written(t, seed, 1, "critic").steps {
			if a, ok := st.do.(nodeStart); ok && a.node == "write" {
				n++
			}
		}
		rounds[n]++
	}
	if len(rounds) != maxRevisions || rounds[1] == 0 || rounds[maxRevisions] == 0 {
		t.Errorf("drafts and how many runs have so many: %v", rounds)
	}
}

// Over all scenarios everything that an agent can tell is told, so that whoever builds a reader sees it all.
func TestEveryKindOfEventOccurs(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, sc := range scenarios() {
		for seed := range uint64(20) {
			for _, st := range written(t, seed, 1, sc.name).steps {
				seen[reflect.TypeOf(st.do).Name()] = true
				switch a := st.do.(type) {
				case event:
					seen[a.kind.String()] = true
				case useCheckpoint:
					seen[a.kind.String()] = true
				}
			}
		}
	}
	for _, want := range []string{
		"nodeStart", "nodeEnd", "progress", "thinking", "substep", "warning", "edge", "parallelStart", "parallelEnd", "llmStart", "token", "llmRetry",
		"llmEnd", "llmFail", "toolStart", "toolRetry", "toolEnd", "toolFail", "setState", "saveCheckpoint", "quality", "reportError", "interrupt", "resume", "finish",
		pb.EventType_EVENT_TYPE_MEMORY_LOAD.String(), pb.EventType_EVENT_TYPE_MEMORY_SAVE.String(),
		pb.EventType_EVENT_TYPE_CHECKPOINT_LOAD.String(), pb.EventType_EVENT_TYPE_CHECKPOINT_DELETE.String(),
		pb.EventType_EVENT_TYPE_OPTIMIZATION_START.String(), pb.EventType_EVENT_TYPE_OPTIMIZATION_END.String(),
	} {
		if !seen[want] {
			t.Errorf("no %s", want)
		}
	}
}

// There is enough to ask that a demo does not repeat itself soon, and of every category.
func TestQuestions(t *testing.T) {
	t.Parallel()
	ids, categories := map[string]bool{}, map[string]int{}
	for _, q := range questions() {
		if ids[q.id] {
			t.Errorf("%s stands there twice", q.id)
		}
		ids[q.id] = true
		categories[q.category]++
		if len(q.facts) != 4 || len(q.sources) != 3 || q.gap == "" || q.fix == "" || q.text == "" || q.topic == "" {
			t.Errorf("%s is not complete", q.id)
		}
	}
	if len(ids) < 36 || len(categories) != 4 {
		t.Errorf("%d questions, categories %v", len(ids), categories)
	}
	for _, c := range []string{"Simple", "Medium", "Complex", "Edge"} {
		if categories[c] < 3 {
			t.Errorf("%d questions of category %s", categories[c], c)
		}
	}
	tasks := map[string]bool{}
	for seed := range uint64(400) {
		tasks[written(t, seed, int(seed)+1, AllScenarios).task] = true
	}
	if len(tasks) < 150 {
		t.Errorf("400 runs have %d different tasks", len(tasks))
	}
}

func TestPieces(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a", " ", "Two words.", "Montréal, Kraków: 42 Zoë’s\n\nextraordinarily long-winded [1].", "日本語のテキスト", "a  b", strings.Repeat("x", 50)} {
		parts := pieces(text)
		if strings.Join(parts, "") != text {
			t.Errorf("%q became %q", text, parts)
		}
		for _, p := range parts {
			if len([]rune(p)) > 8 || p == "" {
				t.Errorf("%q has piece %q", text, p)
			}
		}
	}
	if got := pieces("The answer, extraordinary."); !reflect.DeepEqual(got, []string{"The", " answer", ",", " extraor", "dinary", "."}) {
		t.Errorf("%q", got)
	}
}
