import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_DELAY_MS } from "../static/client.js";
import { newsWords } from "../static/partitions.js";
import { filled, setup } from "./world.mjs";

const positions = (c) => Object.fromEntries([...c.next].map(([p, n]) => [p, Number(n)]));

test("a partition that becomes known late is no growth, and is read from where the server says", () => {
  const log = filled(2, 3);
  const { world, model, client } = setup(log, { start: () => ({ latest: true }) });
  client.run();
  const socket = world.socket;
  socket.open();
  const hello = log.hello();
  hello.hello.partitions[1] = { partition: 1 };
  socket.give(hello);
  assert.deepEqual(client.hello.partitions[1], { partition: 1, oldest: undefined, latest: undefined }, "unknown is not 0");
  socket.give({ subscribed: { cursor: log.cursor([[0, 3n]]) } });
  socket.give({ partitions: hello.hello });
  assert.equal(client.grown.count, 0, "nothing is new in what was said before");
  socket.give({ partitions: log.hello().hello });
  assert.deepEqual([client.grown.count, newsWords(client.grown.last[0])], [1, "partition 1, of which no broker told before, is known now and read too"]);
  socket.give({ progress: { cursor: log.cursor([[0, 3n], [1, 2n]]) } });
  assert.equal(client.status, "catching up");
  assert.deepEqual(positions(client.cursor), { 0: 3, 1: 2 });
  // It may come back before it got a record, and must not begin elsewhere then.
  socket.drop();
  world.clock.advance(MAX_DELAY_MS);
  world.serve();
  assert.deepEqual(world.socket.sent[0].subscribe.start.cursor.partitions, [{ partition: 0, nextOffset: "3" }, { partition: 1, nextOffset: "2" }]);
  assert.deepEqual(model.applied, ["1/2"]);
  // Both at once are told as both.
  assert.equal(newsWords({ from: 2, to: 3, known: [0, 1] }), "the topic has more partitions, 3 instead of 2; the new ones are read from their first record; partitions 0, 1, of which no broker told before, are known now and read too");
});

test("after a reset the page is live only when it has caught up again", () => {
  const log = filled(1, 10);
  const { world, client } = setup(log);
  client.run();
  world.serve();
  assert.equal(client.status, "live");
  const fresh = filled(3, 4);
  fresh.streamId = "stream-b";
  world.socket.give({ reset: { reason: "REASON_TOPIC_RECREATED", previousStreamId: "stream-a", cursor: fresh.cursor([[0, 0n], [1, 0n], [2, 0n]]) } });
  assert.deepEqual([client.status, client.rate], ["catching up", null]);
  const next = new Map([[0, 0n], [1, 0n], [2, 0n]]);
  for (const f of fresh.read(next)) world.socket.give(f);
  assert.equal(client.status, "catching up");
  world.socket.give({ caughtUp: { cursor: fresh.cursor(next) } });
  assert.equal(client.status, "live");
  world.clock.advance(2000);
  assert.equal(client.rate.perSecond(), 0, "what was read again is no rate");
  // What hello said was of the old topic.
  world.socket.give({ partitions: fresh.hello().hello });
  assert.equal(client.grown.count, 0);
});
