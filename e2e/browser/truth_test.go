package browser

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// threads writes telemetry into the page as if the gateway had sent it: one log
// of one partition, and producers that number their messages.
const threads = `
const {client, model} = await import("/ui/app.js");
let offset = window.nextOffset ?? 0;
const b64 = (s) => btoa(String.fromCharCode(...new TextEncoder().encode(s)));
const put = (message, epoch) => model.apply({partition: 0, offset: BigInt(offset++), timestampMs: Date.now(), message, epoch});
const producer = (threadId, sequence = 1, tenantId = "default", run = "") => ({
  header: () => ({threadId, tenantId, sequence: String(sequence++), messageId: b64(threadId + run + sequence), timestampUs: String(Date.now() * 1000 + sequence)}),
  event(type, extra = {}) { return {event: {header: this.header(), eventType: "EVENT_TYPE_" + type, ...extra}}; },
  chunk(text, extra = {}) { return {tokenChunk: {header: this.header(), requestId: "r", text, ...extra}}; },
});
`

// telemetry applies what a script puts.
func (p *page) telemetry(script string) {
	p.t.Helper()
	eval[bool](p, "(async () => {"+threads+script+"; window.nextOffset = offset; client.changed(); return true; })()")
}

func (p *page) show(view string) {
	p.t.Helper()
	eval[bool](p, fmt.Sprintf(`(() => { const s = document.querySelector('#start-select'); s.value = %s; s.dispatchEvent(new Event('change')); return true; })()`, quote(view)))
}

func quiet(t *testing.T) *page {
	t.Helper()
	p := open(t, up(t, nil).url())
	p.wait("the page is live", `document.querySelector('#status-word').textContent === 'Live'`)
	return p
}

func TestARunThatBeganBeforeTheViewIsShownAsOne(t *testing.T) {
	t.Parallel()
	p := open(t, up(t, nil, "--demo").url())
	p.wait("a run has visited nodes", `[...document.querySelectorAll('.run.running .visited')].some((v) => parseInt(v.textContent) >= 1)`)
	p.show("latest")
	p.wait("it goes on in the new view, with counts that are lower bounds",
		`[...document.querySelectorAll('.run')].some((r) => r.querySelector('.graph').textContent === 'graph unknown' && r.querySelector('.visited').textContent.startsWith('≥ '))`)
	eval[bool](p, `(() => { [...document.querySelectorAll('.run')].find((r) => r.querySelector('.visited').textContent.startsWith('≥ ')).click(); return true; })()`)
	p.wait("it is selected", `document.querySelector('#detail-title').textContent === 'graph unknown'`)
	p.picture("lower-bounds")
	if flags := p.text("#detail-flags"); !strings.Contains(flags, "Began before this view") {
		t.Errorf("the page does not say that the run began before the view: %q", flags)
	}
	if graph := p.text("#panel-graph"); strings.Contains(graph, "declared no graph") || !strings.Contains(graph, "is not in this view") {
		t.Errorf("of its graph the page says: %q", graph)
	}
	if facts := p.text("#detail-facts"); strings.Contains(facts, "Duration\n0") || !strings.Contains(facts, "≥ ") {
		t.Errorf("its facts: %q", facts)
	}
	if notices := p.text("#notices"); !strings.Contains(notices, "whether") || !strings.Contains(notices, "simulated") {
		t.Errorf("of demo runs whose start was not read the page says: %q", notices)
	}
}

func TestTheSelectedRunIsKeptInAnotherView(t *testing.T) {
	t.Parallel()
	p := open(t, up(t, nil, "--demo").url())
	over := `[...document.querySelectorAll('.run')].find((r) => ['ended', 'failed'].includes(r.querySelector('.chip').textContent))`
	p.wait("a run is over", over+" !== undefined")
	thread := eval[string](p, `(() => { const r = `+over+`; r.click(); return r.querySelector('.thread').textContent; })()`)
	selected := fmt.Sprintf(`!document.querySelector('#detail-body').hidden && document.querySelector('#detail-facts dd').textContent === %s`, quote(thread))
	p.wait("it is selected", selected)
	for _, view := range []string{"earliest", "1h"} {
		p.show(view)
		p.wait("it is still selected in the view "+view, selected+` && document.querySelector('#status-word').textContent === 'Live'`)
	}
	p.show("latest")
	p.wait("the page says that it is not in this view", `document.querySelector('#detail-body').hidden && document.querySelector('#detail-none').textContent.includes('is not in this view')`)
	if none := p.text("#detail-none"); !strings.Contains(none, thread) {
		t.Errorf("it does not say which run: %q", none)
	}
	p.picture("not-here")
	p.show("earliest")
	p.wait("it is selected again where it is", selected)
}

