// What the page may say of a run that it did not read as a whole.

import assert from "node:assert/strict";
import { test } from "node:test";
import { atLeast, integer, sum, UNKNOWN } from "../static/format.js";
import { headline, sequences } from "../static/log.js";
import { Model } from "../static/model.js";
import { b64, Log, Producer } from "./world.mjs";

function bench(options) {
  const log = new Log(1);
  const model = new Model(options);
  return {
    model,
    get run() {
      return model.list()[0];
    },
    put(...messages) {
      for (const m of messages) model.apply(log.append(0, m));
    },
    with(epoch, ...messages) {
      for (const m of messages) model.apply({ ...log.append(0, m), epoch });
    },
  };
}

test("counts of a run whose beginning was not read are lower bounds, and none seen is unknown", () => {
  assert.deepEqual([atLeast(3, false), atLeast(0, false), atLeast(3, true), atLeast(0, true)], ["3", "0", "≥ 3", UNKNOWN]);
  assert.deepEqual([sum(7, 1, 0, integer, true), sum(0, 0, 0, integer, true), sum(7, 1, 0, integer, false)], ["≥ 7", UNKNOWN, "7"]);
  const b = bench();
  const joined = new Producer("t", { start: 40n });
  b.put(joined.event("LLM_END", { node: "n", request: "r", attributes: { total_tokens: 7 } }));
  assert.deepEqual([b.run.beginning, b.run.partial, b.run.declaration, b.run.demo, b.run.missing, b.run.duration()], ["middle", true, "unknown", undefined, 0n, undefined]);
  // The next run of the thread is read from its start.
  b.put(joined.event("GRAPH_START"));
  assert.deepEqual([b.run.beginning, b.run.partial, b.run.declaration, b.run.demo], ["start", false, "no", false]);
  // A thread that is read from its first message, which is no start, lacks nothing.
  b.put(new Producer("u").event("NODE_START", { node: "n" }));
  assert.deepEqual([b.run.beginning, b.run.partial, b.run.declaration], ["thread", false, "unknown"]);
});

test("losses make counts lower bounds too", () => {
  const causes = {
    "messages that never came": (b, p) => {
      p.next += 3n;
      b.put(p.event("NODE_START", { node: "n" }));
    },
    "a message that came late": (b, p) => {
      const late = p.event("NODE_START", { node: "n" });
      b.put(p.event("NODE_START", { node: "m" }));
      b.put(late);
    },
    "a gap": (b) => b.model.gap({ partition: 0, from: 5n, to: 9n, reason: "REASON_RETENTION" }),
    "more nodes than are kept": (b, p) => {
      for (let i = 0; i < 501; i++) b.put(p.event("NODE_START", { node: `n${i}` }));
    },
  };
  for (const [name, cause] of Object.entries(causes)) {
    const b = bench();
    const p = new Producer("t");
    b.put(p.event("GRAPH_START"));
    assert.equal(b.run.partial, false);
    cause(b, p);
    assert.equal(b.run.partial, true, name);
  }
  // Also a run of which only no end is known: it may have been lost.
  const b = bench();
  const p = new Producer("t");
  b.put(p.event("GRAPH_START"), p.event("GRAPH_START"));
  b.model.gap({ partition: 0, from: 2n, to: 3n, reason: "REASON_RETENTION" });
  assert.deepEqual(b.model.list().map((r) => [r.status, r.gaps.length]), [["running", 1], ["unknown", 1]]);
});

test("a run is called running only when something says so", () => {
  const b = bench();
  const p = new Producer("t", { start: 40n });
  b.put({ metrics: { header: p.header(), scope: "quality", metrics: { passed: { boolValue: true } } } });
  assert.deepEqual([b.run.status, b.run.over], ["unclear", true], "a verdict may come after the end");
  b.put(p.event("NODE_START", { node: "n" }));
  assert.equal(b.run.status, "running");
  b.put(p.event("GRAPH_END"));
  assert.equal(b.run.status, "ended");
});

