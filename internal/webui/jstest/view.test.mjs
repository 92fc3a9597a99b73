import assert from "node:assert/strict";
import { test } from "node:test";
import { dollars, duration, integer, rate, seconds, sum, clockTime, UNKNOWN } from "../static/format.js";
import { HEIGHT, layout, WIDTH } from "../static/layout.js";
import { shape } from "../static/shape.js";
import { count, number, strictNumber, text } from "../static/attributes.js";
import { clip, tail, textToBase64URL } from "../static/text.js";

test("durations and numbers for people", () => {
  for (const [us, want] of [[undefined, UNKNOWN], [0n, "0 µs"], [999n, "999 µs"], [1500n, "1.5 ms"], [250_000n, "250 ms"], [1_234_567n, "1.23 s"], [59_960_000n, "60 s"], [75_000_000n, "1 min 15 s"],
    [3_600_000_000n * 5n + 60_000_000n, "5 h 1 min"], [86_400_000_000n * 3n, "3 d 0 h"], [-1n, "clock skew"], [(1n << 63n) - 1n, "beyond range"]]) {
    assert.equal(duration(us), want);
  }
  assert.equal(integer(1234567), "1\u202f234\u202f567");
  assert.equal(integer(123n), "123");
  assert.deepEqual([dollars(0), dollars(0.0000172), dollars(0.0123), dollars(12.3456), dollars(1234.5), dollars(NaN), dollars(Infinity)], ["$0.0000", "< $0.0001", "$0.0123", "$12.35", "$1235", UNKNOWN, UNKNOWN]);
  assert.deepEqual([sum(0, 0, 0, integer), sum(0, 0, 3, integer), sum(7, 1, 0, integer), sum(7, 1, 2, integer)], [UNKNOWN, UNKNOWN, "7", "≥ 7"]);
  // A lower bound that is tiny is no upper bound.
  assert.deepEqual([sum(0.00002, 1, 0, dollars), sum(0.00002, 1, 1, dollars), sum(0.00002, 1, 0, dollars, true), sum(0.25, 1, 1, dollars), sum(0, 1, 1, dollars)], ["< $0.0001", "> $0", "> $0", "≥ $0.2500", "≥ $0.0000"]);
  assert.deepEqual([rate(undefined), rate(0), rate(1.25), rate(1234.6)], [UNKNOWN, "0", "1.3", "1\u202f235"]);
  assert.deepEqual([seconds(0), seconds(1), seconds(2999), seconds(-5)], ["0 s", "1 s", "3 s", "0 s"]);
  assert.equal(clockTime(undefined), UNKNOWN);
  assert.equal(clockTime((1n << 63n) - 1n), UNKNOWN, "beyond what a date can be");
  assert.match(clockTime(1_700_000_000_123_456n), /^\d\d:\d\d:20\.123$/);
});

test("attributes are read by kind, numbers strictly", () => {
  const a = { s: { stringValue: "x" }, i: { intValue: "42" }, f: { floatValue: 1.5 }, b: { boolValue: false }, nan: { floatValue: "NaN" }, bad: { stringValue: "123abc" }, num: { stringValue: "12.5" }, big: { intValue: "9223372036854775807" }, zero: { intValue: "0" }, list: { arrayValue: {} }, none: null };
  assert.deepEqual([text(a, "s"), text(a, "i"), text(a, "f"), text(a, "b"), text(a, "list"), text(a, "none"), text(a, "absent"), text(undefined, "s"), text(a, "toString")], ["x", "42", "1.5", "false", undefined, undefined, undefined, undefined, undefined]);
  assert.deepEqual([number(a, "i"), number(a, "f"), number(a, "nan"), number(a, "bad"), number(a, "num"), number(a, "b"), number(a, "none")], [42, 1.5, undefined, undefined, 12.5, undefined, undefined]);
  assert.deepEqual([count(a, "i"), count(a, "zero"), count(a, "f"), count(a, "big")], [42, 0, undefined, undefined]);
  assert.deepEqual([" 1", "0x10", "", "1e999", "-5", "1e3"].map(strictNumber), [undefined, undefined, undefined, undefined, -5, 1000]);
  assert.equal(text({ s: { stringValue: "x".repeat(1e6) } }, "s").length, 256);
});

