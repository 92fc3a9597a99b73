// Hashes of states, checked in the page: the canonical JSON of RFC 8785 and its
// SHA-256. What cannot be proven is unverified, with the reason; it is never
// called wrong.

import { isObject, JSONNumber, sameNumber } from "./json.js";
import { base64Size, base64ToBytes } from "./text.js";

// A larger state is not checked: writing it out would hold up the page.
export const MAX_HASHED = 1024 * 1024;

// Unprovable says why a hash cannot be compared.
export class Unprovable extends Error {}

// canonical writes a value as RFC 8785 asks: names in the order of their UTF-16
// units, numbers as JavaScript writes them, no spaces.
export function canonical(value) {
  const parts = [];
  let size = 0;
  const put = (s) => {
    parts.push(s);
    size += s.length;
    if (size > MAX_HASHED) throw new Unprovable("it is larger than what is checked here");
  };
  const string = (s) => {
    if (!s.isWellFormed()) throw new Unprovable("it has text that is not Unicode");
    put(JSON.stringify(s));
  };
  const write = (v) => {
    if (typeof v === "string") return string(v);
    if (v instanceof JSONNumber) return put(float(v));
    if (Array.isArray(v)) {
      put("[");
      v.forEach((x, i) => {
        if (i > 0) put(",");
        write(x);
      });
      return put("]");
    }
    if (!isObject(v)) return put(String(v));
    put("{");
    Object.keys(v).sort().forEach((k, i) => {
      if (i > 0) put(",");
      string(k);
      put(":");
      write(v[k]);
    });
    return put("}");
  };
  write(value);
  return parts.join("");
}

// float is the number as a 64-bit float, if it is one.
function float(number) {
  const n = Number(number.source);
  if (!Number.isFinite(n) || !sameNumber(number, n)) throw new Unprovable("it has a number that is not a 64-bit float");
  return String(n);
}

// Verifier checks the claims that states make about themselves, one at a time
// and only the last of each state that waits: a state is right or wrong as a
// whole, and the work stays bounded however fast changes come.
export class Verifier {
  // digest(bytes) gives a promise of the SHA-256; undefined where the browser has
  // none, which is the case on pages that came over plain HTTP from elsewhere.
  constructor(digest, changed = () => {}) {
    this.digest = digest;
    this.changed = changed;
    this.waiting = new Map();
    this.running = false;
  }

  // check takes a claim: {sequence, base, doc | bytes, hash, exact}.
  check(state, claim) {
    if (this.digest === undefined) {
      state.unverified(claim, "this browser checks hashes only on pages that came over HTTPS or from this machine");
      return;
    }
    this.waiting.set(state, claim);
    if (!this.running) this.run();
  }

  clear() {
    this.waiting.clear();
  }

  async run() {
    this.running = true;
    while (this.waiting.size > 0) {
      const [state, claim] = this.waiting.entries().next().value;
      this.waiting.delete(state);
      try {
        const computed = hex(new Uint8Array(await this.digest(bytesOf(claim))));
        state.verdict(claim, hex(base64ToBytes(claim.hash)), computed);
      } catch (e) {
        state.unverified(claim, e instanceof Unprovable ? e.message : `the check failed: ${e.message}`);
      }
      this.changed();
    }
    this.running = false;
  }
}

function bytesOf(claim) {
  if (claim.bytes === undefined) return new TextEncoder().encode(canonical(claim.doc));
  if (base64Size(claim.bytes) > MAX_HASHED) throw new Unprovable("it is larger than what is checked here");
  return base64ToBytes(claim.bytes);
}

function hex(bytes) {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}