test("a graph that was declared in a form that cannot be read is not called undeclared", () => {
  for (const [attributes, want] of [
    [undefined, "no"],
    [{ graph_manifest: { stringValue: '{"nodes":{"a":{}}}' } }, "yes"],
    [{ graph_manifest: { mapValue: { values: { truncated: { boolValue: true } } } } }, "unreadable"],
    [{ graph_manifest: { stringValue: "{" } }, "unreadable"],
    [{ graph_manifest: { stringValue: "{" }, graph_schema_json: { stringValue: '{"nodes":["a"]}' } }, "yes"],
  ]) {
    const b = bench();
    const start = new Producer("t").event("GRAPH_START");
    start.event.attributes = attributes;
    b.put(start);
    assert.equal(b.run.declaration, want, JSON.stringify(attributes));
  }
});

test("a simulated run says so at its start, in its metrics and in its trace", () => {
  const of = (make) => {
    const b = bench();
    b.put(make(new Producer("t", { start: 9n })));
    return b.run.demo;
  };
  assert.equal(of((p) => p.event("GRAPH_START", { attributes: { demo: true } })), true);
  assert.equal(of((p) => p.event("GRAPH_START")), false);
  assert.equal(of((p) => p.event("NODE_START")), undefined);
  assert.equal(of((p) => ({ metrics: { header: p.header(), tags: { demo: "true" } } })), true);
  assert.equal(of((p) => ({ executionTrace: { header: p.header(), metadata: { demo: b64("true") } } })), true);
});

test("token chunks are folded so that every sequence is in the list", () => {
  const b = bench();
  const p = new Producer("t");
  b.put(p.event("GRAPH_START"), p.event("LLM_START", { node: "n", request: "r" }));
  for (let i = 0; i < 37; i++) b.put(p.chunk("r", "x"));
  b.put(p.event("NODE_PROGRESS", { node: "n" }), p.chunk("r", "y"), p.chunk("r", "", { isFinal: true, model: "m", stats: { totalTokens: 38 } }), p.chunk("s", "z"));
  p.next += 2n;
  b.put(p.chunk("s", "z"));
  const lines = b.run.log.entries.map((e) => `${sequences(e)} ${e.kind} ${headline(e)} ${e.text}`.trim());
  assert.deepEqual(lines, [
    "#1 event GRAPH_START",
    "#2 event LLM_START",
    "#3–39 token_chunk 37 token chunks",
    "#40 event NODE_PROGRESS",
    "#41–42 token_chunk 2 token chunks m · final · 38 tokens",
    "#43 token_chunk",
    "#46 token_chunk",
  ], "no line covers a sequence that never came");
  // A late one stands alone.
  const late = p.chunk("s", "late");
  Object.assign(late.tokenChunk.header, { sequence: "44", messageId: b64("late") });
  p.next--;
  b.put(late, p.chunk("s", "next"));
  assert.deepEqual(b.run.log.entries.slice(-2).map((e) => [sequences(e), e.late]), [["#44", true], ["#47", false]]);
});

test("lines of the log are named as tail names them", () => {
  const b = bench();
  const p = new Producer("t");
  b.put(p.event("GRAPH_START", { attributes: { graph_name: "g" } }), p.full({ a: 1 }), p.diff([{ op: "add", path: "/x", value: 1 }, { op: "remove", path: "/a" }]),
    p.tool("STARTED", { toolName: "search", callId: "c" }), { metrics: { header: p.header(), scope: "quality", metrics: { passed: { boolValue: true }, accuracy: { floatValue: 0.5 } } } },
    { error: { header: p.header(), errorCode: "boom", message: "it broke", severity: "SEVERITY_FATAL" } }, { executionTrace: { header: p.header(), nodesExecuted: [{}, {}], totalDurationMs: "12", completed: true } });
  assert.deepEqual(b.run.log.entries.map((e) => [e.kind, e.type, e.text]), [
    ["event", "GRAPH_START", "g"], ["state_diff", "", "full state, 7 bytes"], ["state_diff", "", "add /x, remove /a"], ["tool_execution", "", "search · started"],
    ["metrics", "", "quality accuracy=0.5 passed=true"], ["error", "", "fatal · boom · it broke"], ["execution_trace", "", "2 nodes, 12 ms, completed"],
  ]);
});

