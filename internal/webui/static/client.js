// The connection. It applies frames to the model, keeps the cursor of what was
// applied, and comes back from there, for ever, with one socket at a time.
//
// Everything of the outside (sockets, clocks, storage, chance) is handed in, so
// that tests drive it.

import { Cursor, drop, load, save } from "./cursor.js";
import { ackFrame, decode, PROTOCOL_VERSION, ProtocolError, SUBPROTOCOL, subscribeFrame } from "./frames.js";
import { Failures, MAX_TRIES } from "./failures.js";
import { Notes } from "./notes.js";
import { news } from "./partitions.js";
import { RateMeter } from "./rate.js";
import { refusalWords } from "./refusal.js";
import { clip, textToBase64URL } from "./text.js";

export const HANDSHAKE_MS = 10_000;
export const MAX_DELAY_MS = 10_000;
const FIRST_DELAY_MS = 250;
const STABLE_MS = 10_000;
const DECODE_MS = 10_000;
const SAVE_MS = 500;
const ACK_MS = 1_000;
const MAX_QUEUED = 256;
// The server says with codes from here on: not again before something changed.
const FIRST_FINAL_CODE = 4500;

export class Client {
  // env: {open(protocols) -> WebSocket, after(ms, fn) -> cancel(), now() ->
  // monotonic ms, wall() -> Unix ms, random() -> [0,1), storage, probe(token) ->
  // Promise of an HTTP status or 0}. start() gives the start of a view without
  // a cursor.
  constructor({ model, env, start, changed = () => {} }) {
    this.model = model;
    this.env = env;
    this.start = start;
    this.changed = changed;
    // "connecting", "catching up", "live", "waiting", "stopped".
    this.status = "stopped";
    this.detail = "";
    this.retryAt = undefined;
    this.token = "";
    // The server answered that it wants a token, or another one: until one is
    // entered no connection is tried.
    this.wantsToken = false;
    this.epoch = 0;
    this.conn = null;
    this.asking = false;
    // What the server answered when it was asked why there is no connection: an
    // HTTP status, 0 where there was no answer.
    this.refusal = undefined;
    this.attempt = 0;
    this.cursor = null;
    this.hello = null;
    this.began = undefined;
    this.failures = new Failures();
    this.ignored = 0;
    this.connections = 0;
    // Of records that come live: what is read of the past says nothing of how
    // much happens.
    this.rate = null;
    this.lastFrameAt = undefined;
    // How far the server's clock is ahead of this one, in milliseconds.
    this.skewMs = 0;
    // Of this view.
    this.gaps = new Notes();
    this.quarantined = new Notes();
    this.resets = new Notes();
    this.grown = new Notes();
    this.problems = new Notes();
    this.saved = true;
    this.acked = true;
  }

  // run begins, with the cursor that this tab stored if there is one.
  run() {
    const { cursor, problem } = load(this.env.storage);
    if (problem !== null) this.problem(problem);
    if (cursor !== null) {
      this.cursor = cursor;
      this.began = "resumed";
    }
    this.connect();
  }

  // stop closes the connection until resume.
  stop() {
    this.leave();
    this.set("stopped", "");
  }

  resume() {
    if (this.status !== "stopped") return;
    this.attempt = 0;
    this.connect();
  }

  // retryNow ends a wait, for example when the network came back. A token is
  // waited for until there is one.
  retryNow() {
    if (this.status === "waiting" && !this.wantsToken) this.connect();
  }

  // tryAgain connects although a token was asked for: the server may have
  // changed its mind.
  tryAgain() {
    this.wantsToken = false;
    this.retryNow();
  }

  // lost gives up a connection that looks open and is not.
  lost(reason) {
    if (this.conn !== null) this.fail(this.conn, reason);
  }

  // useToken sets the token of the next connections and makes one.
  useToken(token) {
    this.token = token;
    this.wantsToken = false;
    this.attempt = 0;
    this.connect();
  }

  // restart forgets the view and begins a new one at start().
  restart() {
    this.forget();
    if (this.status === "stopped" || this.wantsToken) return;
    this.attempt = 0;
    this.connect();
  }

  forget() {
    this.cursor = null;
    this.began = undefined;
    this.resets = new Notes();
    this.grown = new Notes();
    this.void();
    drop(this.env.storage);
    this.saved = true;
    this.changed();
  }

