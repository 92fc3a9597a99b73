// The outside of the page for its tests: a clock that stands until it is moved,
// a storage, sockets, and a log that serves them like a gateway does.

import { Client } from "../static/client.js";
import { Model } from "../static/model.js";

export class MemoryStorage {
  constructor() {
    this.items = new Map();
  }
  getItem(k) {
    return this.items.has(k) ? this.items.get(k) : null;
  }
  setItem(k, v) {
    this.items.set(k, String(v));
  }
  removeItem(k) {
    this.items.delete(k);
  }
}

export class Clock {
  constructor() {
    this.time = 0;
    this.timers = [];
    this.serial = 0;
  }
  now = () => this.time;
  after = (ms, fn) => {
    const timer = { at: this.time + ms, fn, serial: this.serial++ };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((t) => t !== timer);
    };
  };
  // advance fires what is due, in order, each at its time.
  advance(ms) {
    const end = this.time + ms;
    for (;;) {
      const due = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at || a.serial - b.serial)[0];
      if (due === undefined) break;
      this.timers = this.timers.filter((t) => t !== due);
      this.time = Math.max(this.time, due.at);
      due.fn();
    }
    this.time = end;
  }
}

// Socket is the browser's end of a connection.
export class Socket {
  constructor(protocols) {
    this.protocols = protocols;
    this.sent = [];
    this.readyState = 0;
  }
  open() {
    this.readyState = 1;
    this.onopen?.({});
  }
  send(text) {
    if (this.readyState === 0) throw new Error("InvalidStateError");
    this.sent.push(JSON.parse(text));
    this.onsend?.(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
    this.onclosed?.();
  }
  // The server's side.
  give(frame) {
    this.onmessage?.({ data: typeof frame === "object" && Object.getPrototypeOf(frame) === Object.prototype ? JSON.stringify(frame) : frame });
  }
  drop(code = 1006, reason = "") {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

export const b64 = (text) => Buffer.from(text).toString("base64");

// Producer writes messages of one thread as the gateway gives them.
export class Producer {
  constructor(thread, { tenant = "default", start = 1n } = {}) {
    this.thread = thread;
    this.tenant = tenant;
    this.next = start;
    this.us = 1_700_000_000_000_000n;
  }
  header(extra = {}) {
    const sequence = this.next++;
    this.us += 1000n;
    return { messageId: b64(`${this.thread}/${sequence}`), timestampUs: String(this.us), tenantId: this.tenant, threadId: this.thread, sequence: String(sequence), ...extra };
  }
  event(type, { node, attributes, duration, request, header } = {}) {
    const e = { header: this.header(header), eventType: `EVENT_TYPE_${type}` };
    if (node) e.nodeId = node;
    if (duration) e.durationUs = String(duration);
    if (request) e.llmRequestId = request;
    if (attributes) e.attributes = Object.fromEntries(Object.entries(attributes).map(([k, v]) => [k, attribute(v)]));
    return { event: e };
  }
  full(state, header) {
    return { stateDiff: { header: this.header(header), fullState: b64(JSON.stringify(state)) } };
  }
  diff(operations, extra = {}) {
    return {
      stateDiff: {
        header: this.header(extra.header),
        operations: operations.map(({ op, path, value, from }) => ({
          ...(op === "add" ? {} : { op: `OP_TYPE_${op.toUpperCase()}` }),
          path,
          ...(value === undefined ? {} : { value: b64(JSON.stringify(value)) }),
          ...(from === undefined ? {} : { from }),
        })),
        ...(extra.base ? { baseCheckpointId: b64(extra.base) } : {}),
      },
    };
  }
  checkpoint(id, state, extra = {}) {
    return { checkpoint: { header: this.header(), checkpointId: b64(id), state: typeof state === "string" ? b64(state) : b64(JSON.stringify(state)), ...extra } };
  }
  chunk(request, text, extra = {}) {
    return { tokenChunk: { header: this.header(), requestId: request, text, ...extra } };
  }
  tool(stage, extra = {}) {
    return { toolExecution: { header: this.header(), stage: `EXECUTION_STAGE_${stage}`, ...extra } };
  }
}

function attribute(v) {
  if (typeof v === "string") return { stringValue: v };
  if (typeof v === "boolean") return { boolValue: v };
  if (typeof v === "bigint") return { intValue: String(v) };
  return Number.isInteger(v) ? { intValue: String(v) } : { floatValue: v };
}

// Log is a topic: partitions of records. It answers a subscribe from memory and
// can be pruned and re-created.
export class Log {
  constructor(partitions = 2, streamId = "stream-a") {
    this.streamId = streamId;
    this.partitions = Array.from({ length: partitions }, () => ({ oldest: 0n, records: [] }));
  }
  append(p, message) {
    const part = this.partitions[p];
    const r = { partition: p, offset: part.oldest + BigInt(part.records.length), message };
    part.records.push(r);
    return r;
  }
  latest(p) {
    return this.partitions[p].oldest + BigInt(this.partitions[p].records.length);
  }
  prune(p, oldest) {
    const part = this.partitions[p];
    part.records.splice(0, Number(oldest - part.oldest));
    part.oldest = oldest;
  }
  cursor(next) {
    return { streamId: this.streamId, partitions: [...next].map(([p, n]) => ({ ...(p === 0 ? {} : { partition: p }), ...(n === 0n ? {} : { nextOffset: String(n) }) })) };
  }
  hello() {
    return {
      hello: {
        streamId: this.streamId,
        topic: "t",
        partitions: this.partitions.map((part, p) => ({ partition: p, oldest: String(part.oldest), latest: String(this.latest(p)) })),
        serverVersion: "test",
        protocolVersion: 1,
      },
    };
  }
  // read gives the frames that a session which wants `next` gets, batch records
  // a frame.
  read(next, batch = 3) {
    const frames = [];
    for (const [p, n] of next) {
      const part = this.partitions[p];
      let at = n;
      if (at < part.oldest) {
        frames.push({ gap: { partition: p, from: String(at), to: String(part.oldest), reason: "REASON_RETENTION", cursor: this.cursor([[p, part.oldest]]) } });
        at = part.oldest;
      }
      while (at < this.latest(p)) {
        const some = part.records.slice(Number(at - part.oldest), Number(at - part.oldest) + batch);
        at += BigInt(some.length);
        frames.push({ batch: { records: some.map(wire), cursor: this.cursor([[p, at]]) } });
      }
      next.set(p, at);
    }
    return frames;
  }
}

function wire(r) {
  return { ...(r.partition === 0 ? {} : { partition: r.partition }), ...(r.offset === 0n ? {} : { offset: String(r.offset) }), timestampMs: "1700000000000", ...(r.error ? { error: r.error } : { message: r.message }) };
}

// World joins a client's sockets to a log. Sockets open and are answered when
// the test says so.
export class World {
  constructor(log, { random = () => 0.5, status = 0, storage = new MemoryStorage() } = {}) {
    this.log = log;
    this.clock = new Clock();
    this.sockets = [];
    this.status = status;
    this.probes = 0;
    this.env = {
      open: (protocols) => {
        const s = new Socket(protocols);
        this.sockets.push(s);
        return s;
      },
      after: this.clock.after,
      now: this.clock.now,
      wall: () => 1_700_000_000_000 + this.clock.time,
      random,
      storage,
      probe: async () => {
        this.probes++;
        return this.status;
      },
    };
  }
  get socket() {
    return this.sockets.at(-1);
  }
  get live() {
    return this.sockets.filter((s) => s.readyState !== 3).length;
  }
  // subscribeOf returns where the client asked to begin.
  begin(socket = this.socket) {
    socket.open();
    socket.give(this.log.hello());
    return socket.sent[0].subscribe.start;
  }
  // positions answers a start the way the gateway does.
  positions(start) {
    const next = new Map();
    this.log.partitions.forEach((part, p) => next.set(p, start.latest ? this.log.latest(p) : part.oldest));
    for (const c of start.cursor?.partitions ?? []) next.set(c.partition, BigInt(c.nextOffset));
    return next;
  }
  // serve runs a whole session up to live, and returns its positions.
  serve({ batch = 3, until = () => false } = {}) {
    const socket = this.socket;
    const start = this.begin(socket);
    const next = this.positions(start);
    socket.give({ subscribed: { cursor: this.log.cursor(next) } });
    for (const f of this.log.read(next, batch)) {
      if (until(f) || socket.readyState === 3) return null;
      socket.give(f);
    }
    if (socket.readyState === 3) return null;
    socket.give({ caughtUp: { cursor: this.log.cursor(next) } });
    return next;
  }
}

// settle lets promises of the code under test run.
export async function settle() {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

// Recorder is a model that also says what was applied, in order.
export class Recorder extends Model {
  constructor() {
    super();
    this.applied = [];
    this.failing = () => false;
  }
  apply(r) {
    if (this.failing(r)) throw new Error("cannot apply");
    super.apply(r);
    this.applied.push(`${r.partition}/${r.offset}`);
  }
}

export function setup(log, options = {}) {
  const world = new World(log, options);
  const model = new Recorder();
  const client = new Client({ model, env: world.env, start: options.start ?? (() => ({ earliest: true })) });
  return { world, model, client };
}

export function filled(partitions = 2, each = 10) {
  const log = new Log(partitions);
  for (let p = 0; p < partitions; p++) {
    const producer = new Producer(`thread-${p}`);
    for (let i = 0; i < each; i++) log.append(p, producer.event(i === 0 ? "GRAPH_START" : "NODE_START", { node: `n${i}` }));
  }
  return log;
}