test("a producer that was restarted is told by its epoch", () => {
  const b = bench();
  const first = new Producer("t");
  b.with("000000000000000a", first.event("GRAPH_START"), first.full({ n: 1 }));
  b.put(first.event("NODE_START", { node: "a" }), first.event("NODE_END", { node: "a" }));
  // Its clock is behind, and its first message is no start: only the epoch says.
  const second = new Producer("t");
  second.us = first.us - 1_000_000n;
  const unlike = (m, n) => {
    Object.values(m)[0].header.messageId = b64(`second ${n}`);
    return m;
  };
  b.with("000000000000000b", unlike(second.event("NODE_START", { node: "b" }), 1), unlike(second.full({ n: 2 }), 2));
  b.put(unlike(second.event("NODE_END", { node: "b" }), 3));
  const r = b.run;
  assert.equal(b.model.list().length, 1);
  assert.deepEqual([r.late, r.missing, r.restarts, r.partial, b.model.duplicates], [0, 0n, 1, false, 0]);
  assert.equal(r.nodes.get("b").status, "done", "it is applied, not only logged");
  assert.deepEqual([r.state.status, { ...r.state.doc }], ["current", { n: 2 }]);
  assert.equal(r.state.troubles.length, 0, "nothing went wrong");
  assert.deepEqual(r.log.entries.map((e) => (e.kind === "new count" ? e.kind : sequences(e))), ["#1", "#2", "#3", "#4", "new count", "#1", "#2", "#3"]);
  // What the new count lacks at its beginning is missing.
  const third = new Producer("t", { start: 3n });
  b.with("000000000000000c", unlike(third.event("GRAPH_START"), 4));
  assert.deepEqual([b.run.ordinal, b.run.missing, b.run.restarts], [2, 2n, 0]);
  // The same epoch again, and an epoch on the first message of a thread, are no restart.
  b.with("000000000000000c", unlike(third.event("NODE_START"), 5));
  b.with("00000000000000ff", new Producer("u", { start: 7n }).event("NODE_START"));
  assert.deepEqual(b.model.list().map((x) => [x.thread.restarts, x.beginning]), [[0, "middle"], [2, "start"], [2, "start"]]);
  // Within an epoch, an old first message is late however young it says it is.
  const young = first.event("NODE_START", { node: "x", header: { sequence: "1", messageId: b64("young"), timestampUs: String(first.us + 10_000_000n) } });
  b.with("000000000000000c", young);
  assert.equal(b.model.list().find((x) => x.ordinal === 2).late, 1);
});

test("a message without an id is a duplicate only within its count", () => {
  const b = bench();
  const anonymous = (sequence) => ({ event: { header: { threadId: "t", sequence: String(sequence) }, eventType: "EVENT_TYPE_NODE_START", nodeId: "n" } });
  b.with("000000000000000a", anonymous(1), anonymous(2), anonymous(2));
  assert.equal(b.model.duplicates, 1);
  b.with("000000000000000b", anonymous(1), anonymous(2));
  assert.deepEqual([b.model.duplicates, b.run.nodes.get("n").visits, b.run.late, b.run.missing], [1, 4, 0, 0n]);
});

test("errors keep their stack, bounded", () => {
  const b = bench();
  const p = new Producer("t");
  b.put(p.event("GRAPH_START"), { error: { header: p.header(), message: "m", errorCode: "panic", exceptionType: "runtime.Error", stackTrace: "at\n".repeat(10_000), suggestions: ["a", "b", "c", "d", "e", "f"], severity: "SEVERITY_FATAL" } });
  const [e] = b.run.errors.entries;
  assert.deepEqual([e.severity, e.code, e.type, e.message, e.sequence, e.suggestions.length], ["fatal", "panic", "runtime.Error", "m", 2n, 5]);
  assert.ok(e.stack.startsWith("at\nat\n") && e.stack.length <= 16 * 1024 && e.cut === 30_000 - 16 * 1024);
  for (let i = 0; i < 50; i++) b.put({ error: { header: p.header(), message: `m${i}` } });
  assert.deepEqual([b.run.errors.entries.length, b.run.errors.dropped, b.run.error], [20, 31, "m49"]);
});

