import assert from "node:assert/strict";
import { test } from "node:test";
import { stateWords } from "../static/detail.js";
import { stringify } from "../static/json.js";
import { ApplyError, Model } from "../static/model.js";
import { MAX_EVENTS } from "../static/log.js";
import { MAX_TEXT } from "../static/run.js";
import { Cursor } from "../static/cursor.js";
import { b64, Log, Producer } from "./world.mjs";

class Bench {
  constructor(options) {
    this.log = new Log(1);
    this.model = new Model(options);
  }
  put(...messages) {
    for (const m of messages) this.model.apply(this.log.append(0, m));
    return this;
  }
  get run() {
    return this.model.list()[0];
  }
  get state() {
    return this.run.thread.state;
  }
  get doc() {
    return JSON.parse(stringify(this.state.doc).text);
  }
}

test("a run is told from its events", () => {
  const p = new Producer("t-1");
  const b = new Bench().put(
    p.event("GRAPH_START", { attributes: { graph_name: "research", graph_entry_point: "plan", graph_manifest: JSON.stringify({ nodes: { plan: {}, write: {} }, edges: [{ from: "plan", to: "write" }] }) } }),
    p.event("NODE_START", { node: "plan" }),
    p.event("NODE_END", { node: "plan", duration: 1500 }),
    p.event("EDGE_TRAVERSAL", { node: "plan", attributes: { to: "write" } }),
    p.event("NODE_START", { node: "write" }),
    p.event("LLM_START", { node: "write", request: "r1", attributes: { model: "m" } }),
    p.chunk("r1", "Hel"), p.chunk("r1", "lo"),
    p.chunk("r1", "", { isFinal: true, finishReason: "FINISH_REASON_STOP", stats: { promptTokens: 5, completionTokens: 2, totalTokens: 7 } }),
    p.event("LLM_END", { node: "write", request: "r1", duration: 900, attributes: { total_tokens: 7, cost_usd: 0.25, finish_reason: "stop" } }),
    p.tool("REQUESTED", { callId: "c1", toolName: "search", arguments: b64('{"q":1}') }),
    p.tool("COMPLETED", { callId: "c1", toolName: "search", result: b64('"ok"'), durationUs: "70" }),
  );
  const r = b.run;
  assert.equal(r.status, "running");
  assert.equal(r.nodes.get("write").status, "running");
  b.put(p.event("NODE_END", { node: "write" }), p.event("GRAPH_END", { duration: 5000 }));
  assert.equal(r.graph, "research");
  assert.equal(r.status, "ended");
  assert.equal(r.duration(), 5000n);
  assert.equal(r.entry, "plan");
  assert.equal(r.visited(), 2);
  assert.equal(r.nodes.get("plan").durationUs, 1500n);
  assert.equal(r.edges.get("plan\u0000write").taken, 1);
  const call = r.calls.get("r1");
  assert.deepEqual([call.text, call.model, call.status, call.finish, call.tokens], ["Hello", "m", "done", "stop", 7]);
  assert.equal(r.tokens, 7, "stats of the last chunk and of LLM_END are one count");
  assert.deepEqual([r.cost, r.costUnknown, r.tokensUnknown], [0.25, 0, 0]);
  const tool = r.tools.get("c1");
  assert.deepEqual([tool.name, tool.status, tool.arguments, tool.result, tool.durationUs], ["search", "done", '{"q":1}', '"ok"', 70n]);
  assert.equal(b.model.list().length, 1);
  assert.equal(r.demo, false);
  const d = new Producer("demo-1");
  b.put(d.event("GRAPH_START", { attributes: { demo: true } }));
  assert.equal(b.run.demo, true, "a simulated run is known as one");
});

test("statuses: failure, interrupt, and a run whose end was never seen", () => {
  const a = new Producer("a");
  const b = new Bench().put(a.event("GRAPH_START"), a.event("NODE_START", { node: "n" }), a.event("GRAPH_ERROR", { attributes: { error: "boom" } }));
  assert.equal(b.run.status, "failed");
  assert.equal(b.run.error, "boom");
  assert.equal(b.run.nodes.get("n").status, "failed", "no node stays active");
  const c = new Producer("c");
  b.put(c.event("GRAPH_START"), c.event("HUMAN_INTERRUPT"));
  assert.equal(b.run.status, "interrupted");
  b.put(c.event("HUMAN_RESUME"));
  assert.equal(b.run.status, "running");
  b.put(c.event("NODE_START", { node: "m" }), c.event("GRAPH_START", { attributes: { graph_name: "again" } }));
  const [second, first] = b.model.list();
  assert.deepEqual([second.graph, second.ordinal, second.status], ["again", 2, "running"]);
  assert.equal(first.status, "unknown");
  assert.equal(first.shown(first.nodes.get("m")), "unfinished");
});