  // void lets go of what was applied, and of what was told about it.
  void() {
    this.model.clear();
    this.failures.clear();
    this.ignored = 0;
    this.gaps = new Notes();
    this.quarantined = new Notes();
  }

  // ---- connection ----

  connect() {
    this.leave();
    this.asking = false;
    const conn = { epoch: ++this.epoch, socket: null, opened: false, hello: false, subscribed: false, since: this.env.now(), last: new Map(), resetDue: false, resetFirst: false, queue: null, cancelDeadline: () => {} };
    this.conn = conn;
    // While it is tried again, why is still true.
    this.set("connecting", this.attempt > 0 ? this.detail : "");
    const protocols = [SUBPROTOCOL];
    if (this.token !== "") protocols.push(`dashstream.bearer.${textToBase64URL(this.token)}`);
    let socket;
    try {
      socket = this.env.open(protocols);
    } catch (e) {
      this.fail(conn, `cannot connect: ${e.message}`);
      return;
    }
    this.connections++;
    conn.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      conn.opened = true;
      this.refusal = undefined;
      this.wantsToken = false;
    };
    socket.onmessage = (event) => this.message(conn, event.data);
    socket.onclose = (event) => this.closed(conn, event);
    socket.onerror = () => {}; // the close that follows says what there is to say
    conn.cancelDeadline = this.env.after(HANDSHAKE_MS, () => this.fail(conn, "the server did not begin the stream in time"));
  }

  current(conn) {
    return this.conn === conn && conn.epoch === this.epoch;
  }

  // leave lets go of the socket and of a pending retry. Nothing that the old
  // connection still does counts from here on.
  leave() {
    this.cancelRetry?.();
    this.cancelRetry = undefined;
    this.retryAt = undefined;
    this.rate = null;
    const conn = this.conn;
    this.conn = null;
    if (conn === null) return;
    conn.cancelDeadline();
    const s = conn.socket;
    if (s === null) return;
    s.onopen = s.onmessage = s.onclose = s.onerror = null;
    try {
      s.close(1000);
    } catch {
      // A socket that cannot be closed any more is closed.
    }
  }

  closed(conn, event) {
    if (!this.current(conn)) return;
    if (!conn.opened) {
      // The browser does not say why a handshake failed; asking over HTTP does.
      this.fail(conn, "the connection could not be made");
      this.askWhy();
      return;
    }
    const reason = event.reason ? `: ${clip(event.reason, 120)}` : "";
    const words = event.code === 1006 ? "the connection broke" : `closed by the server (${event.code}${reason})`;
    this.fail(conn, words, event.code >= FIRST_FINAL_CODE && event.code < 5000);
  }

  // askWhy finds out what to tell. The next attempt waits for the answer, which
  // has a deadline: a server that wants a token is not asked again and again.
  askWhy() {
    const epoch = this.epoch;
    this.asking = true;
    this.env.probe(this.token).then((status) => {
      if (this.epoch !== epoch || this.status !== "waiting") return;
      this.asking = false;
      this.refusal = status;
      if (status === 401) {
        this.wantsToken = true;
        this.cancelRetry?.();
        this.retryAt = undefined;
        this.set("waiting", this.token === "" ? "the server wants a token" : "the server does not accept this token");
        return;
      }
      this.set("waiting", refusalWords(status));
      if (this.retryAt <= this.env.now()) this.connect();
    });
  }

  // fail ends a connection and comes back later from the last committed cursor.
  fail(conn, reason, final = false) {
    if (!this.current(conn)) return;
    const stable = conn.subscribed && this.env.now() - conn.since >= STABLE_MS;
    if (stable) this.attempt = 0;
    this.leave();
    const most = final ? MAX_DELAY_MS : Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(this.attempt, 16));
    this.attempt++;
    // Half fixed, half by chance: clients that lost the same server spread out.
    const delay = most / 2 + (most / 2) * this.env.random();
    this.retryAt = this.env.now() + delay;
    this.cancelRetry = this.env.after(delay, () => {
      if (!this.asking) this.connect();
    });
    this.set("waiting", reason);
  }

  // clock is the time of the server, in milliseconds since 1970.
  clock() {
    return this.env.wall() + this.skewMs;
  }

  set(status, detail) {
    this.status = status;
    this.detail = detail;
    this.changed();
  }

  // ---- frames ----

  // message takes what the socket gave: text, or, from a server or browser that
  // sends it so, the same text as bytes or a Blob. A Blob is read in its own
  // time, and what follows waits behind it.
  message(conn, data) {
    if (!this.current(conn)) return;
    if (conn.queue !== null) {
      if (conn.queue.length >= MAX_QUEUED) this.fail(conn, "too many frames wait to be decoded");
      else conn.queue.push(data);
      return;
    }
    if (typeof data === "string" || data instanceof ArrayBuffer || ArrayBuffer.isView(data)) {
      this.receive(conn, data);
      return;
    }
    if (typeof data?.arrayBuffer !== "function") {
      this.fail(conn, "a frame of a kind that this page does not know");
      return;
    }
    conn.queue = [data];
    this.drain(conn);
  }

  async drain(conn) {
    while (this.current(conn) && conn.queue.length > 0) {
      let data = conn.queue[0];
      if (typeof data?.arrayBuffer === "function") {
        const cancel = this.env.after(DECODE_MS, () => this.fail(conn, "a frame could not be read in time"));
        try {
          data = await data.arrayBuffer();
        } catch (e) {
          this.fail(conn, `a frame could not be read: ${e.message}`);
        } finally {
          cancel();
        }
        if (!this.current(conn)) return;
      }
      conn.queue.shift();
      this.receive(conn, data);
    }
    if (this.current(conn)) conn.queue = null;
  }

  receive(conn, data) {
    try {
      const text = typeof data === "string" ? data : new TextDecoder("utf-8", { fatal: true }).decode(data);
      this.lastFrameAt = this.env.now();
      this.frame(conn, decode(text));
    } catch (e) {
      if (!(e instanceof ProtocolError)) this.problem(`a frame failed: ${e.message}`);
      this.fail(conn, e.message);
    }
    this.changed();
  }

  frame(conn, f) {
    if (f.kind === "hello") {
      if (conn.hello) throw new ProtocolError("hello came twice");
      if (f.protocolVersion !== PROTOCOL_VERSION) {
        throw new ProtocolError(`the server speaks protocol ${f.protocolVersion}, this page ${PROTOCOL_VERSION}: reload it`);
      }
      conn.hello = true;
      this.hello = f;
      conn.socket.send(subscribeFrame(this.cursor ?? this.start()));
      return;
    }
    if (!conn.hello) throw new ProtocolError(`${f.kind} came before hello`);
    if (f.kind === "error") {
      this.serverError(conn, f);
      return;
    }
    if (f.kind === "partitions") {
      const found = news(this.hello.partitions, f.partitions);
      this.hello = { ...this.hello, partitions: f.partitions };
      if (found !== null) this.grown.add({ ...found, at: this.env.wall() });
      return;
    }
    if (f.kind === "subscribed") {
      this.subscribed(conn, f.cursor);
      return;
    }
    // The answer to a subscribe with a void cursor begins with a reset.
    if (f.kind === "reset") {
      this.reset(conn, f);
      return;
    }
    if (!conn.subscribed) throw new ProtocolError(`${f.kind} came before subscribed`);
    if (conn.resetDue || f.cursor.streamId !== this.cursor.streamId) {
      throw new ProtocolError(`${f.kind} of stream ${f.cursor.streamId} without a reset`);
    }
    switch (f.kind) {
      case "batch":
        this.batch(conn, f);
        return;
      case "progress":
        this.commit(f.cursor);
        return;
      case "caughtUp":
        this.commit(f.cursor);
        this.attempt = 0;
        this.rate ??= new RateMeter(this.env.now);
        this.set("live", "");
        return;
      default:
        this.gap(f);
    }
  }

  subscribed(conn, cursor) {
    conn.subscribed = true;
    conn.cancelDeadline();
    if (this.cursor === null) {
      this.cursor = cursor.clone();
      this.began ??= "fresh";
    } else if (conn.resetFirst) {
      if (cursor.streamId !== this.cursor.streamId) throw new ProtocolError(`subscribed to stream ${cursor.streamId} after a reset to ${this.cursor.streamId}`);
      // Nothing was applied since the reset: the position is what the server says.
      this.cursor = cursor.clone();
    } else if (cursor.streamId !== this.cursor.streamId) {
      conn.resetDue = true;
    } else {
      // Partitions that are new to this page begin where the server says. Those
      // it knows move only with what comes.
      this.cursor.learn(cursor);
    }
    this.touched();
    this.set("catching up", "");
  }

  batch(conn, f) {
    for (const r of f.records) {
      if (!f.cursor.covers(r.partition, r.offset)) throw new ProtocolError(`a batch does not cover its record at offset ${r.offset} of partition ${r.partition}`);
    }
    for (const r of f.records) {
      const last = conn.last.get(r.partition);
      if (last !== undefined && r.offset <= last) throw new ProtocolError(`offset ${r.offset} of partition ${r.partition} came after ${last}`);
      conn.last.set(r.partition, r.offset);
      if (this.cursor.covers(r.partition, r.offset)) {
        this.ignored++;
        continue;
      }
      if (!this.current(conn)) return;
      if (!this.apply(conn, r)) return;
      this.rate?.add(1);
      this.cursor.advance(r.partition, r.offset + 1n);
      this.touched();
    }
    this.commit(f.cursor);
  }

  // apply reports whether the record is done with: applied, or given up after
  // some tries, which the page shows.
  apply(conn, r) {
    try {
      // What is read of the past came when its timestamp says, but not later than
      // now, and now where it has none; what comes live came now.
      const now = this.clock();
      this.model.apply({ ...r, heardMs: this.status === "live" || !(r.timestampMs > 0) ? now : Math.min(now, r.timestampMs) });
      this.failures.forget(r);
      return true;
    } catch (e) {
      const tries = this.failures.count(r);
      if (tries >= MAX_TRIES) {
        this.failures.forget(r);
        this.quarantined.add({ partition: r.partition, offset: r.offset, reason: clip(e.message, 300), at: this.env.wall() });
        return true;
      }
      this.fail(conn, `the record at offset ${r.offset} of partition ${r.partition} could not be applied (try ${tries} of ${MAX_TRIES}): ${clip(e.message, 200)}`);
      return false;
    }
  }

  gap(f) {
    if (f.from >= f.to || !f.cursor.covers(f.partition, f.to - 1n)) throw new ProtocolError("a gap without a range, or a cursor that does not cover it");
    if (!this.cursor.covers(f.partition, f.to - 1n)) {
      this.model.gap(f);
      this.gaps.add({ partition: f.partition, from: f.from, to: f.to, reason: f.reason, at: this.env.wall() });
    }
    this.commit(f.cursor);
  }

  reset(conn, f) {
    this.void();
    this.cursor = f.cursor.clone();
    conn.last.clear();
    conn.resetDue = false;
    conn.resetFirst = !conn.subscribed;
    this.resets.add({ reason: f.reason, previous: f.previousStreamId, stream: f.cursor.streamId, at: this.env.wall() });
    this.touched();
    // How many partitions the new stream has is not said.
    this.hello = { ...this.hello, streamId: f.cursor.streamId, partitions: null };
    this.rate = null;
    if (conn.subscribed) this.set("catching up", "");
  }

  serverError(conn, f) {
    this.problem(`the server refused ${f.field || "a frame"}: ${f.message || f.code}`);
    if (!conn.subscribed && f.field.startsWith("subscribe.start.cursor") && this.cursor !== null) {
      // The cursor cannot be used, and without one the view is void.
      this.forget();
      conn.socket.send(subscribeFrame(this.start()));
    }
  }

  // ---- cursor ----

  commit(cursor) {
    if (this.cursor.merge(cursor)) this.touched();
  }

  touched() {
    if (this.saved) {
      this.saved = false;
      this.env.after(SAVE_MS, () => this.store());
    }
    if (this.acked) {
      this.acked = false;
      this.env.after(ACK_MS, () => this.ack());
    }
  }

  // store writes the position to the tab's storage: the one from which a page
  // without memory gets this view again.
  store() {
    if (this.saved || this.cursor === null) return;
    this.saved = true;
    save(this.env.storage, this.model.rebuildFrom(this.cursor));
  }

  // ack tells the server what was applied, so that an operator sees a page that
  // receives and does not apply.
  ack() {
    this.acked = true;
    const conn = this.conn;
    if (conn === null || !conn.subscribed || conn.resetDue || this.cursor === null) return;
    conn.socket.send(ackFrame(this.cursor));
  }

  problem(text) {
    this.problems.add({ text: clip(text, 400), at: this.env.wall() });
  }
}