test("what all runs hold together is bounded, and what is let go is counted", () => {
  const b = bench({ maxWeight: 2_000_000 });
  for (let i = 0; i < 50; i++) {
    const p = new Producer(`t-${i}`);
    b.put(p.event("GRAPH_START", { attributes: { initial_state_json: JSON.stringify({ text: "x".repeat(20_000) }) } }));
    for (let j = 0; j < 20; j++) b.put(p.chunk("r", "y".repeat(5000)), p.tool("COMPLETED", { callId: `c${j}`, result: b64("z".repeat(1000)) }));
    b.put(p.event("GRAPH_END"), p.event("GRAPH_START"));
    assert.ok(b.model.weight <= 2_000_000);
  }
  assert.ok(b.model.evicted > 10 && b.model.runs.size > 5, `${b.model.evicted} let go, ${b.model.runs.size} kept`);
  assert.equal(b.model.runs.size + b.model.evicted, 100);
  const held = [...b.model.runs.values()].reduce((n, r) => n + r.weight, 0) + [...b.model.threads.values()].reduce((n, t) => n + t.weight, 0);
  assert.equal(b.model.weight, held, "the account is right");
  b.model.clear();
  assert.equal(b.model.weight, 0);
  // One run alone may hold more: it is the one that is looked at.
  const p = new Producer("big");
  b.put(p.event("GRAPH_START"), p.full({ text: "x".repeat(3_000_000) }));
  assert.equal(b.model.list().length, 1);
});

test("calls, tools and edges that are let go are counted", () => {
  const b = bench();
  const p = new Producer("t");
  b.put(p.event("GRAPH_START"));
  for (let i = 0; i < 250; i++) b.put(p.chunk(`r${i}`, "x"), p.tool("STARTED", { callId: `c${i}` }));
  for (let i = 0; i < 2100; i++) b.put(p.event("EDGE_TRAVERSAL", { node: `a${i}`, attributes: { to: "b" } }));
  assert.deepEqual(b.run.dropped, { calls: 150, tools: 50, nodes: 0, edges: 100 });
  assert.equal(b.run.log.dropped, b.run.log.seen - b.run.log.entries.length);
  assert.ok(b.run.log.dropped > 0);
});

test("a run is found again in another view", () => {
  const p = new Producer("t");
  const early = [p.event("GRAPH_START"), p.event("NODE_START", { node: "a" })];
  const seen = [p.event("NODE_END", { node: "a" })];
  const later = [p.event("NODE_START", { node: "b" })];
  const first = bench();
  first.put(...early, ...seen);
  const was = first.run;
  const view = (...messages) => {
    const b = bench();
    b.put(new Producer("other").event("GRAPH_START"), ...messages);
    return b.model.find(was);
  };
  assert.equal(view(...early, ...seen, ...later).startId, was.startId);
  assert.equal(view(...seen, ...later).beginning, "middle");
  assert.equal(view(...later).thread.id, "t", "it goes on, though nothing of it was read again");
  assert.equal(view(p.event("GRAPH_START")), null, "another run of its thread is another run");
  assert.equal(view(), null);
  first.put(p.event("GRAPH_END"));
  assert.equal(view(...later), null, "a run that was over does not go on");
});

test("pieces of a text that were not read are counted", () => {
  const b = bench();
  const p = new Producer("t", { start: 9n });
  b.put(p.chunk("r", "c", { chunkIndex: 2 }), p.chunk("r", "d", { chunkIndex: 3 }), p.chunk("r", "f", { chunkIndex: 5 }), p.chunk("s", "x"), p.chunk("s", "y"));
  assert.deepEqual([b.run.calls.get("r").lost, b.run.calls.get("s").lost], [3, 0]);
});