test("what was not measured is unknown, not zero", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("NODE_START", { node: "n" }));
  assert.equal(b.run.duration(), undefined, "the start was not seen");
  assert.equal(b.run.beginning, "thread");
  b.put(p.event("LLM_START", { node: "n", request: "r" }), p.event("LLM_END", { node: "n", request: "r", attributes: { total_tokens: "12x", cost_usd: "NaN" } }));
  assert.deepEqual([b.run.tokensKnown, b.run.tokensUnknown, b.run.costKnown, b.run.costUnknown], [0, 1, 0, 1]);
});

test("calls without an id are told apart", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("GRAPH_START"));
  for (let i = 0; i < 3; i++) b.put(p.event("LLM_START", { node: "n" }), p.event("LLM_END", { node: "n", attributes: { total_tokens: 10 } }));
  assert.equal(b.run.calls.size, 3);
  assert.equal(b.run.tokens, 30);
});

test("redelivery changes nothing", () => {
  const p = new Producer("t");
  const messages = [p.event("GRAPH_START"), p.full({ n: 0 }), p.diff([{ op: "add", path: "/x", value: 1 }]), p.event("LLM_END", { request: "r", attributes: { total_tokens: 5 } }), p.chunk("r", "abc")];
  const b = new Bench().put(...messages);
  const before = b.run.log.seen;
  b.put(...messages);
  assert.equal(b.model.duplicates, 5);
  assert.deepEqual([b.run.tokens, b.run.calls.get("r").text, b.doc, b.run.log.seen, b.state.status], [5, "abc", { n: 0, x: 1 }, before, "current"]);
  // Two messages with one sequence and different ids are two.
  const q = new Producer("u");
  const one = q.event("NODE_START", { node: "a" });
  const two = q.event("NODE_START", { node: "b", header: { sequence: "1" } });
  b.put(one, two);
  assert.deepEqual(b.run.log.entries.filter((e) => e.kind === "event").map((e) => e.node), ["a", "b"]);
});

test("state follows full states and patches", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("GRAPH_START", { attributes: { initial_state_json: '{"a":[1]}' } }));
  assert.deepEqual(b.doc, { a: [1] });
  b.put(p.diff([{ op: "add", path: "/a/-", value: 2 }, { op: "add", path: "/big", value: 1 }]), p.diff([{ op: "move", from: "/a/0", path: "/first" }]));
  assert.deepEqual(b.doc, { a: [2], big: 1, first: 1 });
  b.put(p.full({ whole: true }), p.diff([]));
  assert.deepEqual(b.doc, { whole: true });
  assert.equal(b.state.status, "current");
});

test("a failed patch freezes the state as it was, and a full state heals it", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("GRAPH_START"), p.full({ list: [1] }), p.diff([{ op: "add", path: "/ok", value: 1 }, { op: "remove", path: "/list/7" }]));
  assert.equal(b.state.status, "frozen");
  assert.match(b.state.reason, /operation 1 \(remove "\/list\/7"\): index 7 in an array of 1/);
  assert.deepEqual(b.doc, { list: [1] });
  for (let i = 0; i < 100; i++) b.put(p.diff([{ op: "add", path: "/list/-", value: i }]));
  assert.deepEqual(b.doc, { list: [1] });
  assert.equal(b.state.skipped, 101);
  b.put(p.full({ list: [9] }));
  assert.deepEqual([b.state.status, b.state.reason, b.doc], ["current", null, { list: [9] }]);
  assert.equal(b.state.troubles.length, 1);
  assert.equal(b.state.troubles[0].healed, b.state.sequence, "the recovery is recorded");
  b.put(p.diff([{ op: "add", path: "/list/-", value: 1 }]));
  assert.deepEqual(b.doc, { list: [9, 1] });
});

