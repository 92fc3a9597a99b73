// The state of one thread. It changes only with a message that has a sequence
// above the last one, on a base that is known; else it stands still, says why,
// and goes on with the next full state. What a producer says of its hash is
// checked beside that, and a state that is proven wrong stands still too.

import { parse } from "./json.js";
import { apply, fromDiff } from "./patch.js";
import { base64Size, base64ToHex, base64ToText, clip } from "./text.js";

export const MAX_STATE_BYTES = 10 * 1024 * 1024;
const MAX_TROUBLES = 20;

export class ThreadState {
  // onClaim(state, claim) is told of each state that came with a hash.
  constructor(onClaim = () => {}) {
    this.onClaim = onClaim;
    // "none": no full state was seen; "current"; "frozen": doc is the last state
    // that was known to be right.
    this.status = "none";
    this.reason = "no full state was seen yet";
    this.doc = undefined;
    this.sequence = 0n;
    this.applied = 0;
    this.skipped = 0;
    // What went wrong, oldest first, and whether it was healed since.
    this.troubles = [];
    this.checkpoint = null;
    // The full state that doc was made from, counted.
    this.base = 0;
    // About how many characters it holds.
    this.weight = 0;
    // Whether the producer says that its hashes are of canonical JSON (RFC 8785).
    this.canonical = false;
    // The newest check that is done: {serial, sequence, right, reason}; reason is
    // null where the hash matched. How many states there were, how many came with
    // a hash, how many of these were compared, and the first proven wrong.
    this.check = { serial: 0, sequence: 0n, right: false, reason: "no hash came with it" };
    this.states = 0;
    this.claims = 0;
    this.compared = 0;
    this.mismatch = null;
  }

  // snapshot is the state as it is now. Documents never change in place, so it
  // costs nothing.
  snapshot() {
    return Object.assign(new ThreadState(), this, { troubles: this.troubles.map((t) => ({ ...t })) });
  }

  // freeze stops the state. Without a base there is nothing to freeze.
  freeze(sequence, reason) {
    const why = clip(reason, 300);
    if (this.status === "none") {
      this.reason = why;
      return;
    }
    if (this.status === "frozen") return;
    this.status = "frozen";
    this.reason = why;
    this.trouble(sequence, why, null);
  }

  // outdate stops the state where nothing went wrong, but what is known is of
  // before.
  outdate(reason) {
    this.reason = reason;
    if (this.status === "current") this.status = "frozen";
  }

  // install takes a full state as JSON text of about size characters.
  install(sequence, size, text, what) {
    let doc;
    try {
      doc = parse(text());
    } catch (e) {
      this.freeze(sequence, `${what} cannot be read: ${e.message}`);
      return false;
    }
    const open = this.troubles.findLast((t) => t.healed === null);
    if (open !== undefined) open.healed = sequence;
    this.doc = doc;
    this.weight = size;
    this.base++;
    this.status = "current";
    this.reason = null;
    this.sequence = sequence;
    this.applied++;
    return true;
  }

  initial(sequence, text) {
    if (this.install(sequence, text.length, () => bounded(text, text.length), "the initial state")) this.claim({}, undefined);
  }

  // claim notes what came with the state as it is now: a hash, or none. exact
  // says that a hash which differs proves the state wrong.
  claim(of, hash, exact = false) {
    const claim = { serial: ++this.states, sequence: this.sequence, base: this.base, doc: this.doc, ...of, hash, exact };
    if (!hash) {
      this.unverified(claim, "no hash came with it");
      return;
    }
    this.claims++;
    this.onClaim(this, claim);
  }

  unverified(claim, reason) {
    if (claim.serial >= this.check.serial) this.check = { serial: claim.serial, sequence: claim.sequence, right: false, reason };
  }

  // verdict compares the hash that was sent with the one of the state.
  verdict(claim, sent, computed) {
    if (sent === computed) {
      this.compared++;
      if (claim.serial >= this.check.serial) this.check = { serial: claim.serial, sequence: claim.sequence, right: true, reason: null };
      return;
    }
    if (!claim.exact) {
      this.unverified(claim, "its hash is not of canonical JSON (RFC 8785), or the producer does not say so");
      return;
    }
    this.compared++;
    const reason = `the state of message ${claim.sequence} is not the one that was hashed: SHA-256 sent ${clip(sent, 65)}, here ${computed}`;
    this.mismatch ??= { sequence: claim.sequence, sent: clip(sent, 65), computed };
    this.unverified(claim, "its hash is another one");
    // A full state that came since is not made from this one.
    if (claim.base === this.base) this.freeze(claim.sequence, reason);
    else this.trouble(claim.sequence, reason, this.sequence);
  }

  trouble(sequence, reason, healed) {
    this.troubles.push({ sequence, reason, healed });
    if (this.troubles.length > MAX_TROUBLES) this.troubles.shift();
  }

  diff(sequence, diff) {
    if (diff.fullState) {
      if (this.install(sequence, diff.fullState.length, () => textOf(diff.fullState), "the full state")) this.claim({}, diff.stateHash, this.canonical);
      return;
    }
    if (this.status !== "current") {
      this.skipped++;
      return;
    }
    const base = diff.baseCheckpointId ?? "";
    if (base !== "" && base !== this.checkpoint) {
      this.skipped++;
      this.freeze(sequence, `its base, checkpoint ${idOf(base)}, is not known here`);
      return;
    }
    try {
      this.doc = apply(this.doc, fromDiff(diff.operations ?? []));
    } catch (e) {
      this.skipped++;
      this.freeze(sequence, e.message);
      return;
    }
    this.sequence = sequence;
    this.applied++;
    for (const o of diff.operations ?? []) this.weight += (o.value ?? "").length;
    this.claim({}, diff.stateHash, this.canonical);
  }

  // checkpointed takes a checkpoint. One that cannot be read leaves the state
  // alone, and is no base for the diffs that name it.
  checkpointed(sequence, cp) {
    const packed = cp.compressionInfo?.type ?? "COMPRESSION_NONE";
    if (packed !== "COMPRESSION_NONE") return `compressed (${clip(packed, 40)}), not read here`;
    if (!cp.state) return cp.storageUri ? "stored elsewhere" : "empty";
    if (!this.install(sequence, cp.state.length, () => textOf(cp.state), "the checkpoint")) return this.reason;
    this.checkpoint = cp.checkpointId ?? null;
    if (cp.metadata?.hash === "jcs") this.canonical = true;
    // A checksum is of the bytes themselves, whatever wrote them.
    this.claim({ bytes: cp.state }, cp.checksum, true);
    return null;
  }
}

function bounded(text, bytes) {
  if (bytes > MAX_STATE_BYTES) throw new Error(`${bytes} bytes, allowed ${MAX_STATE_BYTES}`);
  return text;
}

// textOf checks the size before it decodes.
function textOf(base64) {
  return base64ToText(bounded(base64, base64Size(base64)));
}

function idOf(base64) {
  try {
    return clip(base64ToHex(base64), 40);
  } catch {
    return "(unreadable id)";
  }
}
