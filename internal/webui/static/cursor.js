// The position of this page in the stream: the next offset to read, by
// partition, and the leader epoch that the server gave with it. Offsets are BigInt
// everywhere: they are 64-bit integers.

export class CursorError extends Error {}

const MAX_INT64 = (1n << 63n) - 1n;
const MAX_PARTITIONS = 10_000;

// int64 reads a 64-bit integer of ProtoJSON: a decimal string, or a number that
// is exact. A default is left out.
export function int64(v, what = "integer") {
  if (v === undefined) return 0n;
  const exact = typeof v === "string" ? /^-?(?:0|[1-9][0-9]{0,18})$/.test(v) : Number.isSafeInteger(v);
  if (!exact) throw new CursorError(`${what}: want a decimal 64-bit integer`);
  const n = BigInt(v);
  if (n > MAX_INT64 || n < -MAX_INT64 - 1n) throw new CursorError(`${what}: beyond 64 bits`);
  return n;
}

// offset reads a position: 0 or more.
export function offset(v, what = "offset") {
  const n = int64(v, what);
  if (n < 0n) throw new CursorError(`${what}: want 0 or more`);
  return n;
}

export function partition(v, what = "partition") {
  const n = v ?? 0;
  if (!Number.isInteger(n) || n < 0 || n > 0x7fffffff) throw new CursorError(`${what}: want an integer from 0`);
  return n;
}

// leaderEpoch reads an epoch, which may be missing.
function leaderEpoch(v, what) {
  if (v === undefined) return undefined;
  if (!Number.isInteger(v) || v < 0 || v > 0x7fffffff) throw new CursorError(`${what}: want an integer from 0`);
  return v;
}

export class Cursor {
  constructor(streamId, next = new Map(), epochs = new Map()) {
    this.streamId = streamId;
    this.next = next;
    this.epochs = epochs;
  }

  // parse reads a Cursor of ProtoJSON, strictly: a part that is wrong makes the
  // whole useless.
  static parse(json) {
    if (typeof json !== "object" || json === null || Array.isArray(json)) throw new CursorError("cursor: want an object");
    const { streamId, partitions = [] } = json;
    if (typeof streamId !== "string" || streamId === "" || streamId.length > 64) throw new CursorError("cursor.streamId: want 1 to 64 characters");
    if (!Array.isArray(partitions) || partitions.length > MAX_PARTITIONS) throw new CursorError(`cursor.partitions: want a list of at most ${MAX_PARTITIONS}`);
    const cursor = new Cursor(streamId);
    partitions.forEach((p, i) => {
      if (typeof p !== "object" || p === null) throw new CursorError(`cursor.partitions[${i}]: want an object`);
      const id = partition(p.partition, `cursor.partitions[${i}].partition`);
      if (cursor.next.has(id)) throw new CursorError(`cursor.partitions[${i}].partition: ${id} is listed twice`);
      cursor.set(id, offset(p.nextOffset, `cursor.partitions[${i}].nextOffset`), leaderEpoch(p.leaderEpoch, `cursor.partitions[${i}].leaderEpoch`));
    });
    return cursor;
  }

  // set puts a partition at an offset. An epoch belongs to one offset alone.
  set(p, n, epoch) {
    this.next.set(p, n);
    if (epoch === undefined) this.epochs.delete(p);
    else this.epochs.set(p, epoch);
  }

  // merge moves each partition forward, never back, and reports whether any
  // changed. Offsets of another stream mean nothing here.
  merge(other) {
    if (other.streamId !== this.streamId) throw new CursorError(`a cursor of stream ${other.streamId} in stream ${this.streamId}`);
    let changed = false;
    for (const [p, n] of other.next) {
      const at = this.next.get(p);
      const epoch = other.epochs.get(p);
      // The records of a batch were counted one by one before its cursor came.
      const told = at === n && epoch !== undefined && epoch !== this.epochs.get(p);
      if (at !== undefined && at >= n && !told) continue;
      this.set(p, n, epoch);
      changed = true;
    }
    return changed;
  }

  // learn takes over the partitions that this cursor lacks.
  learn(other) {
    for (const [p, n] of other.next) if (!this.next.has(p)) this.set(p, n, other.epochs.get(p));
  }

  // advance moves one partition forward.
  advance(p, n) {
    const at = this.next.get(p);
    if (at !== undefined && at >= n) return false;
    this.set(p, n);
    return true;
  }

  // covers reports whether the record was already applied.
  covers(p, o) {
    const at = this.next.get(p);
    return at !== undefined && o < at;
  }

  clone() {
    return new Cursor(this.streamId, new Map(this.next), new Map(this.epochs));
  }

  // toJSON gives ProtoJSON, partitions in order.
  toJSON() {
    const partitions = [...this.next]
      .sort(([a], [b]) => a - b)
      .map(([p, n]) => ({ partition: p, nextOffset: String(n), leaderEpoch: this.epochs.get(p) }));
    return { streamId: this.streamId, partitions };
  }
}

const KEY = "dashstream.cursor.v1";

// load reads the cursor of this tab. A stored cursor that is not one is dropped,
// and the problem told: the page must come up whatever was stored.
export function load(storage) {
  let text;
  try {
    text = storage.getItem(KEY);
  } catch (e) {
    return { cursor: null, problem: `the tab's storage cannot be read: ${e.message}` };
  }
  if (text === null) return { cursor: null, problem: null };
  try {
    return { cursor: Cursor.parse(JSON.parse(text)), problem: null };
  } catch (e) {
    drop(storage);
    return { cursor: null, problem: `the stored position was dropped: ${e.message}` };
  }
}

// save stores the cursor and reports whether that worked: a full or forbidden
// storage costs only the resume after a reload.
export function save(storage, cursor) {
  try {
    storage.setItem(KEY, JSON.stringify(cursor));
    return true;
  } catch {
    return false;
  }
}

export function drop(storage) {
  try {
    storage.removeItem(KEY);
  } catch {
    // A storage that refuses holds nothing either.
  }
}