func TestASelectedRunThatIsLetGoIsNamed(t *testing.T) {
	t.Parallel()
	p := quiet(t)
	p.telemetry(`const p = producer("looked-at"); put(p.event("GRAPH_START")); put(p.event("GRAPH_END"));`)
	p.wait("a run is listed", `document.querySelectorAll('.run').length === 1`)
	p.do(chromedp.Click(chromedp.CSS(".run")))
	p.telemetry(`for (let i = 0; i < 250; i++) put(producer("t" + i).event("GRAPH_START"));`)
	p.wait("the page says that it was let go", `document.querySelector('#detail-body').hidden && document.querySelector('#detail-none').textContent.includes('of thread looked-at, was let go')`)
	if count := p.text("#runs-count"); count != "200 shown, 51 older ones let go" {
		t.Errorf("above the list: %q", count)
	}
}

// A view that begins anew may hold other runs under the same names before it is
// drawn again.
func TestNothingOfTheOldViewIsLeft(t *testing.T) {
	t.Parallel()
	p := quiet(t)
	p.telemetry(`const p = producer("t"); put(p.event("GRAPH_START", {attributes: {graph_name: {stringValue: "old"}}})); put({error: {header: p.header(), message: "old error"}});`)
	p.wait("the old run is shown", `document.querySelector('#panel-errors')?.innerText.includes('old error')`)
	p.telemetry(`model.clear(); const p = producer("t", 1, "default", "again"); put(p.event("GRAPH_START", {attributes: {graph_name: {stringValue: "new"}}})); put({error: {header: p.header(), message: "new error"}});`)
	p.wait("the new run is in the list", `document.querySelector('.run .graph').textContent === 'new'`)
	p.do(chromedp.Click(chromedp.CSS(".run")))
	p.wait("the new run is shown", `document.querySelector('#detail-title').textContent === 'new' && document.querySelector('#panel-errors').innerText.includes('new error')`)
	if strings.Contains(p.text("body"), "old error") {
		t.Error("an error of the old view is still shown")
	}
}

func TestEverySequenceIsInTheListOfEvents(t *testing.T) {
	t.Parallel()
	p := quiet(t)
	p.telemetry(`const p = producer("t");
put(p.event("GRAPH_START", {attributes: {graph_name: {stringValue: "g"}}})); put(p.event("LLM_START", {llmRequestId: "r"}));
for (let i = 0; i < 5; i++) put(p.chunk("word "));`)
	lines := func() string {
		return eval[string](p, `[...document.querySelectorAll('#panel-events .event')].map((e) => [...e.querySelectorAll('.seq, .kind, .type')].map((s) => s.textContent).join(' ').trim()).reverse().join('\n')`)
	}
	p.wait("the pieces are one line", `document.querySelectorAll('#panel-events .event').length === 3`)
	// More pieces come while it is shown.
	p.telemetry(`const p = producer("t", 8); for (let i = 0; i < 32; i++) put(p.chunk("word ")); put(p.event("LLM_END", {llmRequestId: "r"}));
put({stateDiff: {header: p.header(), fullState: btoa("{}")}}); put({toolExecution: {header: p.header(), toolName: "search", stage: "EXECUTION_STAGE_STARTED"}});`)
	p.wait("all lines are there", `document.querySelectorAll('#panel-events .event').length === 6`)
	want := "#1 event GRAPH_START\n#2 event LLM_START\n#3–39 token_chunk 37 token chunks\n#40 event LLM_END\n#41 state_diff\n#42 tool_execution"
	if got := lines(); got != want {
		t.Errorf("the list of events:\n%s\nwant:\n%s", got, want)
	}
	p.telemetry(`const p = producer("t", 43); for (let i = 0; i < 300; i++) put(p.event("NODE_PROGRESS", {nodeId: "n"}));`)
	p.wait("it says what it leaves out", `document.querySelector('#panel-events .note').textContent === 'The last 200 of 306 lines are shown.'`)
}