test("text is cut between characters", () => {
  assert.equal(clip("a😀b", 4), "a😀b");
  assert.equal(clip("a😀bc", 3), "a…");
  assert.equal(tail("😀b", 2), "b");
  assert.equal(tail("abc", 2), "bc");
  assert.equal(textToBase64URL("??>ü"), Buffer.from("??>ü").toString("base64url"));
});

test("graphs are read in the layouts that producers use", () => {
  const names = (s) => [s.nodes, s.edges.map((e) => `${e.from}→${e.to}${e.conditional ? "?" : ""}`), s.entry];
  assert.deepEqual(names(shape('{"nodes":{"a":{},"b":{}},"edges":{"a":[{"from":"a","to":"b","is_conditional":true}]},"entry_point":"a"}')), [["a", "b"], ["a→b?"], "a"]);
  assert.deepEqual(names(shape('{"nodes":[{"name":"a"},{"id":"b"},"c"],"edges":[{"source":"a","target":"b"},{"from":"b","to":["c","a"],"conditional":true}]}')), [["a", "b", "c"], ["a→b", "b→c?", "b→a?"], undefined]);
  assert.deepEqual(names(shape('{"edges":{"a":["b"]},"conditional_edges":{"b":{"yes":"c","no":"a"}}}')), [[], ["a→b", "b→c?", "b→a?"], undefined]);
  for (const odd of [undefined, "", "null", "[]", "7", "{", '{"nodes":7,"edges":null}', '{"nodes":[null,{},[],7],"edges":[null,7,{},{"from":"a"},{"to":"b"}]}']) {
    assert.deepEqual(names(shape(odd)), [[], [], undefined], String(odd));
  }
  const many = shape(JSON.stringify({ nodes: Array.from({ length: 10_000 }, (_, i) => `n${i}`), edges: Array.from({ length: 10_000 }, (_, i) => ({ from: `n${i}`, to: `n${i + 1}` })) }));
  assert.ok(many.nodes.length <= 500 && many.edges.length <= 2000);
});

test("nodes stand right of what leads to them, loops lead back, nothing overlaps", () => {
  const edges = [["plan", "search"], ["plan", "read"], ["search", "critic"], ["read", "critic"], ["critic", "plan"], ["critic", "write"], ["write", "write"]].map(([from, to]) => ({ from, to }));
  const l = layout(["plan", "search", "read", "critic", "write"], edges, "plan");
  const x = (n) => l.nodes.get(n).x;
  assert.ok(x("plan") < x("search") && x("search") === x("read") && x("read") < x("critic") && x("critic") < x("write"));
  assert.deepEqual(l.edges.filter((e) => e.back).map((e) => `${e.from}→${e.to}`), ["critic→plan", "write→write"]);
  const boxes = [...l.nodes.values()];
  for (const [i, a] of boxes.entries()) {
    assert.ok(a.x >= 0 && a.y >= 0 && a.x + WIDTH <= l.width && a.y + HEIGHT <= l.height);
    for (const b of boxes.slice(i + 1)) assert.ok(Math.abs(a.x - b.x) >= WIDTH || Math.abs(a.y - b.y) >= HEIGHT);
  }
  const none = layout(["a", "b"], [], undefined);
  assert.ok(none.nodes.get("a").x < none.nodes.get("b").x, "without edges, in the order of mention");
  assert.deepEqual(layout([], [], undefined).edges, []);
  // A cycle without an entry, an edge to nowhere, a deep chain.
  assert.equal(layout(["a", "b"], [{ from: "a", to: "b" }, { from: "b", to: "a" }, { from: "b", to: "gone" }], "gone").edges.length, 2);
  const deep = Array.from({ length: 5000 }, (_, i) => `n${i}`);
  assert.equal(layout(deep, deep.slice(1).map((to, i) => ({ from: deep[i], to })), "n0").nodes.size, 5000);
});
