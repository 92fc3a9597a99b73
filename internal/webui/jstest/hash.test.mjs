import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { canonical, MAX_HASHED, Unprovable } from "../static/hash.js";
import { parse } from "../static/json.js";
import { Model } from "../static/model.js";
import { b64, Log, Producer } from "./world.mjs";

const sha = (bytes) => createHash("sha256").update(bytes).digest();
const digest = async (bytes) => new Uint8Array(sha(bytes)).buffer;
const hashOf = (json) => sha(Buffer.from(canonical(parse(json)))).toString("base64");

// settled waits until every claim was looked at.
async function settled(model) {
  for (let i = 0; i < 1000 && (model.verifier.running || model.verifier.waiting.size > 0); i++) await new Promise((r) => setImmediate(r));
  assert.equal(model.verifier.running, false);
}

test("canonical JSON is that of RFC 8785", () => {
  for (const [source, want] of [
    // Section 3.2.3 and appendix B of the RFC.
    ['{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}',
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'],
    ['{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\ud83d\\ude00":5,"\\u0080":6,"\\u00f6":7}', '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}'],
    ["[ ]", "[]"], ["{ }", "{}"], ["-0.0", "0"], ["10", "10"], ['{"10":1,"9":2}', '{"10":1,"9":2}'],
  ]) {
    if (source.includes("333333333.33333329")) {
      // Its double is another decimal: proven only where nothing was lost.
      assert.throws(() => canonical(parse(source)), Unprovable);
      assert.equal(canonical(parse(source.replace("333333333.33333329", "333333333.3333333"))), want);
      continue;
    }
    assert.equal(canonical(parse(source)), want);
  }
  for (const odd of ["12345678901234567890", "1e400", '"\\ud800"', JSON.stringify("x".repeat(MAX_HASHED + 1))]) assert.throws(() => canonical(parse(odd)), Unprovable, odd.slice(0, 30));
});

function bench({ jcs = true, hasher = digest } = {}) {
  const model = new Model({ digest: hasher ?? undefined });
  const log = new Log(1);
  const p = new Producer("t");
  const put = (...messages) => messages.forEach((m) => model.apply(log.append(0, m)));
  put(p.event("GRAPH_START", { attributes: { initial_state_json: '{"n":0}', ...(jcs ? { hash: "jcs" } : {}) } }));
  const hashed = (m, hash) => {
    m.stateDiff.stateHash = hash;
    return m;
  };
  return { model, p, put, hashed, get state() { return model.list()[0].state; } };
}

test("a state whose hash matches is verified, each that can be", async () => {
  const b = bench();
  assert.deepEqual([b.state.check.right, b.state.check.reason], [false, "no hash came with it"]);
  for (let i = 1; i <= 5; i++) {
    b.put(b.hashed(b.p.diff([{ op: "replace", path: "/n", value: i }]), hashOf(`{"n":${i}}`)));
    await settled(b.model);
    assert.deepEqual([b.state.check.right, b.state.check.sequence, b.state.compared], [true, BigInt(i + 1), i]);
  }
  // Many at once: the last is what counts, and what was not compared is said.
  for (let i = 6; i <= 40; i++) b.put(b.hashed(b.p.diff([{ op: "replace", path: "/n", value: i }]), hashOf(`{"n":${i}}`)));
  await settled(b.model);
  assert.deepEqual([b.state.check.right, b.state.check.sequence, b.state.claims, b.state.status], [true, 41n, 40, "current"]);
  assert.ok(b.state.compared >= 6 && b.state.compared <= 40);
  assert.equal(b.model.verifier.waiting.size, 0);
  // A diff without a hash is unverified again.
  b.put(b.p.diff([{ op: "replace", path: "/n", value: 0 }]));
  assert.deepEqual([b.state.check.right, b.state.check.reason], [false, "no hash came with it"]);
});

test("a state that is proven wrong stands still until a full state", async () => {
  const b = bench();
  b.put(b.hashed(b.p.diff([{ op: "replace", path: "/n", value: 1 }]), hashOf('{"n":2}')));
  await settled(b.model);
  assert.equal(b.state.status, "frozen");
  assert.match(b.state.reason, /^the state of message 2 is not the one that was hashed: SHA-256 sent [0-9a-f]{64}, here [0-9a-f]{64}$/);
  assert.deepEqual([b.state.mismatch.sequence, b.state.compared], [2n, 1]);
  b.put(b.p.diff([{ op: "replace", path: "/n", value: 3 }]));
  assert.equal(b.state.doc.n, 1);
  b.put(b.hashed(b.p.full({ n: 4 }), hashOf('{"n":4}')));
  await settled(b.model);
  assert.deepEqual([b.state.status, b.state.check.right, b.state.troubles.map((t) => t.healed)], ["current", true, [4n]]);

  // The proof comes when a full state has replaced it: recorded, and healed.
  let release;
  const late = bench({ hasher: async (bytes) => { await new Promise((r) => (release = r)); return digest(bytes); } });
  late.put(late.hashed(late.p.diff([{ op: "replace", path: "/n", value: 1 }]), hashOf('{"n":2}')));
  late.put(late.p.full({ n: 9 }));
  release();
  await settled(late.model);
  assert.deepEqual([late.state.status, late.state.mismatch.sequence, late.state.troubles.length, late.state.troubles[0].healed], ["current", 2n, 1, 3n]);
});

test("what cannot be proven is unverified, never wrong", async () => {
  const cases = [
    [{ jcs: false }, '{"n":1.0}', "other", /its hash is not of canonical JSON/],
    [{}, '{"n":12345678901234567890}', "other", /a number that is not a 64-bit float/],
    [{}, `{"n":"${"x".repeat(MAX_HASHED)}"}`, "other", /larger than what is checked/],
    [{ hasher: null }, '{"n":1}', "other", /only on pages that came over HTTPS or from this machine/],
    [{ hasher: async () => { throw new Error("no"); } }, '{"n":1}', "other", /the check failed: no/],
    [{}, '{"n":1}', undefined, /no hash came with it/],
  ];
  for (const [options, json, hash, reason] of cases) {
    const b = bench(options);
    const full = b.p.full({});
    full.stateDiff.fullState = b64(json);
    b.put(b.hashed(full, hash && sha(Buffer.from(hash)).toString("base64")));
    await settled(b.model);
    assert.deepEqual([b.state.status, b.state.check.right, b.state.mismatch], ["current", false, null], String(reason));
    assert.match(b.state.check.reason, reason);
  }
  // Without the word that the hash is canonical, one that matches is still proof.
  const b = bench({ jcs: false });
  b.put(b.hashed(b.p.full({ n: 1 }), hashOf('{"n":1}')));
  await settled(b.model);
  assert.equal(b.state.check.right, true);
});

test("a checkpoint's checksum is of its bytes", async () => {
  for (const good of [true, false]) {
    const b = bench({ jcs: false });
    const json = '{ "n": 1.0 }';
    b.put(b.p.checkpoint("cp", json, { checksum: sha(Buffer.from(good ? json : "{}")).toString("base64") }));
    await settled(b.model);
    assert.deepEqual([b.state.status, b.state.check.right], good ? ["current", true] : ["frozen", false]);
  }
});

test("a check that is done after the run keeps to the run's own last state", async () => {
  let release;
  const b = bench({ hasher: async (bytes) => { await new Promise((r) => (release = r)); return digest(bytes); } });
  b.put(b.hashed(b.p.full({ n: 1 }), hashOf('{"n":1}')), b.p.event("GRAPH_END"));
  b.put(b.p.event("GRAPH_START", { attributes: { initial_state_json: '{"n":0}', hash: "jcs" } }));
  release();
  await settled(b.model);
  const [second, first] = b.model.list();
  assert.deepEqual([first.state.check.right, second.state.check.right], [true, false]);
});

test("threads at once do not disturb each other", async () => {
  const model = new Model({ digest });
  const log = new Log(1);
  const producers = Array.from({ length: 20 }, (_, i) => new Producer(`t-${i}`));
  for (const p of producers) model.apply(log.append(0, p.event("GRAPH_START", { attributes: { initial_state_json: "[]", hash: "jcs" } })));
  for (let n = 0; n < 50; n++) {
    for (const p of producers) {
      const m = p.diff([{ op: "add", path: "/-", value: p.thread }]);
      m.stateDiff.stateHash = hashOf(JSON.stringify(Array(n + 1).fill(p.thread)));
      model.apply(log.append(0, m));
    }
    await new Promise((r) => setImmediate(r));
  }
  await settled(model);
  for (const r of model.list()) assert.deepEqual([r.state.status, r.state.check.right, r.state.mismatch, r.state.check.sequence], ["current", true, null, 51n]);
});
