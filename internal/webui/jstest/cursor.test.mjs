import assert from "node:assert/strict";
import { test } from "node:test";
import { Cursor, CursorError, drop, int64, load, save } from "../static/cursor.js";
import { MemoryStorage } from "./world.mjs";

const cursor = (streamId, partitions) => new Cursor(streamId, new Map(Object.entries(partitions).map(([p, n]) => [Number(p), BigInt(n)])));

test("offsets around and above 2^53 are exact", () => {
  for (const n of ["0", "9007199254740991", "9007199254740993", "4611686018427387904", "9223372036854775807"]) {
    const c = Cursor.parse({ streamId: "s", partitions: [{ partition: 1, nextOffset: n }] });
    assert.equal(c.next.get(1), BigInt(n));
    assert.equal(JSON.parse(JSON.stringify(c)).partitions[0].nextOffset, n);
  }
  assert.throws(() => int64("9223372036854775808"), CursorError);
  assert.throws(() => int64(9007199254740992), CursorError, "a number that may be rounded");
});

test("defaults that ProtoJSON leaves out are read", () => {
  const c = Cursor.parse({ streamId: "s", partitions: [{}] });
  assert.deepEqual([...c.next], [[0, 0n]]);
  assert.deepEqual([...Cursor.parse({ streamId: "s" }).next], []);
});

test("merge moves forward only, partition by partition", () => {
  const c = cursor("s", { 0: 5, 1: 9 });
  assert.equal(c.merge(cursor("s", { 0: 7, 1: 3, 2: 1 })), true);
  assert.deepEqual([...c.next], [[0, 7n], [1, 9n], [2, 1n]]);
  assert.equal(c.merge(cursor("s", { 0: 7, 1: 0 })), false);
  assert.equal(c.merge(cursor("s", {})), false);
  assert.ok(c.covers(0, 6n) && !c.covers(0, 7n) && !c.covers(9, 0n));
});

test("an epoch belongs to the offset that it came with", () => {
  const at = (nextOffset, leaderEpoch) => Cursor.parse({ streamId: "s", partitions: [{ partition: 0, nextOffset, leaderEpoch }] });
  const shown = (c) => JSON.parse(JSON.stringify(c)).partitions[0];
  const c = at("5", 3);
  assert.deepEqual(shown(c), { partition: 0, nextOffset: "5", leaderEpoch: 3 });
  assert.deepEqual(shown(c.clone()), shown(c));
  c.advance(0, 6n); // by a record: its epoch is not known before the batch's cursor
  assert.deepEqual(shown(c), { partition: 0, nextOffset: "6" });
  assert.equal(c.merge(at("6", 4)), true);
  assert.deepEqual(shown(c), { partition: 0, nextOffset: "6", leaderEpoch: 4 });
  assert.equal(c.merge(at("6", 4)), false);
  assert.equal(c.merge(at("6")), false);
  assert.equal(c.merge(at("5", 9)), false);
  assert.deepEqual(shown(c), { partition: 0, nextOffset: "6", leaderEpoch: 4 });
  assert.equal(c.merge(at("7")), true);
  assert.deepEqual(shown(c), { partition: 0, nextOffset: "7" });
  for (const bad of [-1, 1.5, "1", null, 2147483648]) assert.throws(() => at("5", bad), CursorError, String(bad));
});

test("merge refuses another stream and changes nothing", () => {
  const c = cursor("s", { 0: 5 });
  assert.throws(() => c.merge(cursor("t", { 0: 9 })), CursorError);
  assert.deepEqual([...c.next], [[0, 5n]]);
});

test("a stored cursor comes back as it was", () => {
  const storage = new MemoryStorage();
  assert.deepEqual(load(storage), { cursor: null, problem: null });
  const c = cursor("s", { 3: "9007199254740993", 0: 0 });
  assert.ok(save(storage, c));
  assert.equal(JSON.stringify(load(storage).cursor), JSON.stringify(c));
  drop(storage);
  assert.equal(load(storage).cursor, null);
});

test("a stored cursor that is not one is dropped and told", () => {
  const good = { streamId: "s", partitions: [{ partition: 1, nextOffset: "5" }] };
  const bad = [
    "", "{", "null", "[]", "7", '"x"', "{}",
    JSON.stringify({ ...good, streamId: "" }), JSON.stringify({ ...good, streamId: 5 }), JSON.stringify({ ...good, streamId: "x".repeat(65) }),
    JSON.stringify({ ...good, partitions: {} }), JSON.stringify({ ...good, partitions: [null] }), JSON.stringify({ ...good, partitions: ["1"] }),
    ...["-1", "1.5", "1e3", " 5", "5 ", "0x5", "05", "9223372036854775808", 1.5, 1e300, null, true, {}].map((nextOffset) => JSON.stringify({ ...good, partitions: [{ partition: 1, nextOffset }] })),
    ...[-1, 1.5, "1", 2147483648, null === undefined, true].map((partition) => JSON.stringify({ ...good, partitions: [{ partition, nextOffset: "5" }] })),
    JSON.stringify({ ...good, partitions: [{ partition: 1, nextOffset: "5" }, { partition: 1, nextOffset: "6" }] }),
    JSON.stringify({ ...good, partitions: Array.from({ length: 10_001 }, (_, i) => ({ partition: i })) }),
  ];
  for (const text of bad) {
    const storage = new MemoryStorage();
    storage.setItem("dashstream.cursor.v1", text);
    const { cursor: got, problem } = load(storage);
    assert.equal(got, null, text);
    assert.match(problem, /dropped/, text);
    assert.ok(problem.length < 400);
    assert.equal(storage.getItem("dashstream.cursor.v1"), null, "it is gone");
  }
});

test("a storage that fails costs only the resume", () => {
  const broken = {
    getItem() { throw new Error("denied"); },
    setItem() { throw new Error("quota"); },
    removeItem() { throw new Error("denied"); },
  };
  assert.match(load(broken).problem, /denied/);
  assert.equal(save(broken, cursor("s", {})), false);
  drop(broken);
});
