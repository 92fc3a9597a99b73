// What the page says of a run of which nothing is heard.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_DELAY_MS } from "../static/client.js";
import { partOf, QUIET_MS, Silence, statusOf } from "../static/silence.js";
import { Log, Producer, setup } from "./world.mjs";

// live gives a page that has read a log with one run under way and is live.
function live(options) {
  const log = new Log(1);
  const p = new Producer("t");
  log.append(0, p.event("GRAPH_START"));
  log.append(0, p.event("NODE_START", { node: "n" }));
  const { world, model, client } = setup(log, options);
  const silence = new Silence(client, model);
  client.run();
  world.serve();
  silence.observe(true);
  const give = (message) => {
    const r = log.append(0, message);
    world.socket.give({ batch: { records: [{ offset: String(r.offset), timestampMs: "1600000000000", message: r.message }], cursor: log.cursor([[0, r.offset + 1n]]) } });
  };
  const after = (ms, reading = true) => {
    world.clock.advance(ms);
    silence.observe(reading);
  };
  return { log, p, world, model, client, silence, give, after, get run() { return model.list()[0]; } };
}

test("a run is quiet when nothing of it came for a while, though nothing else comes either", () => {
  const b = live();
  b.after(QUIET_MS - 1);
  assert.deepEqual([b.silence.of(b.run), b.silence.words(b.run)], [0, ""]);
  b.after(1);
  assert.equal(b.silence.of(b.run), QUIET_MS);
  b.after(160_000);
  assert.match(b.silence.words(b.run), /^Silent since \d\d:\d\d:\d\d: last message 3 min 0 s ago; it may have ended without saying so, or a model call or a tool takes long\.$/);
  const node = b.run.nodes.get("n");
  assert.deepEqual([statusOf(b.run, true), partOf(b.run, node, true), statusOf(b.run, false), partOf(b.run, node, false)], ["quiet", "quiet", "running", "running"]);
  // Whatever the clock of its producer says, a message that comes now came now.
  b.give(b.p.event("NODE_PROGRESS", { node: "n" }));
  b.after(0);
  assert.equal(b.silence.of(b.run), 0);
  // One that waits for a person is silent for that reason, one that is over for good.
  b.give(b.p.event("HUMAN_INTERRUPT"));
  b.after(QUIET_MS);
  assert.match(b.silence.words(b.run), /it waits for a person/);
  assert.equal(statusOf(b.run, true), "interrupted");
  b.give(b.p.event("GRAPH_END"));
  b.after(QUIET_MS);
  assert.equal(b.silence.of(b.run), 0);
});

test("the time of what is under way goes on between messages, by its producer's clock", () => {
  const b = live();
  const began = b.run.nodes.get("n").sinceUs;
  assert.equal(b.silence.nowUs(b.run) - began, 0n);
  b.after(3000);
  assert.equal(b.silence.nowUs(b.run) - began, 3_000_000n);
  b.give(b.p.event("NODE_PROGRESS", { node: "n" }));
  assert.equal(b.silence.nowUs(b.run) - began, 1000n);
  b.after(2000);
  b.after(5000, false);
  assert.equal(b.silence.nowUs(b.run) - began, 2_001_000n, "not while the server does not read");
});

test("a run that was silent before the page came is known by the log's time", () => {
  // World's clock begins at the timestamp of the records.
  const log = new Log(1);
  log.append(0, new Producer("dead").event("GRAPH_START"));
  const { world, model, client } = setup(log);
  const silence = new Silence(client, model);
  world.clock.advance(3_600_000);
  client.run();
  world.serve();
  silence.observe(true);
  assert.equal(silence.of(model.list()[0]), 3_600_000);
  // A clock here that is wrong does not make it so.
  client.skewMs = -3_600_000;
  const other = new Silence(client, model);
  other.observe(true);
  assert.equal(other.of(model.list()[0]), 0);
});

test("silence of the connection is no silence of the run", () => {
  const b = live();
  b.after(10_000);
  b.after(60_000, false);
  assert.equal(b.silence.of(b.run), 0, "the server does not read");
  b.world.socket.drop();
  b.after(100);
  assert.equal(b.silence.of(b.run), 0, "not connected");
  b.world.clock.advance(MAX_DELAY_MS);
  b.world.serve();
  b.after(0);
  assert.ok(b.silence.of(b.run) > 70_000, "and now it is known that nothing came");
  b.after(1000, false);
  assert.match(b.silence.words(b.run), /^Nothing more of it was read since \d\d:\d\d:\d\d\.$/);
  // Another view begins anew.
  b.client.restart();
  b.silence.observe(true);
  assert.equal(b.silence.asOf, 0);
});

test("a record without a timestamp, or from the future, came when it was read", () => {
  const log = new Log(1);
  const { world, model, client } = setup(log);
  client.run();
  const socket = world.socket;
  world.begin();
  socket.give({ subscribed: { cursor: log.cursor([[0, 0n]]) } });
  for (const [i, timestampMs] of ["-1", "9999999999999", undefined].entries()) {
    const r = log.append(0, new Producer(`t-${i}`).event("GRAPH_START"));
    socket.give({ batch: { records: [{ offset: String(r.offset), timestampMs, message: r.message }], cursor: log.cursor([[0, r.offset + 1n]]) } });
    assert.equal(model.list()[0].heardMs, client.clock());
  }
});
