// What the page knows: a function of the records that were applied, in order,
// and of nothing else. Bounded in every direction.

import { strictNumber } from "./attributes.js";
import { Cursor } from "./cursor.js";
import { severity } from "./errors.js";
import { Verifier } from "./hash.js";
import { describe, join, KINDS, MAX_NAME, operations, values } from "./log.js";
import { Run } from "./run.js";
import { base64Size, base64ToText, clip } from "./text.js";
import { Thread } from "./thread.js";

export const MAX_RUNS = 200;
// About how many characters all runs and states together may hold.
export const MAX_WEIGHT = 128 * 1024 * 1024;
const MAX_UNREADABLE = 100;
const MAX_QUALITY = 20;
const MAX_RUN_GAPS = 20;

// ApplyError is a record that this page cannot apply.
export class ApplyError extends Error {}

export class Model {
  // digest gives the SHA-256 of bytes, as a promise; without it no hash is
  // checked. verified is called after a check.
  constructor({ maxRuns = MAX_RUNS, maxWeight = MAX_WEIGHT, digest, verified } = {}) {
    this.maxRuns = maxRuns;
    this.maxWeight = maxWeight;
    this.verifier = new Verifier(digest, verified);
    this.revision = 0;
    // How many times it was cleared.
    this.views = 0;
    this.clear();
  }

  // clear forgets everything: the stream is another one, or the view begins
  // anew.
  clear() {
    this.threads = new Map();
    // By arrival of the last message, oldest first: the order of eviction.
    this.runs = new Map();
    this.started = 0;
    this.weight = 0;
    this.verifier.clear();
    // When the newest record was heard of, in milliseconds since 1970.
    this.newestMs = 0;
    this.records = 0;
    this.messages = 0;
    this.duplicates = 0;
    this.unknownTypes = 0;
    this.evicted = 0;
    this.views++;
    this.unreadable = { count: 0, last: [] };
    this.revision++;
  }

  // apply takes one record. When it throws, the message that failed counts as
  // not applied: the record may be tried again, and messages of it that went
  // through before are known by their ids.
  apply(record) {
    if (record.error !== undefined && record.error !== null) {
      this.cannotRead(record, String(record.error.reason ?? "unknown"), String(record.error.detail ?? ""), record.error.valueBytes);
      this.records++;
      this.revision++;
      return;
    }
    const messages = messagesOf(record.message);
    this.newestMs = Math.max(this.newestMs, heard(record));
    for (const m of messages) this.message(record, m);
    this.records++;
    this.revision++;
  }

  // cannotRead notes a record that has no message: bounded, without its bytes.
  cannotRead(record, reason, detail, bytes) {
    this.unreadable.count++;
    this.unreadable.last.push({ partition: record.partition, offset: record.offset, reason: clip(reason, 60), detail: clip(detail, 300), bytes });
    if (this.unreadable.last.length > MAX_UNREADABLE) this.unreadable.last.shift();
    this.revision++;
  }

