import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_DELAY_MS } from "../static/client.js";
import { load } from "../static/cursor.js";
import { filled, Log, MemoryStorage, Producer, settle, setup } from "./world.mjs";

const all = (log) => log.partitions.flatMap((part, p) => Array.from({ length: Number(log.latest(p)) }, (_, i) => `${p}/${i}`)).sort();
const positions = (c) => Object.fromEntries([...c.next].map(([p, n]) => [p, Number(n)]));

test("a first connection reads to live and stores where it may begin again", () => {
  const log = filled();
  const { world, model, client } = setup(log);
  client.run();
  assert.equal(client.status, "connecting");
  assert.deepEqual(world.socket.protocols, ["dashstream.v1+json"]);
  const start = world.begin();
  assert.deepEqual(start, { earliest: true });
  world.socket.give({ subscribed: { cursor: log.cursor(world.positions(start)) } });
  assert.equal(client.status, "catching up");
  const next = world.positions(start);
  for (const f of log.read(next)) world.socket.give(f);
  assert.equal(client.status, "catching up", "live only when the server says so");
  world.socket.give({ caughtUp: { cursor: log.cursor(next) } });
  assert.equal(client.status, "live");
  assert.deepEqual([...model.applied].sort(), all(log));
  assert.deepEqual(positions(client.cursor), { 0: 10, 1: 10 });
  world.clock.advance(1000);
  // The runs began at offset 0: from there a reloaded page gets the same view.
  assert.deepEqual(positions(load(world.env.storage).cursor), { 0: 0, 1: 0 });
  const ack = world.socket.sent.at(-1).ack.cursor;
  assert.deepEqual(ack, { streamId: "stream-a", partitions: [{ partition: 0, nextOffset: "10" }, { partition: 1, nextOffset: "10" }] });
});

test("a reconnect resumes from what was applied, and nothing comes twice", () => {
  const log = filled();
  const { world, model, client } = setup(log);
  client.run();
  let frames = 0;
  world.serve({ until: () => ++frames === 3 }); // two batches of three, then nothing
  world.socket.drop(1006);
  assert.equal(client.status, "waiting");
  assert.deepEqual(positions(client.cursor), { 0: 6, 1: 0 });
  world.clock.advance(MAX_DELAY_MS);
  world.serve();
  assert.deepEqual(world.socket.sent[0].subscribe.start.cursor.partitions, [{ partition: 0, nextOffset: "6" }, { partition: 1, nextOffset: "0" }]);
  assert.deepEqual([...model.applied].sort(), all(log));
  assert.equal(client.ignored, 0);
  assert.equal(client.status, "live");
});

test("killed a thousand times in mid-replay, the page applies every record once and in order", async () => {
  let seed = 42;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  const log = new Log(3);
  const producers = [0, 1, 2].map((p) => new Producer(`thread-${p}`));
  const { world, model, client } = setup(log, { random });
  client.run();
  for (let kill = 0; kill < 1000; kill++) {
    for (let i = Math.floor(random() * 6); i > 0; i--) {
      const p = Math.floor(random() * 3);
      log.append(p, producers[p].event("NODE_START", { node: "n" }));
    }
    let left = Math.floor(random() * 8);
    if (random() < 0.2) {
      // Killed in the handshake.
      if (random() < 0.5) world.begin();
    } else {
      world.serve({ batch: 1 + Math.floor(random() * 4), until: () => left-- <= 0 });
    }
    world.socket.drop(random() < 0.5 ? 1006 : 4000);
    assert.equal(world.live, 0);
    await settle();
    world.clock.advance(MAX_DELAY_MS);
    assert.equal(world.live, 1, "one socket at a time");
  }
  world.serve();
  assert.deepEqual([...model.applied].sort(), all(log));
  for (const p of [0, 1, 2]) {
    const offsets = model.applied.filter((a) => a.startsWith(`${p}/`)).map((a) => Number(a.split("/")[1]));
    assert.deepEqual(offsets, offsets.map((_, i) => i));
  }
});

