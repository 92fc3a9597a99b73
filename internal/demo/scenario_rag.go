package demo

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

func ragGraph() *graph {
	return &graph{
		Name: "question_answering", Version: "3", EntryPoint: "rewrite_query", ExitPoints: []string{"grade"},
		Nodes: []graphNode{
			{ID: "rewrite_query", Label: "Rewrite the query", Kind: kindLLM, Description: "Turns the question into words that documents use."},
			{ID: "retrieve", Label: "Retrieve", Kind: kindTool, Description: "Finds documents near the query."},
			{ID: "rerank", Label: "Rerank", Kind: kindFunction, Description: "Keeps the documents that answer the question."},
			{ID: "generate", Label: "Generate the answer", Kind: kindLLM, Description: "Answers from the documents, with citations."},
			{ID: "grade", Label: "Grade", Kind: kindLLM, Description: "Checks the answer against the documents."},
		},
		Edges: []graphEdge{
			direct("rewrite_query", "retrieve"), direct("retrieve", "rerank"), direct("rerank", "generate"), direct("generate", "grade"),
		},
	}
}

func writeRAG(t *timeline) {
	q := pick(t, questions())
	writer, helper := pick(t, writers), pick(t, helpers)
	t.begin(q.text, q.category, q.id)
	query := strings.ToLower(q.topic) + " " + q.area
	docs := t.search(q)
	kept := docs[:3]

	t.node("rewrite_query", func(n *node) {
		n.event(pb.EventType_EVENT_TYPE_MEMORY_LOAD, slog.String("key", "preferences/"+q.area), slog.Int("items", 1+n.rng.IntN(3)))
		n.think("The question is about " + q.topic + "; the documents will say it in their own words.")
		n.llm(call{model: helper, instructions: 90, prompt: []string{q.text}, text: query, silent: true})
		n.state(func(s *state) { s.Queries = append(s.Queries, query) })
	})
	t.edge("rewrite_query", "retrieve")
	t.node("retrieve", func(n *node) {
		n.progress("Searching the "+q.area+" collection", 10)
		n.tool(toolCall{
			name: "vector_search", args: map[string]any{"query": query, "collection": q.area, "top_k": len(docs)},
			lo: 350 * time.Millisecond, hi: 900 * time.Millisecond, result: hits(docs),
		})
		n.progress(fmt.Sprintf("Found %d documents", len(docs)), 100)
		n.state(func(s *state) { s.Documents = docs })
		n.out = []slog.Attr{slog.Int("documents", len(docs))}
	})
	t.edge("retrieve", "rerank")
	t.node("rerank", func(n *node) {
		n.substep("score documents", func() { n.wait(250*time.Millisecond, 500*time.Millisecond) })
		n.substep("drop duplicates", func() { n.wait(60*time.Millisecond, 150*time.Millisecond) })
		if t.chance(0.35) {
			n.warn(fmt.Sprintf("%q is older than two years", kept[2].Title))
		}
		n.state(func(s *state) { s.Documents = kept })
		n.out = []slog.Attr{slog.Int("documents", len(kept))}
	})
	t.edge("rerank", "generate")
	answer := t.answer(q, len(q.facts), true)
	asked := t.now
	t.node("generate", func(n *node) {
		n.think("Three documents agree on the main point.", "I will answer that first and then say why.")
		n.llm(call{model: writer, instructions: 260, prompt: []string{q.text, kept[0].Text, kept[1].Text, kept[2].Text}, text: answer, temperature: 0.2})
		n.state(func(s *state) {
			s.Answer = answer
			s.Messages = append(s.Messages, message{Role: "assistant", Content: answer})
		})
	})
	t.edge("generate", "grade")
	t.node("grade", func(n *node) {
		n.think("Does every sentence stand on a document?")
		v := n.judge(writer, 0)
		n.llm(call{model: helper, instructions: 180, prompt: []string{answer, kept[0].Text, kept[1].Text}, text: v.asJSON(), silent: true})
		n.quality(v, writer, "question_answering", asked, 1, 0)
		n.event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, slog.String("key", "answers/"+q.id), slog.Int("bytes", len(answer)))
		n.state(func(s *state) {
			s.Scores = append(s.Scores, v.score)
			s.Status = "answered"
		})
	})
}

// search makes up the documents that a search for the question finds, the best first.
func (t *timeline) search(q question) []document {
	var docs []document
	score := 0.9 + float64(t.rng.Float64()*0.06)
	add := func(id, title string, facts ...string) {
		docs = append(docs, document{ID: id, Title: title, Text: strings.Join(facts, " "), Score: round(score, 3)})
		score -= 0.02 + float64(t.rng.Float64()*0.06)
	}
	for i, title := range q.sources {
		add(fmt.Sprintf("%s-%d", q.id, i+1), title, q.facts[i], q.facts[(i+1)%len(q.facts)])
	}
	for _, other := range several(t, questions(), 4) {
		if other.id != q.id {
			score -= 0.1
			add(other.id+"-1", other.sources[0], other.facts[0])
		}
	}
	return docs
}

// hits is what a search tool returns of documents.
func hits(docs []document) any {
	type hit struct {
		ID    string  `json:"id"`
		Title string  `json:"title"`
		Score float64 `json:"score"`
	}
	out := make([]hit, 0, len(docs))
	for _, d := range docs {
		out = append(out, hit{d.ID, d.Title, d.Score})
	}
	return map[string]any{"hits": out, "total": len(out)}
}

// answer writes an answer from the first facts of a question.
func (t *timeline) answer(q question, facts int, cite bool) string {
	var b strings.Builder
	b.WriteString(pick(t, []string{"In short: ", "The documents agree on this. ", "Here is what I found. ", "This can be said with some confidence. ", ""}))
	for i, f := range q.facts[:facts] {
		if i > 0 {
			b.WriteString(pick(t, []string{" ", " ", "\n\n"}))
		}
		if cite {
			f = strings.TrimSuffix(f, ".") + fmt.Sprintf(" [%d].", i%len(q.sources)+1)
		}
		b.WriteString(f)
	}
	return b.String()
}

// asJSON is a verdict as a grading model writes it.
func (v verdict) asJSON() string {
	return fmt.Sprintf(`{"accuracy": %.2f, "relevance": %.2f, "completeness": %.2f, "passed": %t}`, v.accuracy, v.relevance, v.completeness, v.passed)
}