  message(record, { kind, body }) {
    const header = body.header ?? {};
    const sequence = uint64(header.sequence);
    const thread = this.thread(header, record);
    if (header.messageId && thread.ids.has(header.messageId)) {
      this.duplicates++;
      return;
    }
    const type = kind === "event" ? eventType(body.eventType) : "";
    const us = timestamp(header.timestampUs);
    const anew = thread.countsAnew(record.epoch, sequence, type, us);
    const id = thread.idOf(header, kind, sequence, thread.restarts + (anew ? 1 : 0));
    if (thread.ids.has(id)) {
      this.duplicates++;
      return;
    }

    // Where the thread stands: "next" continues it, "after" leaves messages out,
    // "late" comes behind one that was applied, "none" has no place in it.
    const fresh = anew || !thread.joined;
    if (anew) thread.restart(record.epoch);
    else thread.epoch ??= record.epoch;
    const last = thread.last;
    let place = "none";
    if (sequence > 0n) place = sequence === last + 1n ? "next" : sequence > last ? "after" : "late";

    const starts = type === "GRAPH_START" && place !== "late";
    const beginning = starts ? "start" : fresh && sequence === 1n ? "thread" : "middle";
    const run = this.runOf(thread, record, beginning, header.parentId);
    const before = run.weight + thread.weight;
    const entry = { us, sequence, partition: record.partition, offset: record.offset, kind: KINDS[kind] ?? kind, type, node: clip(body.nodeId ?? "", MAX_NAME), text: "", late: place === "late" };
    if (anew) {
      if (!starts) run.restarts++;
      run.log.note({ ...entry, sequence: 0n, kind: "new count", type: "", node: "", text: NEW_COUNT });
    }
    try {
      if (place === "after") {
        if (last === 0n && !thread.joined) thread.state.freeze(sequence, "the view begins in the middle of the thread: waiting for a full state");
        else thread.state.freeze(sequence, `messages ${last + 1n} to ${sequence - 1n} of the thread are missing`);
      }
      entry.text = this.effect(thread, run, kind, type, body, { sequence, place, us });
    } catch (e) {
      // What the message changed before it failed is not known.
      thread.state.freeze(sequence, `message ${sequence} could not be applied`);
      run.revision++;
      this.weigh(run, thread, before);
      throw e;
    }

    this.messages++;
    if (id !== "") thread.ids.add(id, run);
    if (place === "next" || place === "after") thread.last = sequence;
    if (place === "after" && (last > 0n || thread.joined)) run.missing += sequence - last - 1n;
    if (place !== "none") thread.joined = true;
    if (place === "late") run.late++;
    else if (us !== undefined) run.lastUs = thread.lastUs = us;
    if (kind === "tokenChunk") run.log.chunk(entry, body.isFinal === true);
    else run.log.note(entry);
    run.revision++;
    if (id !== "") {
      run.lastId = id;
      if (starts) run.startId = id;
    }
    this.weigh(run, thread, before);
  }

  // weigh counts what a message added, and lets the oldest runs go when all
  // together hold too much.
  weigh(run, thread, before) {
    this.weight += run.weight + thread.weight - before;
    while (this.weight > this.maxWeight && this.runs.size > 1) this.evict(this.runs.values().next().value);
  }

  // find returns the run of a view before this one that is the same run here, or
  // null: one that has a message of it, or, where none was read again, the one
  // that goes on with its thread.
  find({ thread: { key }, startId, lastId, over }) {
    const thread = this.threads.get(key);
    if (thread === undefined) return null;
    let run = thread.ids.runOf(startId) ?? thread.ids.runOf(lastId);
    if (run === undefined && !over) run = [...this.runs.values()].find((r) => r.thread === thread && r.ordinal === 1 && r.beginning !== "start");
    return run !== undefined && this.runs.has(run.id) ? run : null;
  }

  // effect changes the run and its state, and returns the text for the log.
  effect(thread, run, kind, type, body, { sequence, place, us }) {
    const late = place === "late";
    switch (kind) {
      case "event":
        if (!late) {
          run.event(type, body, us);
          if (type === "GRAPH_START") initialState(thread, run, sequence, body.attributes);
        }
        return describe(type, body.attributes);
      case "tokenChunk":
        if (!late) run.chunk(body);
        return join(body.model, body.isFinal ? "final" : "", body.stats?.totalTokens > 0 ? `${body.stats.totalTokens} tokens` : "");
      case "toolExecution":
        if (!late) run.toolExecution(body, preview);
        return join(body.toolName, short(body.stage, "EXECUTION_STAGE_")?.toLowerCase(), body.error);
      case "stateDiff":
        return this.stateMessage(thread, place, sequence, () => {
          thread.state.diff(sequence, body);
          return body.fullState ? `full state, ${base64Size(body.fullState)} bytes` : operations(body);
        });
      case "checkpoint":
        return this.stateMessage(thread, place, sequence, () => {
          const unusable = thread.state.checkpointed(sequence, body);
          return unusable === null ? "installed" : clip(unusable, MAX_NAME);
        });
      case "metrics":
        if (!late && body.scope === "quality") quality(run, body.metrics);
        if (body.tags?.demo === "true") run.demo = true;
        return values(body);
      case "error":
        if (!late) reportedError(thread, run, sequence, us, body);
        return join(severity(body) === "error" ? "" : severity(body), body.errorCode, body.message);
      case "executionTrace":
        if (body.metadata?.demo === DEMO) run.demo = true;
        return `${(body.nodesExecuted ?? []).length} nodes, ${body.totalDurationMs ?? 0} ms, ${body.completed ? "completed" : "not completed"}`;
      default:
        this.unknownTypes++;
        return "unknown message type";
    }
  }

