// What the page says of a server that it is connected to, or cannot connect to.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_DELAY_MS } from "../static/client.js";
import { AGAIN_MS, CONNECTED_MS, EVERY_MS, HealthPoll, reasons, statusWords } from "../static/health.js";
import { refusalWords, whyRefused } from "../static/refusal.js";
import { Clock, filled, settle, setup } from "./world.mjs";

const READY = { state: "ready", reasons: [] };
const OUTAGE = { state: "not ready", reasons: ["kafka: dial 127.0.0.1:9092: connection refused"] };

test("health answers: ready, not ready with reasons, unavailable, unknown", async () => {
  const answer = (status, body) => new HealthPoll({ fetch: async () => ({ status, json: async () => body }), changed: () => {} }).ask();
  assert.deepEqual(await answer(200), READY);
  assert.deepEqual(await answer(503, { checks: [{ name: "kafka", ok: false, reason: "refused" }, { name: "fine", ok: true }] }), { state: "not ready", reasons: ["kafka: refused"] });
  assert.deepEqual(await answer(401), { state: "unknown", reasons: [] });
  const down = new HealthPoll({ fetch: async () => { throw new Error("down"); }, changed: () => {} });
  assert.deepEqual(await down.ask(), { state: "unavailable", reasons: [] });
  assert.deepEqual(reasons(null), []);
});

test("reasons are whole, one a line", () => {
  const long = `broker 1 at ${"a".repeat(400)}.example:9092 refuses`;
  const report = { checks: [{ name: "kafka", ok: false, reason: `${long}\npartition 3 has no leader; partition 4 has no leader` }, { name: "process", ok: false, reason: "stopping" }, { name: "disk", ok: false }] };
  assert.deepEqual(reasons(report), [`kafka: ${long}`, "kafka: partition 3 has no leader", "kafka: partition 4 has no leader", "process: stopping", "disk: no reason given"]);
  // An explanation stays in the line of what it explains.
  assert.deepEqual(reasons({ checks: [{ name: "kafka", ok: false, reason: "refused (likely cause: no broker; to do: start one)" }] }), ["kafka: refused (likely cause: no broker; to do: start one)"]);
  const many = reasons({ checks: Array.from({ length: 500 }, (_, i) => ({ ok: false, name: "p", reason: `r${i}` })) });
  assert.deepEqual([many.length, many.at(-1)], [201, "and 300 more"]);
});

test("the server is asked every few seconds while a stream depends on it, and at once when the connection changes", async () => {
  const clock = new Clock();
  let connected = true;
  let asked = 0;
  let answer = () => {};
  const seen = [];
  const poll = new HealthPoll({ after: clock.after, connected: () => connected, changed: (r) => seen.push(r.state), fetch: () => {
    asked++;
    return new Promise((resolve) => {
      answer = (status) => resolve({ status, json: async () => ({}) });
    });
  } });
  const answered = async (status) => {
    answer(status);
    await settle();
  };
  poll.soon();
  await answered(200);
  assert.deepEqual([asked, seen], [1, ["ready"]]);
  clock.advance(CONNECTED_MS);
  assert.equal(asked, 2);
  // Asked meanwhile: one question at a time, and once more after it.
  poll.soon();
  poll.soon();
  assert.equal(asked, 2);
  await answered(503);
  clock.advance(AGAIN_MS);
  assert.equal(asked, 3);
  await answered(200);
  poll.soon();
  assert.equal(asked, 4);
  connected = false;
  await answered(200);
  clock.advance(EVERY_MS - 1);
  assert.equal(asked, 4, "the question that was due before is not asked beside");
  clock.advance(1);
  assert.equal(asked, 5);
  assert.deepEqual(seen, ["ready", "not ready", "ready", "ready"]);
  assert.ok(CONNECTED_MS <= 5_000);
});

test("the status is live only while the server reads", () => {
  assert.deepEqual(statusWords("live", READY), { word: "Live", detail: "", kind: "live" });
  assert.deepEqual(statusWords("live", { state: "unknown", reasons: [] }).word, "Live");
  const out = statusWords("live", OUTAGE);
  assert.deepEqual(out, { word: "Not live", detail: "connected, but the server is not reading: kafka: dial 127.0.0.1:9092: connection refused", kind: "not reading" });
  const replay = statusWords("catching up", OUTAGE);
  assert.deepEqual([replay.word, replay.kind, replay.detail], ["Catching up", "not reading", out.detail]);
  assert.match(statusWords("live", { state: "not ready", reasons: ["process: stopping"] }).detail, /is not ready: process: stopping/);
  assert.match(statusWords("live", { state: "not ready", reasons: [] }).detail, /no reason given/);
  assert.notEqual(statusWords("live", { state: "unavailable", reasons: [] }).word, "Live");
  assert.deepEqual(statusWords("catching up", READY), { word: "Catching up", detail: "", kind: "catching up" });
});

test("a server that has nothing to read yet is not called one that refuses with 204", async () => {
  const ask = (answers) => {
    const asked = [];
    return { asked, ask: async (path) => (asked.push(path), answers[path]) };
  };
  const notYet = ask({ "/v1/session": 204, "/ws": 503 });
  assert.deepEqual([await whyRefused(notYet.ask), notYet.asked], [503, ["/v1/session", "/ws"]]);
  for (const status of [0, 401, 403]) {
    const refused = ask({ "/v1/session": status });
    assert.deepEqual([await whyRefused(refused.ask), refused.asked], [status, ["/v1/session"]]);
  }
  assert.match(refusalWords(503), /cannot read the stream yet/);
  assert.match(refusalWords(426), /WebSocket could not be opened/);
  for (const [status, words] of [[0, "cannot be reached"], [403, "--allowed-origins"], [429, "too many connections"], [500, "HTTP 500"]]) assert.ok(refusalWords(status).includes(words));

  const { world, client } = setup(filled(1, 1), { status: 503 });
  client.run();
  world.socket.drop();
  await settle();
  assert.deepEqual([client.status, client.detail, client.refusal], ["waiting", refusalWords(503), 503]);
  client.retryNow();
  assert.deepEqual([client.status, client.detail], ["connecting", refusalWords(503)]);
  world.socket.drop();
  await settle();
  // What was refused before says nothing of a connection that was made and broke.
  world.clock.advance(MAX_DELAY_MS);
  world.serve();
  world.socket.drop();
  assert.deepEqual([client.refusal, client.detail], [undefined, "the connection broke"]);
});