func TestARestartedProducerIsNoLoss(t *testing.T) {
	t.Parallel()
	p := quiet(t)
	p.telemetry(`let p = producer("t", 1, "default", "first");
put(p.event("GRAPH_START"), "00000000000000aa"); for (let i = 0; i < 9; i++) put(p.event("NODE_PROGRESS", {nodeId: "n"}));
p = producer("t", 1, "default", "second"); put(p.event("NODE_START", {nodeId: "after"}), "00000000000000bb"); put(p.event("NODE_PROGRESS", {nodeId: "after"}));`)
	p.wait("the node of the second process is shown", `document.querySelector('#panel-graph .nodes')?.innerText.includes('after')`)
	flags := p.text("#detail-flags")
	if !strings.Contains(flags, "was restarted") || strings.Contains(flags, "never came") || strings.Contains(flags, "out of order") {
		t.Errorf("the page says: %q", flags)
	}
	if events := p.text("#panel-events"); !strings.Contains(events, "sequences begin at 1 again") {
		t.Errorf("the list of events does not tell of the restart: %q", events)
	}
	p.picture("restarted")

	// And with a real producer: the same seed sends the same threads again.
	s := up(t, nil)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		out, err := exec.CommandContext(ctx, binary, "demo", "--kafka-brokers", s.kafka, "--seed", "7", "--runs", "1", "--speed", "0").CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("demo: %v: %s", err, out)
		}
	}
	q := open(t, s.url())
	q.wait("both runs of the thread are over", `document.querySelectorAll('.run.ended').length === 2 && document.querySelectorAll('.run').length === 2`)
	if list := q.text("#run-list"); !strings.Contains(list, " #2") || strings.Contains(list, "≥") {
		t.Errorf("the runs of one thread, of two processes: %q", list)
	}
	agrees(t, s, q.view())
}

func TestStatesAreVerifiedInThePage(t *testing.T) {
	t.Parallel()
	p := open(t, up(t, nil, "--demo").url())
	p.wait("a state of the demo is verified", `document.querySelector('#panel-state .note').textContent.includes('Verified: its SHA-256 is the one that the producer sent')`)
	p.wait("many were checked", `import("/ui/app.js").then(({model}) => model.list().reduce((n, r) => n + r.state.compared, 0) > 20)`)
	if wrong := eval[string](p, `import("/ui/app.js").then(({model}) => JSON.stringify(model.list().filter((r) => r.state.mismatch !== null || r.state.status === 'frozen').map((r) => [r.thread.id, r.state.reason])))`); wrong != "[]" {
		t.Errorf("states of the demo are called wrong: %s", wrong)
	}

	q := quiet(t)
	q.telemetry(`const p = producer("t");
put(p.event("GRAPH_START", {attributes: {hash: {stringValue: "jcs"}}}));
put({stateDiff: {header: p.header(), fullState: btoa('{"n":1}'), stateHash: btoa("x".repeat(32))}});`)
	q.wait("a state that is not the one that was hashed is called so", `document.querySelector('#panel-state').dataset.state === 'frozen' && document.querySelector('#panel-state .note').textContent.includes('is not the one that was hashed')`)
	q.picture("mismatch")
	q.telemetry(`const p = producer("t", 3); put({stateDiff: {header: p.header(), fullState: btoa('{"n":2}')}});`)
	q.wait("the next full state heals it", `document.querySelector('#panel-state').dataset.state === 'current' && document.querySelector('#panel-state .note').textContent.includes('Not verified: no hash came with it')`)
	q.do(chromedp.Click(chromedp.CSS("#panel-state summary")))
	if words := q.text("#panel-state details"); !strings.Contains(words, "is not the one that was hashed") || !strings.Contains(words, "healed by message 3") {
		t.Errorf("of what went wrong before the page says: %q", words)
	}
}