  // stateMessage guards the state: only a message in sequence may change it.
  stateMessage(thread, place, sequence, change) {
    if (place === "none") {
      thread.state.freeze(sequence, "a state message without a sequence");
      return "ignored: no sequence";
    }
    if (place === "late") {
      thread.state.freeze(sequence, `state message ${sequence} came after message ${thread.last}`);
      return "ignored: late";
    }
    return change();
  }

  thread(header, record) {
    const tenant = clip(header.tenantId ?? "", MAX_NAME);
    const id = clip(header.threadId ?? "", MAX_NAME);
    const key = `${tenant}\u0000${id}`;
    let thread = this.threads.get(key);
    if (thread === undefined) {
      thread = new Thread(key, tenant, id, record.partition, (state, claim) => this.verifier.check(state, claim));
      this.threads.set(key, thread);
    }
    // It moves when the topic gets more partitions.
    thread.partition = record.partition;
    return thread;
  }

  // runOf returns the run that a message belongs to, and makes it the last one
  // to be evicted. A thread can have several runs under way: a message whose
  // parent is known belongs to the parent's run, any other to the last begun.
  runOf(thread, record, beginning, parentId) {
    let run = thread.ids.runOf(parentId) ?? thread.current;
    if (run !== null && !this.runs.has(run.id)) run = thread.current;
    if (run === null || beginning === "start") {
      if (thread.current !== null) {
        const before = thread.current.weight;
        thread.current.leave();
        this.weight += thread.current.weight - before;
      }
      run = new Run(thread, ++thread.ordinal, record, beginning);
      run.arrival = ++this.started;
      thread.current = run;
      thread.runs++;
    } else if (run !== thread.current) {
      run.revive();
    }
    run.heardMs = Math.max(run.heardMs, heard(record));
    this.runs.delete(run.id);
    this.runs.set(run.id, run);
    while (this.runs.size > this.maxRuns) this.evict(this.runs.values().next().value);
    return run;
  }

  evict(run) {
    this.runs.delete(run.id);
    this.evicted++;
    const thread = run.thread;
    this.weight -= run.weight;
    if (thread.current === run) thread.current = null;
    if (--thread.runs > 0) return;
    this.threads.delete(thread.key);
    this.weight -= thread.weight;
  }

  // gap notes records that will not come. Every run of the partition whose end
  // was not seen is affected: it may have been among them.
  gap({ partition, from, to, reason }) {
    const why = `records ${from} to ${to - 1n} of partition ${partition} are lost`;
    for (const thread of this.threads.values()) {
      if (thread.partition === partition) thread.state.freeze(thread.last, why);
    }
    for (const run of this.runs.values()) {
      if (run.thread.partition !== partition || run.status === "ended" || run.status === "failed") continue;
      run.gaps.push({ from, to, reason });
      if (run.gaps.length > MAX_RUN_GAPS) run.gaps.shift();
      run.revision++;
    }
    this.revision++;
  }

  // list returns the runs, newest arrival first.
  list() {
    return [...this.runs.values()].sort((a, b) => b.arrival - a.arrival);
  }