test("the cursor moves on apply, never on receipt", () => {
  const log = filled(1, 6);
  const { world, model, client } = setup(log);
  model.failing = (r) => r.offset === 4n;
  client.run();
  world.serve({ batch: 6 });
  assert.equal(client.status, "waiting");
  assert.match(client.detail, /offset 4 of partition 0 could not be applied \(try 1 of 3\)/);
  assert.deepEqual(positions(client.cursor), { 0: 4 });
  assert.equal(world.live, 0);
  // It can be applied the next time.
  model.failing = () => false;
  world.clock.advance(MAX_DELAY_MS);
  world.serve({ batch: 6 });
  assert.deepEqual(model.applied, ["0/0", "0/1", "0/2", "0/3", "0/4", "0/5"]);
  assert.equal(client.quarantined.count, 0);
});

test("a record that fails three times is given up, and that is shown", () => {
  const log = filled(1, 6);
  const { world, model, client } = setup(log);
  model.failing = (r) => r.offset === 2n;
  client.run();
  world.serve({ batch: 6 });
  world.clock.advance(MAX_DELAY_MS);
  world.serve({ batch: 6 });
  assert.equal(client.quarantined.count, 0);
  world.clock.advance(MAX_DELAY_MS);
  world.serve({ batch: 6 });
  assert.equal(client.status, "live");
  assert.deepEqual(model.applied, ["0/0", "0/1", "0/3", "0/4", "0/5"]);
  assert.deepEqual(positions(client.cursor), { 0: 6 });
  assert.equal(client.quarantined.count, 1);
  assert.deepEqual([client.quarantined.last[0].partition, client.quarantined.last[0].offset], [0, 2n]);
});

test("a frame of an old connection changes nothing", () => {
  const log = filled(1, 6);
  const { world, model, client } = setup(log);
  client.run();
  let frames = 0;
  world.serve({ until: () => ++frames === 2 });
  const old = world.socket;
  const deliver = old.onmessage;
  client.lost("the test says so");
  world.clock.advance(MAX_DELAY_MS);
  const before = [...model.applied];
  deliver({ data: JSON.stringify({ batch: { records: [{ offset: "3", message: log.partitions[0].records[3].message }], cursor: log.cursor([[0, 4n]]) } }) });
  assert.deepEqual(model.applied, before);
  assert.deepEqual(positions(client.cursor), { 0: 3 });
  assert.equal(client.status, "connecting");
});

test("bytes and Blobs give what text gives, in order", async () => {
  const views = [];
  for (const as of ["text", "bytes", "view", "blob", "mixed"]) {
    const log = filled(2, 12);
    const { world, model, client } = setup(log);
    client.run();
    const socket = world.socket;
    socket.open();
    const bytes = (f) => new TextEncoder().encode(JSON.stringify(f));
    let n = 0;
    const kinds = {
      text: (f) => JSON.stringify(f),
      bytes: (f) => bytes(f).buffer,
      view: bytes,
      blob: (f) => new Blob([bytes(f)]),
      mixed: (f) => (n++ % 3 === 0 ? new Blob([bytes(f)]) : n % 3 === 1 ? JSON.stringify(f) : bytes(f).buffer),
    };
    const give = (f) => socket.onmessage?.({ data: kinds[as](f) });
    give(log.hello());
    const next = world.positions({ earliest: true });
    give({ subscribed: { cursor: log.cursor(next) } });
    for (const f of log.read(next, 2)) give(f);
    give({ caughtUp: { cursor: log.cursor(next) } });
    for (let i = 0; i < 100 && client.status !== "live"; i++) await new Promise((r) => setImmediate(r));
    assert.equal(client.status, "live", as);
    views.push(JSON.stringify([model.applied, client.cursor]));
  }
  assert.equal(new Set(views).size, 1);
});

test("a Blob that is never read ends the connection, and one kept back does not pass for the next", async () => {
  const log = filled(1, 3);
  const { world, model, client } = setup(log);
  client.run();
  world.begin();
  world.socket.give({ subscribed: { cursor: log.cursor([[0, 0n]]) } });
  let release;
  world.socket.onmessage({ data: { arrayBuffer: () => new Promise((r) => (release = r)) } });
  for (let i = 0; i < 5; i++) world.socket.onmessage({ data: JSON.stringify({ progress: { cursor: log.cursor([[0, 3n]]) } }) });
  await settle();
  assert.deepEqual(positions(client.cursor), { 0: 0 }, "what follows waits");
  world.clock.advance(10_001);
  assert.notEqual(client.status, "catching up");
  assert.match(client.detail + client.status, /could not be read in time|connecting/);
  release(new TextEncoder().encode(JSON.stringify({ batch: { records: [{ message: log.partitions[0].records[0].message }], cursor: log.cursor([[0, 1n]]) } })).buffer);
  await settle();
  assert.deepEqual(model.applied, []);
  assert.deepEqual(positions(client.cursor), { 0: 0 });
});

