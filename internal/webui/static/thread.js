// One thread: where its producer's count stands, and what was seen of it.

import { ThreadState } from "./state.js";

const MAX_IDS = 4096;
// What an id takes in memory, in characters.
const ID = 60;

// IdWindow remembers the last message ids of a thread and the run of each: about
// twice as many as MAX_IDS, forgotten in halves so that a look costs the same
// always.
class IdWindow {
  constructor() {
    this.young = new Map();
    this.old = new Map();
  }

  get weight() {
    return (this.young.size + this.old.size) * ID;
  }

  has(id) {
    return this.young.has(id) || this.old.has(id);
  }

  runOf(id) {
    return this.young.get(id) ?? this.old.get(id);
  }

  add(id, run) {
    this.young.set(id, run);
    if (this.young.size >= MAX_IDS) {
      this.old = this.young;
      this.young = new Map();
    }
  }
}

export class Thread {
  constructor(key, tenant, id, partition, onClaim) {
    this.key = key;
    this.tenant = tenant;
    this.id = id;
    this.partition = partition;
    this.last = 0n;
    this.lastUs = undefined;
    // Whether a message with a sequence was applied: before that, what is missing
    // lies before the view.
    this.joined = false;
    // The epoch that the producer last announced, and how many times its count
    // began anew in this view.
    this.epoch = undefined;
    this.restarts = 0;
    this.ids = new IdWindow();
    this.state = new ThreadState(onClaim);
    this.current = null;
    this.ordinal = 0;
    this.runs = 0;
  }

  // weight is about how many characters it holds, without its runs.
  get weight() {
    return this.state.weight + this.ids.weight;
  }

  // countsAnew reports whether a message begins a new count of sequences. A
  // producer announces that with an epoch on the first records of its count, so
  // an epoch after records without one is a new one as well. Without an epoch it
  // shows only as the first message of a thread, or of a run, that is younger
  // than all that was seen.
  countsAnew(epoch, sequence, type, us) {
    if (epoch !== undefined) return this.joined && epoch !== this.epoch;
    if (sequence === 0n || sequence > this.last) return false;
    if (sequence !== 1n && type !== "GRAPH_START") return false;
    return us !== undefined && this.lastUs !== undefined && us > this.lastUs;
  }

  // restart begins a new count.
  restart(epoch) {
    this.state.outdate("the producer began to count anew: waiting for a full state");
    this.epoch = epoch;
    this.restarts++;
    this.last = 0n;
    this.joined = true;
  }

  // idOf is what a message is known by: its id, else its place in the count.
  idOf(header, kind, sequence, restarts) {
    return header.messageId || (sequence > 0n ? `${restarts} ${kind} ${sequence}` : "");
  }
}