func TestAStackTraceCanBeOpened(t *testing.T) {
	t.Parallel()
	p := quiet(t)
	p.telemetry(`const p = producer("t"); put(p.event("GRAPH_START"));
put({error: {header: p.header(), message: "it broke", errorCode: "panic", exceptionType: "runtime.Error", severity: "SEVERITY_FATAL", stackTrace: "main.main()\n\tmain.go:7", suggestions: ["turn it off"]}});`)
	p.wait("the error is shown", `document.querySelector('#panel-errors')?.innerText.includes('it broke')`)
	if words := p.text("#panel-errors"); strings.Contains(words, "main.go:7") || !strings.Contains(words, "fatal") || !strings.Contains(words, "panic") || !strings.Contains(words, "turn it off") {
		t.Errorf("the error as it is shown first: %q", words)
	}
	p.do(chromedp.Click(chromedp.CSS("#panel-errors summary")))
	p.wait("its stack is shown", `document.querySelector('#panel-errors').innerText.includes('main.go:7')`)
	// It stays open while more comes.
	p.telemetry(`const p = producer("t", 3); put({error: {header: p.header(), message: "again"}});`)
	p.wait("the next error is shown", `document.querySelector('#panel-errors').innerText.includes('again')`)
	if !strings.Contains(p.text("#panel-errors"), "main.go:7") {
		t.Error("the stack was closed by what came")
	}
	p.picture("stack")
}

// Whatever a producer writes is text.
func TestTelemetryCannotBecomeMarkup(t *testing.T) {
	t.Parallel()
	p := quiet(t)
	p.telemetry(`const x = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
const s = {stringValue: x};
const p = producer(x, 1, x);
put(p.event("GRAPH_START", {nodeId: x, attributes: {graph_name: s, graph_entry_point: s, graph_manifest: {stringValue: JSON.stringify({nodes: {[x]: {}}, edges: [{from: x, to: x + "2"}]})}, initial_state_json: {stringValue: JSON.stringify({[x]: x})}}}));
put(p.event("NODE_START", {nodeId: x}));
put(p.event("NODE_THINKING", {nodeId: x, attributes: {thought: s}}));
put(p.event("NODE_ERROR", {nodeId: x, attributes: {error: s}}));
put(p.event(x, {nodeId: x}));
put(p.event("LLM_START", {nodeId: x, llmRequestId: x, attributes: {model: s}}));
put(p.chunk(x, {requestId: x, model: x}));
put({toolExecution: {header: p.header(), callId: x, toolName: x, stage: x, error: x, arguments: b64(x), result: b64(x)}});
put({error: {header: p.header(), message: x, errorCode: x, severity: x, exceptionType: x, stackTrace: x, suggestions: [x]}});
put({metrics: {header: p.header(), scope: "quality", metrics: {[x]: {floatValue: 1}}}});
put({checkpoint: {header: p.header(), storageUri: x, compressionInfo: {type: x}}});
put({[x]: {header: p.header()}});
model.apply({partition: 0, offset: BigInt(offset++), error: {reason: x, detail: x}});
client.problem(x);
model.gap({partition: 0, from: 1n, to: 2n, reason: x});`)
	p.wait("all of it is shown", `document.querySelectorAll('#panel-events .event').length >= 12 && document.querySelector('#notices').innerText.includes('onerror')`)
	p.picture("markup")
	found := eval[string](p, `JSON.stringify([window.hacked ?? null, document.querySelectorAll('img:not([src="/ui/icon.svg"])').length, document.querySelectorAll('script').length, [...document.querySelectorAll('*')].filter((e) => e.onerror || e.getAttribute('onerror')).length])`)
	if found != "[null,0,1,0]" {
		t.Errorf("markup of a producer is in the page: %s; want [null,0,1,0]", found)
	}
	for _, panel := range []string{"#run-list", "#detail-title", "#detail-facts", "#detail-flags", "#panel-errors", "#panel-graph", "#panel-llm", "#panel-tools", "#panel-state", "#panel-events"} {
		if words := eval[string](p, "document.querySelector("+quote(panel)+").textContent"); !strings.Contains(words, "<img src=x") {
			t.Errorf("%s does not show what was written: %.200q", panel, words)
		}
	}
	if faults := eval[int](p, `document.querySelectorAll('.fault').length`); faults != 0 {
		t.Errorf("%d panels failed", faults)
	}
}