test("a checkpoint heals, and is the base of the diffs that name it", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("GRAPH_START"), p.full({ n: 1 }), p.diff([{ op: "test", path: "/n", value: 2 }]));
  assert.equal(b.state.status, "frozen");
  b.put(p.checkpoint("cp-1", { n: 5 }), p.diff([{ op: "replace", path: "/n", value: 6 }], { base: "cp-1" }));
  assert.deepEqual([b.state.status, b.doc], ["current", { n: 6 }]);
  b.put(p.diff([{ op: "replace", path: "/n", value: 7 }], { base: "cp-0" }));
  assert.equal(b.state.status, "frozen");
  assert.match(b.state.reason, /is not known here/);
  assert.deepEqual(b.doc, { n: 6 });
});

test("a checkpoint that cannot be read is no base", () => {
  for (const [extra, state, why] of [
    [{ compressionInfo: { type: "COMPRESSION_ZSTD" } }, { n: 1 }, "compressed (COMPRESSION_ZSTD), not read here"],
    [{}, "{", "the checkpoint cannot be read: want a member name at character 1"],
    [{ storageUri: "s3://x" }, "", "stored elsewhere"],
  ]) {
    const p = new Producer("t");
    const b = new Bench().put(p.event("GRAPH_START"), p.full({ n: 0 }), p.checkpoint("cp", state, extra));
    assert.equal(b.run.log.entries.at(-1).text, why);
    assert.deepEqual(b.doc, { n: 0 });
    b.put(p.diff([{ op: "replace", path: "/n", value: 1 }], { base: "cp" }));
    assert.equal(b.state.status, "frozen", why);
    assert.deepEqual(b.doc, { n: 0 });
  }
});

test("missing messages freeze the state until the next full one", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("GRAPH_START"), p.full({ n: 1 }));
  p.next += 2n;
  b.put(p.diff([{ op: "replace", path: "/n", value: 2 }]));
  assert.match(b.state.reason, /messages 3 to 4 of the thread are missing/);
  assert.deepEqual([b.doc, b.run.missing], [{ n: 1 }, 2n]);
  b.put(p.full({ n: 3 }));
  assert.deepEqual([b.state.status, b.doc], ["current", { n: 3 }]);
});

test("late, unsequenced and baseless state messages change nothing", () => {
  const p = new Producer("t");
  const start = p.event("GRAPH_START");
  const full = p.full({ n: 1 });
  const late = p.full({ n: "late" });
  const b = new Bench().put(start, full, p.event("NODE_START", { node: "x" }));
  assert.equal(b.state.status, "frozen", "message 3 is missing");
  b.put(p.full({ n: 2 }));
  b.put(late);
  assert.deepEqual([b.state.status, b.doc, b.run.late], ["frozen", { n: 2 }, 1]);
  b.put(p.full({ n: 4 }), { stateDiff: { header: { threadId: "t", tenantId: "default" }, fullState: b64('{"n":"unsequenced"}') } });
  assert.deepEqual([b.state.status, b.doc], ["frozen", { n: 4 }]);

  const q = new Producer("u");
  b.put(q.event("GRAPH_START"), q.diff([{ op: "add", path: "", value: { n: 1 } }]));
  assert.deepEqual([b.state.status, b.state.doc], ["none", undefined], "a patch is no base");

  const joined = new Producer("v", { start: 50n });
  b.put(joined.event("NODE_START", { node: "n" }));
  assert.match(b.state.reason, /view begins in the middle/);
  assert.equal(b.run.missing, 0n, "what lies before the view is not missing");
});

test("any order of delivery ends right or flagged, never silently wrong", () => {
  let seed = 7;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  for (let round = 0; round < 200; round++) {
    const p = new Producer("t");
    const messages = [p.event("GRAPH_START"), p.full([])];
    for (let i = 0; i < 8; i++) messages.push(p.diff([{ op: "add", path: "/-", value: i }]));
    const shuffled = messages.map((m) => [random(), m]).sort(([x], [y]) => x - y).map(([, m]) => m);
    const b = new Bench().put(...shuffled, ...shuffled);
    const want = [0, 1, 2, 3, 4, 5, 6, 7];
    if (b.state.status === "current") assert.deepEqual(b.doc, want);
    b.put(p.full(["healed"]));
    assert.deepEqual([b.state.status, b.doc], ["current", ["healed"]]);
  }
});