test("frames that are not of the protocol end the connection without a commit", () => {
  const cases = {
    "not JSON": "{",
    "no kind": "{}",
    "two kinds": { progress: { cursor: { streamId: "stream-a" } }, error: {} },
    "an unknown kind": { surprise: {} },
    "a frame that is no object": "[]",
    "a batch without a cursor": { batch: { records: [{ offset: "1", message: {} }] } },
    "a cursor of another stream": { progress: { cursor: { streamId: "stream-b", partitions: [{ nextOffset: "9" }] } } },
    "a batch that does not cover its record": { batch: { records: [{ offset: "7", message: {} }], cursor: { streamId: "stream-a", partitions: [{ nextOffset: "7" }] } } },
    "a batch that covers another partition": { batch: { records: [{ partition: 1, offset: "7", message: {} }], cursor: { streamId: "stream-a", partitions: [{ nextOffset: "8" }] } } },
    "an offset that is a fraction": { batch: { records: [{ offset: 1.5, message: {} }], cursor: { streamId: "stream-a", partitions: [{ nextOffset: "8" }] } } },
    "a negative offset": { progress: { cursor: { streamId: "stream-a", partitions: [{ nextOffset: "-8" }] } } },
    "a gap without a range": { gap: { from: "5", to: "5", cursor: { streamId: "stream-a", partitions: [{ nextOffset: "5" }] } } },
    "a gap that its cursor does not cover": { gap: { from: "3", to: "9", cursor: { streamId: "stream-a", partitions: [{ nextOffset: "8" }] } } },
    "hello again": { hello: { streamId: "stream-a", topic: "t", protocolVersion: 1 } },
    "a number": 7,
  };
  for (const [name, frame] of Object.entries(cases)) {
    const log = filled(1, 3);
    const { world, model, client } = setup(log);
    client.run();
    world.serve({ batch: 3 });
    const applied = model.applied.length;
    world.socket.give(frame);
    assert.equal(client.status, "waiting", name);
    assert.ok(client.detail !== "" && client.detail.length < 400, name);
    assert.deepEqual(positions(client.cursor), { 0: 3 }, name);
    assert.equal(model.applied.length, applied, name);
    assert.equal(world.live, 0, name);
  }
});

test("hello comes first, and speaks this protocol", () => {
  const log = filled(1, 1);
  for (const frame of [{ subscribed: { cursor: log.cursor([[0, 0n]]) } }, { hello: { ...log.hello().hello, protocolVersion: 2 } }, { batch: { cursor: log.cursor([]) } }]) {
    const { world, client } = setup(log);
    client.run();
    world.socket.open();
    world.socket.give(frame);
    assert.equal(client.status, "waiting");
    assert.deepEqual(world.sockets[0].sent, []);
  }
  const { world, client } = setup(log);
  client.run();
  world.begin();
  world.socket.give({ caughtUp: { cursor: log.cursor([[0, 1n]]) } });
  assert.match(client.detail, /before subscribed/);
});

test("known duplicates are ignored, a rewind in one connection is an error", () => {
  const log = filled(1, 4);
  const { world, model, client } = setup(log);
  client.run();
  world.serve({ batch: 4 });
  world.socket.drop();
  world.clock.advance(MAX_DELAY_MS);
  // This server begins two records too early.
  const socket = world.socket;
  world.begin();
  socket.give({ subscribed: { cursor: log.cursor([[0, 2n]]) } });
  const extra = new Producer("other");
  log.append(0, extra.event("GRAPH_START"));
  for (const f of log.read(new Map([[0, 2n]]), 10)) socket.give(f);
  assert.equal(client.ignored, 2);
  assert.deepEqual(model.applied, ["0/0", "0/1", "0/2", "0/3", "0/4"]);
  assert.deepEqual(positions(client.cursor), { 0: 5 });
  socket.give({ batch: { records: [{ offset: "3", message: log.partitions[0].records[3].message }], cursor: log.cursor([[0, 4n]]) } });
  assert.match(client.detail, /offset 3 of partition 0 came after 4/);
  assert.deepEqual(positions(client.cursor), { 0: 5 });
});

