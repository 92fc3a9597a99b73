// The state of one thread. It changes only with a message that has a sequence
// above the last one, on a base that is known; else it stands still, says why,
// and goes on with the next full state.

import { parse } from "./json.js";
import { apply, fromDiff } from "./patch.js";
import { base64ToHex, base64ToText, clip } from "./text.js";

export const MAX_STATE_BYTES = 10 * 1024 * 1024;
const MAX_TROUBLES = 20;

export class ThreadState {
  constructor() {
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
  }

  // snapshot is the state as it is now. Documents never change in place, so it
  // costs nothing.
  snapshot() {
    return Object.assign(new ThreadState(), this, { troubles: [...this.troubles] });
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
    this.troubles.push({ sequence, reason: why, healed: null });
    if (this.troubles.length > MAX_TROUBLES) this.troubles.shift();
  }

  // install takes a full state as JSON text.
  install(sequence, text, what) {
    let doc;
    try {
      doc = parse(text());
    } catch (e) {
      this.freeze(sequence, `${what} cannot be read: ${e.message}`);
      return false;
    }
    if (this.status === "frozen") this.troubles.at(-1).healed = sequence;
    this.doc = doc;
    this.status = "current";
    this.reason = null;
    this.sequence = sequence;
    this.applied++;
    return true;
  }

  initial(sequence, text) {
    this.install(sequence, () => bounded(text, text.length), "the initial state");
  }

  diff(sequence, diff) {
    if (diff.fullState) {
      this.install(sequence, () => textOf(diff.fullState), "the full state");
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
  }

  // checkpointed takes a checkpoint. One that cannot be read leaves the state
  // alone, and is no base for the diffs that name it.
  checkpointed(sequence, cp) {
    const packed = cp.compressionInfo?.type ?? "COMPRESSION_NONE";
    if (packed !== "COMPRESSION_NONE") return `compressed (${clip(packed, 40)}), not read here`;
    if (!cp.state) return cp.storageUri ? "stored elsewhere" : "empty";
    if (!this.install(sequence, () => textOf(cp.state), "the checkpoint")) return this.reason;
    this.checkpoint = cp.checkpointId ?? null;
    return null;
  }
}

function bounded(text, bytes) {
  if (bytes > MAX_STATE_BYTES) throw new Error(`${bytes} bytes, allowed ${MAX_STATE_BYTES}`);
  return text;
}

// textOf checks the size before it decodes.
function textOf(base64) {
  return base64ToText(bounded(base64, Math.floor((base64.length / 4) * 3)));
}

function idOf(base64) {
  try {
    return clip(base64ToHex(base64), 40);
  } catch {
    return "(unreadable id)";
  }
}
