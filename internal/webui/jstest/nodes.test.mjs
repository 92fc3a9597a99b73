// What is said of the time that a node took.

import assert from "node:assert/strict";
import { test } from "node:test";
import { timeWords } from "../static/graphview.js";
import { Model } from "../static/model.js";
import { timeOf } from "../static/nodes.js";
import { Log, Producer } from "./world.mjs";

function bench() {
  const log = new Log(1);
  const model = new Model();
  const p = new Producer("t");
  const put = (type, extra) => model.apply(log.append(0, p.event(type, { node: "n", ...extra })));
  const words = (status) => {
    const [run] = model.list();
    const node = run.nodes.get("n");
    const time = timeOf(node, status ?? run.shown(node), run.lastUs, run.partial);
    return time === null ? "" : timeWords(time);
  };
  put("GRAPH_START", { node: "" });
  return { put, words, p };
}

test("a node that is visited again does not show the time of its earlier visit as this one's", () => {
  const b = bench();
  b.put("NODE_START");
  assert.equal(b.words(), "0 µs so far");
  b.put("NODE_END", { duration: 5_900_000 });
  assert.equal(b.words(), "5.9 s");
  b.put("NODE_START");
  assert.equal(b.words(), "0 µs so far");
  b.put("NODE_PROGRESS");
  assert.equal(b.words(), "1 ms so far", "by the producer's clock");
  assert.equal(b.words("quiet"), "≥ 5.9 s in all", "how long it goes on is not known");
  b.put("NODE_END", { duration: 1_890_000 });
  assert.equal(b.words(), "last 1.89 s, 7.79 s in all");
  b.put("NODE_START");
  b.put("NODE_ERROR", { duration: 1_000_000 });
  assert.equal(b.words(), "last 1 s, 8.79 s in all");
});

test("what is not known of a node's time is not made up", () => {
  const b = bench();
  b.put("NODE_START");
  b.put("NODE_END", { duration: 2_000_000 });
  b.put("NODE_START");
  b.put("NODE_END");
  assert.equal(b.words(), "≥ 2 s in all", "the last visit did not say");
  b.put("NODE_START");
  b.put("NODE_START");
  assert.equal(b.words(), "", "two at once have no one time");
  b.put("NODE_END", { duration: 1_000_000 });
  assert.equal(b.words(), "");
  b.put("GRAPH_END", { node: "" });
  assert.equal(b.words(), "≥ 3 s in all", "no end of the last visit was seen");
});