test("a gap is told with its range and passed", () => {
  const log = filled(2, 10);
  const { world, client } = setup(log);
  client.run();
  world.serve({ batch: 10 });
  world.socket.drop();
  for (let i = 0; i < 5; i++) log.append(0, new Producer(`late-${i}`).event("GRAPH_START"));
  log.prune(0, 13n);
  world.clock.advance(MAX_DELAY_MS);
  world.serve();
  assert.equal(client.gaps.count, 1);
  const { partition, from, to, reason } = client.gaps.last[0];
  assert.deepEqual({ partition, from, to, reason }, { partition: 0, from: 10n, to: 13n, reason: "REASON_RETENTION" });
  assert.deepEqual(positions(client.cursor), { 0: 15, 1: 10 });
  assert.equal(client.status, "live");
});

test("a reset voids everything and goes on in the new stream", () => {
  const log = filled(2, 10);
  const { world, model, client } = setup(log);
  client.run();
  world.serve();
  world.clock.advance(1000);
  const fresh = new Log(1, "stream-b");
  const p = new Producer("new");
  fresh.append(0, p.event("GRAPH_START"));
  world.socket.give({ reset: { reason: "REASON_TOPIC_RECREATED", previousStreamId: "stream-a", cursor: fresh.cursor([[0, 0n]]) } });
  assert.equal(model.list().length, 0);
  assert.deepEqual([client.cursor.streamId, positions(client.cursor)], ["stream-b", { 0: 0 }]);
  for (const f of fresh.read(new Map([[0, 0n]]))) world.socket.give(f);
  assert.deepEqual(model.list().map((r) => r.thread.id), ["new"]);
  assert.equal(client.resets.count, 1);
  assert.equal(client.resets.last[0].reason, "REASON_TOPIC_RECREATED");
  world.clock.advance(1000);
  assert.equal(load(world.env.storage).cursor.streamId, "stream-b");
});

test("a cursor of another stream waits for the reset before anything else", () => {
  for (const answer of ["stream-a", "stream-b"]) {
    const log = filled(1, 3);
    const { world, model, client } = setup(log);
    client.run();
    world.serve({ batch: 3 });
    world.socket.drop();
    world.clock.advance(MAX_DELAY_MS);
    const fresh = new Log(1, "stream-b");
    fresh.append(0, new Producer("new").event("GRAPH_START"));
    world.socket.open();
    world.socket.give(fresh.hello());
    world.socket.give({ subscribed: { cursor: { ...fresh.cursor([[0, 0n]]), streamId: answer } } });
    world.socket.give({ reset: { reason: "REASON_OTHER_STREAM", previousStreamId: "stream-a", cursor: fresh.cursor([[0, 0n]]) } });
    for (const f of fresh.read(new Map([[0, 0n]]))) world.socket.give(f);
    assert.deepEqual(model.list().map((r) => r.thread.id), ["new"], answer);
    assert.equal(client.cursor.streamId, "stream-b");
  }
  const log = filled(1, 3);
  const { world, client } = setup(log);
  client.run();
  world.serve({ batch: 3 });
  world.socket.drop();
  world.clock.advance(MAX_DELAY_MS);
  const fresh = filled(1, 3);
  fresh.streamId = "stream-b";
  world.socket.open();
  world.socket.give(fresh.hello());
  world.socket.give({ subscribed: { cursor: fresh.cursor([[0, 0n]]) } });
  for (const f of fresh.read(new Map([[0, 0n]]))) world.socket.give(f);
  assert.match(client.detail, /without a reset/);
  assert.equal(client.cursor.streamId, "stream-a");
});