  // rebuildFrom is the cursor from which a page without memory gets the same
  // view: in each partition the first record of the oldest run that is kept, or
  // the position itself.
  rebuildFrom(cursor) {
    const next = new Map(cursor.next);
    for (const run of this.runs.values()) {
      const at = next.get(run.partition);
      if (at === undefined || run.firstOffset < at) next.set(run.partition, run.firstOffset);
    }
    return new Cursor(cursor.streamId, next, new Map(cursor.epochs));
  }
}

const NEW_COUNT = "sequences begin at 1 again: the producer was restarted, or the thread was idle";
// base64 of "true": a demo says so in the metadata of an ExecutionTrace.
const DEMO = "dHJ1ZQ==";

// heard is when a record came: by the clock of who applied it, else by its own
// timestamp.
function heard(record) {
  return record.heardMs ?? record.timestampMs ?? 0;
}

// messagesOf returns the messages in a record: one, or the events of a batch.
function messagesOf(message) {
  if (typeof message !== "object" || message === null) throw new ApplyError("a record has neither message nor error");
  const kinds = Object.keys(message);
  if (kinds.length !== 1) throw new ApplyError(`a message of ${kinds.length} kinds, want 1`);
  const kind = kinds[0];
  const body = message[kind];
  if (typeof body !== "object" || body === null) throw new ApplyError(`${clip(kind, 40)}: want an object`);
  if (kind === "eventBatch") return (body.events ?? []).map((e) => ({ kind: "event", body: e }));
  return [{ kind: Object.hasOwn(KINDS, kind) ? kind : `unknown: ${clip(kind, 40)}`, body }];
}

function eventType(v) {
  return short(v ?? "EVENT_TYPE_UNSPECIFIED", "EVENT_TYPE_");
}

function short(v, prefix) {
  if (v === undefined) return undefined;
  return clip(String(v), 60).replace(prefix, "");
}

function uint64(v) {
  if (v === undefined) return 0n;
  if (typeof v !== "string" || !/^(?:0|[1-9][0-9]{0,19})$/.test(v)) throw new ApplyError("header.sequence: want a decimal 64-bit integer");
  return BigInt(v);
}

function timestamp(v) {
  if (typeof v !== "string" || !/^-?[1-9][0-9]{0,18}$/.test(v)) return undefined;
  return BigInt(v);
}

// preview shows the beginning of bytes that should be JSON text.
function preview(base64) {
  const most = 4000;
  const part = base64.slice(0, Math.ceil((most * 4) / 3 / 4) * 4);
  try {
    return clip(base64ToText(part), most);
  } catch {
    // The cut may have split a character, or the bytes are no text.
    try {
      return new TextDecoder("utf-8").decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0)));
    } catch {
      return "(not text)";
    }
  }
}

// initialState takes the state that a run begins with. One that is announced and
// not there leaves what was known before out of date.
function initialState(thread, run, sequence, attributes) {
  run.startSequence = sequence;
  thread.state.canonical = attributes?.hash?.stringValue === "jcs";
  const initial = attributes?.initial_state_json;
  if (initial === undefined || sequence === 0n) return;
  if (typeof initial.stringValue === "string") thread.state.initial(sequence, initial.stringValue);
  else thread.state.freeze(sequence, "the initial state was too large to be sent");
}

function reportedError(thread, run, sequence, us, body) {
  // It stands in the place of a state that could not be sent.
  if (body.errorCode === "state_unavailable") thread.state.freeze(sequence, clip(body.message ?? body.errorCode, 1000));
  run.reported(body, sequence, us);
}

function quality(run, metrics) {
  for (const [name, v] of Object.entries(metrics ?? {})) {
    if (run.quality.size >= MAX_QUALITY && !run.quality.has(name)) continue;
    const value = typeof v?.boolValue === "boolean" ? v.boolValue : strictNumber(v?.floatValue ?? v?.intValue);
    if (value !== undefined) run.quality.set(clip(name, 60), value);
  }
}