test("a gap marks the runs that it could have touched", () => {
  const model = new Model();
  const log = new Log(2);
  const put = (part, m) => model.apply(log.append(part, m));
  const a = new Producer("a"), b = new Producer("b"), c = new Producer("c");
  put(0, a.event("GRAPH_START"));
  put(0, a.full({ v: 1 }));
  put(0, b.event("GRAPH_START"));
  put(0, b.event("GRAPH_END"));
  put(1, c.event("GRAPH_START"));
  put(1, c.full({ v: 1 }));
  model.gap({ partition: 0, from: 4n, to: 9n, reason: "REASON_RETENTION" });
  const run = (id) => model.list().find((r) => r.thread.id === id);
  assert.equal(run("a").gaps.length, 1);
  assert.equal(run("a").thread.state.status, "frozen");
  assert.match(run("a").thread.state.reason, /records 4 to 8 of partition 0 are lost/);
  assert.equal(run("b").gaps.length, 0, "it had ended before");
  assert.equal(run("c").gaps.length, 0, "another partition");
  assert.equal(run("c").thread.state.status, "current");
});

test("batches, unreadable records and unknown types are all recorded", () => {
  const p = new Producer("t");
  const b = new Bench().put({ eventBatch: { header: { threadId: "t" }, events: [p.event("GRAPH_START").event, p.event("NODE_START", { node: "n" }).event] } });
  assert.equal(b.run.log.seen, 2);
  assert.equal(b.run.nodes.get("n").status, "running");
  b.put({ hologram: { header: p.header() } });
  assert.equal(b.model.unknownTypes, 1);
  assert.equal(b.run.log.entries.at(-1).text, "unknown message type");
  for (let i = 0; i < 300; i++) b.model.apply({ partition: 0, offset: BigInt(100 + i), error: { reason: "malformed", detail: "x".repeat(5000) } });
  assert.equal(b.model.unreadable.count, 300);
  assert.equal(b.model.unreadable.last.length, 100);
  assert.ok(b.model.unreadable.last.every((u) => u.detail.length <= 300));
  assert.equal(b.model.list().length, 1, "an unreadable record makes no event");
  for (const type of ["metrics", "error", "executionTrace"]) b.put({ [type]: { header: p.header(), scope: "quality", metrics: { quality_score: { floatValue: 0.75 }, passed: { boolValue: true }, bad: { floatValue: "NaN" } }, message: "m" } });
  assert.deepEqual([...b.run.quality], [["quality_score", 0.75], ["passed", true]]);
});

test("a record that cannot be applied throws, and can be tried again", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("GRAPH_START"), p.full({}));
  const bad = [undefined, null, {}, { event: null }, { event: 5 }, { event: {}, error: {} }, { event: { header: { sequence: "x" } } }, { event: { header: { sequence: 5 } } }];
  for (const message of bad) assert.throws(() => b.model.apply({ partition: 0, offset: 9n, message }), ApplyError);
  // A fault in the middle of a message: it counts as not applied, and the
  // thread's state as not known.
  const m = p.chunk("r", "text");
  m.tokenChunk.stats = { get totalTokens() { throw new Error("fault"); } };
  m.tokenChunk.isFinal = true;
  for (let i = 0; i < 2; i++) assert.throws(() => b.model.apply({ partition: 0, offset: 9n, message: m }), /fault/);
  assert.equal(b.state.status, "frozen");
  b.put(p.full({ healed: 1 }));
  assert.equal(b.run.missing, 1n, "the message given up is missing");
  assert.deepEqual(b.doc, { healed: 1 });
});

test("everything is bounded", () => {
  const b = new Bench({ maxRuns: 20 });
  for (let i = 0; i < 60; i++) {
    const p = new Producer(`t-${i}`);
    b.put(p.event("GRAPH_START"));
  }
  assert.equal(b.model.list().length, 20);
  assert.equal(b.model.evicted, 40);
  assert.equal(b.model.threads.size, 20);
  assert.equal(b.run.thread.id, "t-59", "the newest is first");

  const p = new Producer("long");
  b.put(p.event("GRAPH_START"));
  for (let i = 0; i < MAX_EVENTS * 2; i++) b.put(p.event("NODE_PROGRESS", { node: `n${i}`, attributes: { message: "é".repeat(5000) } }));
  assert.ok(b.run.log.entries.length <= MAX_EVENTS + 200);
  assert.equal(b.run.log.seen, MAX_EVENTS * 2 + 1);
  assert.ok(b.run.nodes.size <= 500);
  assert.ok(b.run.log.entries.every((e) => e.text.length <= 256));
  for (let i = 0; i < 100; i++) b.put(p.chunk("r", "😀".repeat(1000)));
  const call = b.run.calls.get("r");
  assert.ok(call.text.length <= MAX_TEXT && call.cut === 200_000 - call.text.length);
  assert.ok(call.text.isWellFormed?.() ?? true, "cut between characters");
  for (let i = 0; i < 400; i++) b.put(p.chunk(`r${i}`, "x"), p.tool("STARTED", { callId: `c${i}` }));
  assert.ok(b.run.calls.size <= 100 && b.run.tools.size <= 200);
  b.put(p.event("GRAPH_END", { header: { threadId: "x".repeat(1e6) } }));
  assert.ok(b.run.thread.id.length <= 256);
});