test("a reset before subscribed voids the view, of another stream and of a log cut short", () => {
  for (const [name, reason] of [["stream-b", "REASON_OTHER_STREAM"], ["stream-a", "REASON_TRUNCATED"]]) {
    for (const broken of [false, true]) {
      const log = filled(1, 9);
      const { world, model, client } = setup(log);
      client.run();
      world.serve({ batch: 9 });
      world.socket.drop();
      world.clock.advance(MAX_DELAY_MS);
      const fresh = new Log(1, name);
      const p = new Producer("new");
      fresh.append(0, p.event("GRAPH_START"));
      fresh.append(0, p.event("GRAPH_END"));
      world.log = fresh;
      assert.equal(world.begin().cursor.partitions[0].nextOffset, "9");
      world.socket.give({ reset: { reason, previousStreamId: "stream-a", cursor: fresh.cursor([[0, 0n]]) } });
      assert.equal(client.status, "connecting", reason);
      assert.equal(model.list().length, 0, "what is void is not shown");
      assert.deepEqual([client.cursor.streamId, positions(client.cursor)], [name, { 0: 0 }]);
      if (broken) {
        // Lost between the two: it comes back from the reset, not from before it.
        world.socket.drop();
        world.clock.advance(MAX_DELAY_MS);
        assert.deepEqual(world.begin().cursor, { streamId: name, partitions: [{ partition: 0, nextOffset: "0" }] });
      }
      world.socket.give({ subscribed: { cursor: fresh.cursor([[0, 0n]]) } });
      for (const f of fresh.read(new Map([[0, 0n]]))) world.socket.give(f);
      world.socket.give({ caughtUp: { cursor: fresh.cursor([[0, 2n]]) } });
      assert.deepEqual(model.list().map((r) => [r.thread.id, r.status]), [["new", "ended"]], reason);
      assert.deepEqual([client.status, client.resets.count, client.cursor.streamId, positions(client.cursor)], ["live", 1, name, { 0: 2 }]);
      world.clock.advance(1000);
      assert.equal(load(world.env.storage).cursor.streamId, name);
    }
  }
  // The subscribed that follows is of the stream of the reset.
  const log = filled(1, 3);
  const { world, client } = setup(log);
  client.run();
  world.serve({ batch: 3 });
  world.socket.drop();
  world.clock.advance(MAX_DELAY_MS);
  world.begin();
  world.socket.give({ reset: { reason: "REASON_OTHER_STREAM", cursor: { streamId: "stream-b" } } });
  world.socket.give({ subscribed: { cursor: log.cursor([[0, 3n]]) } });
  assert.match(client.detail, /subscribed to stream stream-a after a reset to stream-b/);
  assert.equal(client.cursor.streamId, "stream-b");
});

test("partitions that appear are taken from their first record", () => {
  const log = filled(1, 3);
  const { world, model, client } = setup(log);
  client.run();
  world.serve({ batch: 3 });
  log.partitions.push({ oldest: 0n, records: [] });
  log.append(1, new Producer("grown").event("GRAPH_START"));
  world.socket.give({ partitions: { partitions: [{ oldest: "0", latest: "3" }, { partition: 1, latest: "1" }] } });
  assert.equal(client.hello.partitions.length, 2);
  for (const f of log.read(new Map([[1, 0n]]))) world.socket.give(f);
  assert.ok(model.applied.includes("1/0"));
  assert.deepEqual(positions(client.cursor), { 0: 3, 1: 1 });
});

test("a reloaded page gets the same view", () => {
  const log = filled(2, 10);
  const storage = new MemoryStorage();
  const first = setup(log, { storage, start: () => ({ latest: true }) });
  first.client.run();
  first.world.serve(); // begins at the end: nothing yet
  const p = new Producer("seen");
  for (const m of [p.event("GRAPH_START"), p.event("NODE_START", { node: "n" })]) {
    log.append(1, m);
  }
  for (const f of log.read(new Map([[1, 10n]]), 2)) first.world.socket.give(f);
  first.world.clock.advance(1000);
  const second = setup(log, { storage, start: () => ({ latest: true }) });
  second.client.run();
  second.world.serve();
  assert.equal(second.client.began, "resumed");
  assert.deepEqual(second.model.list().map((r) => [r.thread.id, r.log.seen]), [["seen", 2]]);
  assert.deepEqual(positions(second.client.cursor), positions(first.client.cursor));
  // A stored cursor that is damaged does not keep the page from coming up.
  storage.setItem("dashstream.cursor.v1", '{"streamId":"stream-a","partitions":[{"nextOffset":"-1"}]}');
  const third = setup(log, { storage });
  third.client.run();
  third.world.serve();
  assert.equal(third.client.status, "live");
  assert.match(third.client.problems.last[0].text, /was dropped/);
});