func TestNothingIsSqueezed(t *testing.T) {
	t.Parallel()
	p := quiet(t)
	p.telemetry(`const p = producer("a-thread-with-a-name-that-is-long-enough-to-fill-a-row-on-a-telephone", 1, "demo");
put(p.event("GRAPH_START", {attributes: {graph_name: {stringValue: "a_graph_with_a_name_that_is_long_enough_for_two_rows"}, demo: {boolValue: true}}}));
put(p.event("NODE_START", {nodeId: "plan"})); put(p.event("LLM_START", {llmRequestId: "r", attributes: {model: {stringValue: "a-model-with-a-rather-long-name-2026-01-01"}}})); put(p.chunk("some text"));
put(p.event("HUMAN_INTERRUPT")); put({error: {header: p.header(), message: "m", stackTrace: "x".repeat(500)}});`)
	p.wait("it is shown", `document.querySelectorAll('#panel-events .event').length === 6`)
	for _, width := range []int64{1280, 390} {
		p.do(chromedp.EmulateViewport(width, 900))
		p.wait("the page has its width", fmt.Sprintf("innerWidth === %d", width))
		p.picture(fmt.Sprint(width))
		squeezed := eval[string](p, `JSON.stringify([...document.querySelectorAll('.run .demo, .run .chip, #status-word, .chip')].filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 || e.getBoundingClientRect().right > innerWidth).map((e) => e.className || e.id))`)
		if squeezed != "[]" {
			t.Errorf("at %d pixels these are cut: %s", width, squeezed)
		}
		demo := eval[float64](p, `document.querySelector('.run .demo').getBoundingClientRect().width`)
		chip := eval[float64](p, `document.querySelector('.run .chip').getBoundingClientRect().left - document.querySelector('.run .demo').getBoundingClientRect().right`)
		if demo < 25 || chip < 0 {
			t.Errorf("at %d pixels the demo tag is %v wide and ends %v before the badge", width, demo, chip)
		}
		if over := eval[int](p, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
			t.Errorf("at %d pixels the page is %d pixels too wide", width, over)
		}
	}
}

func TestTheHeaderAndTheGraphFit(t *testing.T) {
	t.Parallel()
	p := quiet(t)
	p.telemetry(`const p = producer("t");
const names = ["rewrite_query", "retrieve", "rerank", "generate", "grade"];
put(p.event("GRAPH_START", {attributes: {graph_name: {stringValue: "g"}, graph_manifest: {stringValue: JSON.stringify({nodes: names, edges: names.slice(1).map((to, i) => ({from: names[i], to}))})}}}));
model.records = 123456;
for (let i = 0; i < 12; i++) client.gaps.add({partition: 0, from: 1n, to: 2n, at: 0});
for (let i = 0; i < 3; i++) client.resets.add({at: 0});`)
	p.wait("the graph is drawn", `document.querySelectorAll('#panel-graph svg .node').length === 5`)
	if faults := eval[int](p, `document.querySelectorAll('.fault').length`); faults != 0 {
		t.Errorf("%d panels failed", faults)
	}
	for _, width := range []int64{1250, 1300, 1350, 1400} {
		p.do(chromedp.EmulateViewport(width, 900))
		p.wait("the page has its width", fmt.Sprintf("innerWidth === %d", width))
		p.picture(fmt.Sprint(width))
		if bad := eval[string](p, `(() => {
		  const middle = (e) => { const r = e.getBoundingClientRect(); return (r.top + r.bottom) / 2; };
		  const bad = ['#status', '#pause', '#facts', '#start'].filter((s) => Math.abs(middle(document.querySelector(s)) - middle(document.querySelector('#bar h1'))) > 6);
		  if (document.querySelector('#facts').getBoundingClientRect().height > 30) bad.push('two rows of facts');
		  const drawing = document.querySelector('.drawing').getBoundingClientRect();
		  for (const n of document.querySelectorAll('#panel-graph svg .node')) if (n.getBoundingClientRect().right > drawing.right) bad.push(n.textContent);
		  return JSON.stringify(bad);
		})()`); bad != "[]" {
			t.Errorf("at %d pixels these do not fit: %s", width, bad)
		}
	}
}