test("names of JavaScript's own are only names", () => {
  const p = new Producer("__proto__", { tenant: "constructor" });
  const b = new Bench().put(
    p.event("GRAPH_START", { attributes: { graph_name: "__proto__", graph_manifest: '{"nodes":{"__proto__":{},"constructor":{}},"edges":{"__proto__":["constructor"]}}' } }),
    JSON.parse('{"event":{"eventType":"EVENT_TYPE_NODE_START","nodeId":"__proto__","header":{"threadId":"__proto__","tenantId":"constructor","sequence":"2"},"attributes":{"__proto__":{"stringValue":"x"}}}}'),
    p.full(JSON.parse('{"__proto__":{"polluted":1}}'), { sequence: "3" }),
  );
  assert.equal(b.run.nodes.get("__proto__").status, "running");
  assert.equal(b.run.edges.size, 1);
  assert.equal({}.polluted, undefined);
  assert.deepEqual(Object.keys(b.state.doc), ["__proto__"]);
});

test("the view can be rebuilt from where its oldest run began", () => {
  const model = new Model({ maxRuns: 2 });
  const log = new Log(2);
  for (let i = 0; i < 4; i++) {
    const p = new Producer(`t-${i}`);
    model.apply(log.append(i % 2, p.event("GRAPH_START")));
    model.apply(log.append(i % 2, p.event("GRAPH_END")));
  }
  const at = new Cursor("s", new Map([[0, 4n], [1, 4n], [2, 7n]]));
  assert.deepEqual([...model.rebuildFrom(at).next], [[0, 2n], [1, 2n], [2, 7n]]);
  model.clear();
  assert.deepEqual([...model.rebuildFrom(at).next], [[0, 4n], [1, 4n], [2, 7n]]);
});

test("runs that share a thread are told apart by the parents of their messages", () => {
  const p = new Producer("t");
  const first = p.event("GRAPH_START", { attributes: { graph_name: "outer" } });
  const second = p.event("GRAPH_START", { attributes: { graph_name: "inner" } });
  const of = (start) => ({ header: { parentId: start.event.header.messageId } });
  const llm = p.event("LLM_START", { node: "a", request: "r", ...of(first) });
  const b = new Bench().put(first, second, llm, p.event("NODE_START", { node: "b", ...of(second) }));
  const [inner, outer] = b.model.list();
  assert.deepEqual([outer.graph, outer.status, inner.graph, inner.status], ["outer", "running", "inner", "running"]);
  assert.equal(outer.shown(outer.calls.get("r")), "running");
  const piece = p.chunk("r", "text");
  piece.tokenChunk.header.parentId = llm.event.header.messageId;
  b.put(piece, p.event("GRAPH_END", of(second)), p.event("NODE_START", { node: "c", ...of(first) }), p.event("GRAPH_END", of(first)));
  assert.equal(outer.calls.get("r").text, "text");
  assert.deepEqual([...outer.nodes.keys()], ["c"]);
  assert.deepEqual([...inner.nodes.keys()], ["b"]);
  assert.deepEqual([outer.status, inner.status], ["ended", "ended"]);
  assert.equal(b.model.list().length, 2);
});

test("an ended run keeps its last state when the thread goes on", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("GRAPH_START"), p.full({ turn: 1 }), p.event("GRAPH_END"), p.event("GRAPH_START"));
  const [second, first] = b.model.list();
  assert.ok(second.state.sequence < second.startSequence, "the view says that this is from before");
  b.put(p.full({ turn: 2 }));
  const json = (run) => stringify(run.state.doc).text;
  assert.deepEqual([json(first), json(second)], ['{\n  "turn": 1\n}', '{\n  "turn": 2\n}']);
});