test("a cursor that the server refuses is dropped, visibly, and the view begins anew", () => {
  const log = filled(1, 3);
  const { world, client } = setup(log);
  client.run();
  world.serve({ batch: 3 });
  world.socket.drop();
  world.clock.advance(MAX_DELAY_MS);
  const socket = world.socket;
  world.begin();
  socket.give({ error: { code: "invalid_field", field: "subscribe.start.cursor", message: "no such partition" } });
  assert.deepEqual(socket.sent[1].subscribe.start, { earliest: true });
  socket.give({ subscribed: { cursor: log.cursor([[0, 0n]]) } });
  assert.match(client.problems.last.at(-1).text, /no such partition/);
  assert.equal(client.status, "catching up");
  // Any other error leaves the session as it is.
  socket.give({ error: { code: "too_many_frames", message: "slow down" } });
  assert.equal(client.status, "catching up");
  assert.equal(client.problems.count, 2);
});

test("half an hour without a server: spread attempts, one socket, then by itself", async () => {
  let seed = 1;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  const log = filled(1, 3);
  const { world, client } = setup(log, { random });
  client.run();
  world.serve({ batch: 3 });
  world.socket.drop();
  const times = [];
  const end = world.clock.time + 30 * 60_000;
  while (world.clock.time < end) {
    const before = world.sockets.length;
    world.clock.advance(50);
    await settle();
    assert.ok(world.live <= 1);
    if (world.sockets.length > before) {
      times.push(world.clock.time);
      world.socket.drop();
    }
  }
  const gaps = times.slice(8).map((t, i) => t - times[i + 7]);
  assert.ok(times.length > 150 && times.length < 400, `${times.length} attempts`);
  assert.ok(Math.max(...gaps) <= MAX_DELAY_MS + 50 && Math.min(...gaps) >= MAX_DELAY_MS / 2 - 50);
  assert.ok(new Set(gaps).size > 20, "spread by chance");
  log.append(0, new Producer("after").event("GRAPH_START"));
  world.clock.advance(MAX_DELAY_MS);
  world.serve();
  assert.equal(client.status, "live");
  assert.deepEqual(positions(client.cursor), { 0: 4 });
  // A server that restarts is found again at once, not after the longest wait.
  world.socket.drop(4000, "restart");
  assert.ok(client.retryAt - world.clock.time <= 250);
});

test("a server that says it is no use to come back is asked rarely", () => {
  const log = filled(1, 1);
  const { world, client } = setup(log);
  client.run();
  world.serve();
  world.socket.drop(4500, "bad frame");
  assert.match(client.detail, /4500: bad frame/);
  assert.ok(client.retryAt - world.clock.time >= MAX_DELAY_MS / 2);
});

test("a server that does not answer the handshake is given up", () => {
  const log = filled(1, 1);
  const { world, client } = setup(log);
  client.run();
  world.clock.advance(10_000);
  assert.match(client.detail, /did not begin the stream in time/);
  assert.equal(world.live, 0);
  world.clock.advance(MAX_DELAY_MS);
  const second = world.socket;
  world.begin(); // hello, and then nothing
  world.clock.advance(10_000);
  assert.equal(second.readyState, 3);
});

test("stop stays stopped, resume goes on from the cursor, restart begins anew", () => {
  const log = filled(1, 3);
  let start = { earliest: true };
  const { world, model, client } = setup(log, { start: () => start });
  client.run();
  world.serve({ batch: 3 });
  client.stop();
  assert.equal(world.live, 0);
  const sockets = world.sockets.length;
  world.clock.advance(3_600_000);
  client.retryNow();
  assert.equal(world.sockets.length, sockets);
  client.resume();
  assert.equal(world.begin().cursor.partitions[0].nextOffset, "3");
  start = { sinceMs: 1_700_000_000_000 };
  client.restart();
  assert.equal(model.list().length, 0);
  assert.deepEqual(world.begin(), { sinceMs: "1700000000000" });
  assert.equal(world.live, 1);
});
