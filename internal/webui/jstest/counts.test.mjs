import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_DELAY_MS } from "../static/client.js";
import { filled, Producer, setup } from "./world.mjs";

test("records a second are told of what comes live, over whole seconds, and unknown before", () => {
  const log = filled(1, 10);
  const { world, model, client } = setup(log);
  client.run();
  assert.equal(client.rate, null);
  world.serve();
  const p = new Producer("live");
  const live = (n) => {
    for (let i = 0; i < n; i++) {
      const r = log.append(0, p.event("NODE_START", { node: "n" }));
      world.socket.give({ batch: { records: [{ offset: String(r.offset), message: r.message }], cursor: log.cursor([[0, r.offset + 1n]]) } });
    }
  };
  assert.equal(client.rate.perSecond(), undefined);
  live(10);
  world.clock.advance(1000);
  assert.equal(client.rate.perSecond(), 10, "what was replayed does not count");
  world.clock.advance(1000);
  assert.equal(client.rate.perSecond(), 5);
  world.clock.advance(60_000);
  assert.equal(client.rate.perSecond(), 0);
  assert.equal(model.records, 20);

  // Away, it is unknown; what was missed meanwhile is no rate either.
  world.socket.drop();
  assert.equal(client.rate, null);
  for (let i = 0; i < 50; i++) log.append(0, p.event("NODE_START", { node: "n" }));
  world.clock.advance(MAX_DELAY_MS);
  world.serve();
  world.clock.advance(2000);
  assert.equal(client.rate.perSecond(), 0);
  assert.equal(model.records, 70, "each record counts once, however often the page reconnects");
});

test("a view that begins anew counts anew", () => {
  const log = filled(2, 10);
  const { world, model, client } = setup(log);
  client.run();
  world.serve({ batch: 10 });
  world.socket.drop();
  for (let i = 0; i < 5; i++) log.append(0, new Producer(`late-${i}`).event("GRAPH_START"));
  log.prune(0, 13n);
  world.clock.advance(MAX_DELAY_MS);
  world.serve();
  world.socket.give({ partitions: { partitions: [{ partition: 0 }, { partition: 1 }, { partition: 2 }] } });
  assert.deepEqual([model.records, client.gaps.count, client.grown.count], [22, 1, 1]);
  assert.deepEqual([client.grown.last[0].from, client.grown.last[0].to], [2, 3]);
  client.restart();
  assert.deepEqual([model.records, client.gaps.count, client.grown.count], [0, 0, 0]);
  world.serve();
  assert.deepEqual([model.records, client.gaps.count], [12, 0]);
  // What was said of a stream that is void goes with it.
  client.gaps.add({ partition: 0, from: 1n, to: 2n });
  world.socket.give({ reset: { reason: "REASON_TOPIC_RECREATED", cursor: { streamId: "stream-b" } } });
  assert.deepEqual([model.records, client.gaps.count, client.resets.count], [0, 0, 1]);
});

test("the epoch that a producer announces reaches the model", () => {
  const log = filled(1, 1);
  const { world, model, client } = setup(log);
  const seen = [];
  model.failing = (r) => {
    seen.push(r.epoch);
    return false;
  };
  client.run();
  world.serve();
  const header = (value, key = "dashstream-epoch") => ({ key, value: Buffer.from(value).toString("base64") });
  const p = new Producer("t");
  let offset = 1n;
  for (const headers of [[header("0123456789abcdef")], [header("x", "traceparent"), header("fedcba9876543210")], [header("not an epoch")], [{ key: "dashstream-epoch", value: "%" }], [null, 7], "no list", undefined]) {
    world.socket.give({ batch: { records: [{ offset: String(offset), message: p.event("NODE_START", { node: "n" }), headers }], cursor: log.cursor([[0, offset + 1n]]) } });
    offset++;
  }
  assert.deepEqual(seen, [undefined, "0123456789abcdef", "fedcba9876543210", undefined, undefined, undefined, undefined, undefined]);
  assert.equal(client.status, "live", "a header that is none harms nothing");
});