test("a state that the producer could not send leaves the old one frozen", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("GRAPH_START"), p.full({ n: 1 }), { error: { header: p.header(), errorCode: "state_unavailable", message: "too large", severity: "SEVERITY_WARNING" } });
  assert.deepEqual([b.state.status, b.state.reason, b.run.error], ["frozen", "too large", undefined]);
  b.put(p.full({ n: 2 }), { error: { header: p.header(), message: "hm", severity: "SEVERITY_WARNING" } }, { error: { header: p.header(), message: "broken", severity: "SEVERITY_ERROR" } });
  assert.deepEqual([b.state.status, b.run.warning, b.run.error], ["current", "hm", "broken"]);
  const big = p.event("GRAPH_START");
  big.event.attributes = { initial_state_json: { mapValue: { values: {} } } };
  b.put(big);
  assert.equal(b.state.status, "frozen");
});

test("every Error is in the list of errors, and is called what it is", () => {
  const p = new Producer("t");
  const error = (severity, message, errorCode) => ({ error: { header: p.header(), message, severity: `SEVERITY_${severity}`, errorCode } });
  const b = new Bench().put(p.event("GRAPH_START"), p.full({ n: 1 }), error("INFO", "told"), error("DEBUG", "seen"));
  assert.deepEqual([b.run.warning, b.run.error], [undefined, undefined], "what only informs is no warning");
  b.put(error("WARNING", "too large", "state_unavailable"));
  assert.deepEqual([b.run.warning, b.run.error, b.state.status], ["too large", undefined, "frozen"]);
  assert.deepEqual(b.run.errors.entries.map((e) => [e.severity, e.message]), [["info", "told"], ["debug", "seen"], ["warning", "too large"]]);
});

test("nothing is promised of the state of a run that is over", () => {
  const p = new Producer("t");
  const b = new Bench().put(p.event("GRAPH_START"));
  assert.equal(stateWords(b.state, b.run), "No state: no full state was seen yet.");
  b.put(p.full({ n: 1 }));
  assert.equal(stateWords(b.state, b.run), "As of message 2. Not verified: no hash came with it.");
  b.put({ error: { header: p.header(), errorCode: "state_unavailable", message: "too large.", severity: "SEVERITY_WARNING" } });
  assert.equal(stateWords(b.state, b.run), "Stands at message 2: too large. The next full state heals it.");
  b.put(p.diff([{ op: "add", path: "/m", value: 1 }]));
  assert.equal(stateWords(b.state, b.run), "Stands at message 2: too large. 1 change was not applied. The next full state heals it.");
  b.put(p.diff([{ op: "add", path: "/m", value: 2 }]), p.event("GRAPH_END"));
  assert.equal(stateWords(b.state, b.run), "Stands at message 2: too large. 2 changes were not applied.");
});

test("a producer that counts from 1 again is a restart, not a late message", () => {
  const before = new Producer("t");
  const b = new Bench().put(before.event("GRAPH_START"), before.full({ n: 1 }), before.event("NODE_START", { node: "n" }));
  const after = new Producer("t");
  after.us = before.us;
  const id = (m, n) => {
    Object.values(m)[0].header.messageId = b64(`again ${n}`);
    return m;
  };
  b.put(id(after.event("GRAPH_START"), 1));
  assert.deepEqual([b.model.list().length, b.run.late, b.run.missing, b.state.status], [2, 0, 0n, "frozen"]);
  b.put(id(after.full({ n: 2 }), 2), id(after.diff([{ op: "add", path: "/m", value: 1 }]), 3));
  assert.deepEqual([b.state.status, b.doc, b.run.late], ["current", { n: 2, m: 1 }, 0]);

  // The first message of the new count is lost: the run that begins tells.
  const third = new Producer("t", { start: 2n });
  third.us = after.us;
  b.put(id(third.event("GRAPH_START"), 4));
  assert.deepEqual([b.model.list().length, b.run.late, b.run.missing, b.state.status], [3, 0, 1n, "frozen"]);
  b.put(id(third.full({ n: 3 }), 5));
  assert.deepEqual([b.state.status, b.doc], ["current", { n: 3 }]);
  // A message that is only late is only logged.
  const late = after.event("NODE_START", { node: "x" });
  Object.assign(late.event.header, { sequence: "2", timestampUs: "5", messageId: b64("late") });
  b.put(late);
  assert.deepEqual([b.run.late, b.run.nodes.size], [1, 0]);
});
