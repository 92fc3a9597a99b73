// One run of a graph: what its events say, bounded.

import { count, number, text, whole } from "./attributes.js";
import { ErrorList } from "./errors.js";
import { describe, EventLog, MAX_NAME } from "./log.js";
import { began, ended, newNode } from "./nodes.js";
import { MAX_EDGES, MAX_NODES, shape } from "./shape.js";
import { clip, tail } from "./text.js";

export const MAX_CALLS = 100;
export const MAX_TOOLS = 200;
export const MAX_TEXT = 64 * 1024;
// A duration of INT64_MAX means: longer than can be told.
const BEYOND = (1n << 63n) - 1n;

export class Run {
  constructor(thread, ordinal, record, beginning) {
    this.id = `${thread.key}\u0000${ordinal}`;
    this.thread = thread;
    this.ordinal = ordinal;
    this.partition = record.partition;
    this.firstOffset = record.offset;
    this.graph = undefined;
    // How much of its beginning was read: "start", its GRAPH_START; "thread", the
    // first message of the thread, which was no GRAPH_START; "middle", neither.
    this.beginning = beginning;
    // "running", "interrupted", "ended", "failed"; "unknown": another run began on
    // the thread and no end of this one was seen; "unclear": nothing was read yet
    // that says whether it is under way.
    this.status = beginning === "start" ? "running" : "unclear";
    // Whether it is simulated: a simulated agent says so of itself, at its start.
    this.demo = undefined;
    this.startUs = undefined;
    this.lastUs = undefined;
    // When it was last heard of, in milliseconds since 1970.
    this.heardMs = 0;
    this.durationUs = undefined;
    this.nodes = new Map();
    this.visits = 0;
    this.edges = new Map();
    // Whether a graph was declared: "yes", "no", "unreadable" or "unknown".
    this.declaration = "unknown";
    this.entry = undefined;
    this.calls = new Map();
    this.tools = new Map();
    this.tokens = 0;
    this.cost = 0;
    this.tokensKnown = 0;
    this.tokensUnknown = 0;
    this.costKnown = 0;
    this.costUnknown = 0;
    this.quality = new Map();
    this.error = undefined;
    this.warning = undefined;
    // The sequence of its GRAPH_START, and the state of the thread when the next
    // run began.
    this.startSequence = 0n;
    // What its GRAPH_START and its last message are known by.
    this.startId = undefined;
    this.lastId = undefined;
    this.finalState = null;
    // Messages of the thread that never came, and that came too late to count.
    this.missing = 0n;
    this.late = 0;
    this.gaps = [];
    // Times that the producer began to count anew since the run began.
    this.restarts = 0;
    this.log = new EventLog();
    this.errors = new ErrorList();
    // What was let go, or found no room.
    this.dropped = { calls: 0, tools: 0, nodes: 0, edges: 0 };
    // About how many characters it holds, beside its log.
    this.text = 0;
    this.revision = 0;
  }

  // over: it is not, or not known to be, under way.
  get over() {
    return this.status !== "running" && this.status !== "interrupted";
  }

  // partial: messages of it were not read or not counted, so that each count is
  // a lower bound.
  get partial() {
    return this.beginning === "middle" || this.missing > 0n || this.late > 0 || this.gaps.length > 0 || this.dropped.nodes > 0;
  }

  get declared() {
    return this.declaration === "yes";
  }

  get weight() {
    return this.text + this.log.weight + this.errors.weight + (this.finalState?.weight ?? 0);
  }

  // duration in microseconds as BigInt: measured by the producer where it says
  // so, else between the producer's own timestamps; undefined when unknown.
  duration() {
    if (this.durationUs !== undefined) return this.durationUs;
    if (this.startUs === undefined || this.lastUs === undefined) return undefined;
    return this.lastUs - this.startUs;
  }

  visited() {
    let n = 0;
    for (const node of this.nodes.values()) if (node.visits > 0) n++;
    return n;
  }

  node(id) {
    const name = clip(id, MAX_NAME);
    let node = this.nodes.get(name);
    if (node === undefined) {
      if (this.nodes.size >= MAX_NODES) {
        this.dropped.nodes++;
        return undefined;
      }
      node = newNode(name);
      this.nodes.set(name, node);
    }
    return node;
  }

  edge(from, to, change) {
    const key = `${from}\u0000${to}`;
    let edge = this.edges.get(key);
    if (edge === undefined) {
      if (this.edges.size >= MAX_EDGES) {
        this.dropped.edges++;
        return;
      }
      edge = { from, to, taken: 0, conditional: false };
      this.edges.set(key, edge);
    }
    change(edge);
  }

  // event applies one Event message.
  event(type, e, us) {
    this.moves();
    const a = e.attributes;
    const nodeId = e.nodeId ?? "";
    switch (type) {
      case "GRAPH_START":
        this.started(a, us);
        break;
      case "GRAPH_END":
        this.over_("ended", e);
        break;
      case "GRAPH_ERROR":
        this.error = text(a, "error", 1000) ?? this.error ?? "the graph failed";
        this.over_("failed", e);
        break;
      case "HUMAN_INTERRUPT":
        if (!this.over) this.status = "interrupted";
        break;
      case "HUMAN_RESUME":
        if (!this.over) this.status = "running";
        break;
      case "NODE_START":
        this.nodeStarted(this.node(nodeId), us);
        break;
      case "NODE_END":
        this.nodeEnded(this.node(nodeId), "done", e);
        break;
      case "NODE_ERROR":
        this.nodeEnded(this.node(nodeId), "failed", e);
        break;
      case "NODE_PROGRESS":
      case "NODE_THINKING":
      case "NODE_SUBSTEP":
      case "NODE_WARNING": {
        const node = this.node(nodeId);
        if (node) node.note = describe(type, a);
        break;
      }
      case "EDGE_TRAVERSAL":
      case "CONDITIONAL_BRANCH": {
        const to = text(a, "to");
        if (nodeId !== "" && to !== undefined) {
          this.edge(clip(nodeId, MAX_NAME), to, (edge) => {
            edge.taken++;
            edge.conditional ||= type === "CONDITIONAL_BRANCH";
          });
        }
        break;
      }
      case "LLM_START":
      case "LLM_END":
      case "LLM_ERROR":
      case "LLM_RETRY":
        this.llm(type, e, nodeId);
        break;
      case "TOOL_START":
      case "TOOL_END":
      case "TOOL_ERROR":
        this.toolEvent(type, e, nodeId);
        break;
      default:
    }
  }

  // moves: something was read that only happens in a run under way.
  moves() {
    if (this.status === "unclear") this.status = "running";
  }

  started(a, us) {
    this.demo = text(a, "demo") === "true";
    this.startUs = us;
    this.graph = text(a, "graph_name") ?? this.graph;
    this.declaration = "no";
    for (const source of ["graph_manifest", "graph_schema_json"]) {
      const declared = shape(whole(a, source));
      if (declared.nodes.length === 0 && declared.edges.length === 0) {
        // A declaration that was too large is sent as a note of itself.
        if (a !== undefined && Object.hasOwn(a, source) && !this.declared) this.declaration = "unreadable";
        continue;
      }
      for (const name of declared.nodes) {
        const node = this.node(name);
        if (node) node.declared = true;
      }
      if (declared.nodes.length > 0) this.declaration = "yes";
      for (const e of declared.edges) {
        this.edge(e.from, e.to, (edge) => {
          edge.conditional ||= e.conditional;
        });
      }
      this.entry ??= declared.entry;
    }
    this.entry = text(a, "graph_entry_point") ?? this.entry;
  }

  // over_ ends the run. Nodes still open are not shown as active any more.
  over_(status, e) {
    this.status = status;
    const d = duration(e);
    if (d !== undefined) this.durationUs = d;
    for (const node of this.nodes.values()) {
      if (node.status !== "running") continue;
      node.open = 0;
      node.status = status === "failed" ? "failed" : "unfinished";
    }
    for (const call of this.calls.values()) {
      if (call.status === "running") call.status = "unfinished";
    }
    for (const tool of this.tools.values()) {
      if (tool.status === "running") tool.status = "unfinished";
    }
  }

  // leave: another run began on the thread. Unless this one is heard of again,
  // nobody saw its end.
  leave() {
    if (this.finalState === null) {
      // The run keeps the state itself, so that checks of it which are not done
      // yet are still told to it; the thread goes on with a copy.
      this.finalState = this.thread.state;
      this.thread.state = this.finalState.snapshot();
    }
    if (this.status !== "ended" && this.status !== "failed") this.status = "unknown";
    this.revision++;
  }

  revive() {
    if (this.status === "unknown") this.status = "running";
  }

  // shown is the status of a node, call or tool of this run, as it is to be
  // shown: nothing is active in a run that is not under way.
  shown(part) {
    return this.status === "unknown" && part.status === "running" ? "unfinished" : part.status;
  }

  get state() {
    return this.finalState ?? this.thread.state;
  }

  visit(node) {
    node.visits++;
    node.order ??= ++this.visits;
  }

  // inOrder returns the nodes as they were first visited, the others after.
  inOrder() {
    return [...this.nodes.values()].sort((a, b) => (a.order ?? Infinity) - (b.order ?? Infinity) || 0);
  }

  nodeStarted(node, us) {
    if (node === undefined) return;
    this.visit(node);
    began(node, us);
    if (this.status === "interrupted") this.status = "running";
  }

  nodeEnded(node, status, e) {
    if (node === undefined) return;
    // An end without its start, in a run that was joined late, is a visit too.
    if (node.open === 0) this.visit(node);
    ended(node, status, duration(e));
    node.error = status === "failed" ? (text(e.attributes, "error", 1000) ?? "failed") : undefined;
  }

  // call returns the LLM call of a request id.
  call(id, node) {
    const key = clip(id, MAX_NAME);
    let call = this.calls.get(key);
    if (call === undefined) {
      call = { id: key, node, model: undefined, status: "running", text: "", cut: 0, next: 0, lost: 0, tokens: undefined, cost: undefined, finish: undefined, error: undefined, retries: 0, durationUs: undefined, counted: false };
      this.calls.set(key, call);
      if (this.calls.size > MAX_CALLS) {
        const [oldest, { text: gone }] = this.calls.entries().next().value;
        this.calls.delete(oldest);
        this.text -= gone.length;
        this.dropped.calls++;
      }
    }
    return call;
  }

  llm(type, e, nodeId) {
    const a = e.attributes;
    // A producer that gives calls no id has one at a time in a node.
    const call = this.call(e.llmRequestId || `node ${nodeId} #${this.anonymous(type, nodeId)}`, clip(nodeId, MAX_NAME));
    call.node ||= clip(nodeId, MAX_NAME);
    call.model = text(a, "model") ?? call.model;
    switch (type) {
      case "LLM_START":
        call.status = "running";
        return;
      case "LLM_RETRY":
        call.retries++;
        call.status = "running";
        return;
      case "LLM_ERROR":
        call.status = "failed";
        call.error = text(a, "error", 1000) ?? "failed";
        break;
      default:
        call.status = "done";
        call.finish = text(a, "finish_reason") ?? call.finish;
    }
    call.durationUs = duration(e) ?? call.durationUs;
    const prompt = count(a, "prompt_tokens");
    const completion = count(a, "completion_tokens");
    const total = count(a, "total_tokens") ?? (prompt !== undefined && completion !== undefined ? prompt + completion : undefined);
    this.account(call, total ?? call.tokens, number(a, "cost_usd") ?? call.cost);
  }

  anonymous(type, nodeId) {
    this.anonymousCalls ??= new Map();
    const n = this.anonymousCalls.get(nodeId) ?? 0;
    if (type !== "LLM_START") return n;
    if (this.anonymousCalls.size < MAX_NODES) this.anonymousCalls.set(nodeId, n + 1);
    return n + 1;
  }

  // account adds a call to the run's sums, each call once; what it does not know
  // is counted as unknown.
  account(call, tokens, cost) {
    if (call.counted) {
      this.tokens -= call.tokens ?? 0;
      this.cost -= call.cost ?? 0;
      if (call.tokens === undefined) this.tokensUnknown--;
      else this.tokensKnown--;
      if (call.cost === undefined) this.costUnknown--;
      else this.costKnown--;
    }
    call.counted = true;
    call.tokens = tokens;
    call.cost = cost;
    this.tokens += tokens ?? 0;
    this.cost += cost ?? 0;
    if (tokens === undefined) this.tokensUnknown++;
    else this.tokensKnown++;
    if (cost === undefined) this.costUnknown++;
    else this.costKnown++;
  }

  chunk(c) {
    this.moves();
    const call = this.call(c.requestId ?? "", undefined);
    // Pieces are numbered from 0; producers that do not number them say 0 always.
    const index = c.chunkIndex ?? 0;
    call.lost += Math.max(0, index - call.next);
    call.next = Math.max(call.next, index + 1);
    call.model = c.model ? clip(c.model, MAX_NAME) : call.model;
    const grown = call.text + (c.text ?? "");
    this.text -= call.text.length;
    call.text = tail(grown, MAX_TEXT);
    this.text += call.text.length;
    call.cut += grown.length - call.text.length;
    if (c.isFinal) {
      if (call.status === "running") call.status = "done";
      const finish = (c.finishReason ?? "FINISH_REASON_NONE").toString().replace("FINISH_REASON_", "").toLowerCase();
      if (finish !== "none") call.finish ??= clip(finish, 40);
      const s = c.stats;
      if (s) {
        const total = s.totalTokens || (s.promptTokens ?? 0) + (s.completionTokens ?? 0);
        // All zero means that the producer did not count.
        if (total > 0 && call.tokens === undefined) this.account(call, total, call.cost);
      }
    }
  }

  tool(id, name, node) {
    const key = clip(id, MAX_NAME);
    let tool = this.tools.get(key);
    if (tool === undefined) {
      tool = { id: key, name: undefined, node, status: "running", arguments: undefined, result: undefined, error: undefined, retries: 0, durationUs: undefined };
      this.tools.set(key, tool);
      if (this.tools.size > MAX_TOOLS) {
        const oldest = this.tools.values().next().value;
        this.tools.delete(oldest.id);
        this.text -= sizeOf(oldest);
        this.dropped.tools++;
      }
    }
    if (name) tool.name = clip(name, MAX_NAME);
    return tool;
  }

  toolEvent(type, e, nodeId) {
    const a = e.attributes;
    const id = text(a, "call_id");
    // The event repeats what ToolExecution says; without a call id the two
    // cannot be told to be one, and the log has the event.
    if (id === undefined) return;
    const tool = this.tool(id, text(a, "tool_name") ?? text(a, "tool"), clip(nodeId, MAX_NAME));
    tool.node ||= clip(nodeId, MAX_NAME);
    if (type === "TOOL_END") tool.status = "done";
    if (type === "TOOL_ERROR") {
      tool.status = "failed";
      tool.error = text(a, "error", 1000) ?? tool.error ?? "failed";
    }
    tool.durationUs = duration(e) ?? tool.durationUs;
  }

  toolExecution(t, preview) {
    this.moves();
    const tool = this.tool(t.callId ?? "", t.toolName, undefined);
    const before = sizeOf(tool);
    switch ((t.stage ?? "").toString().replace("EXECUTION_STAGE_", "")) {
      case "COMPLETED":
        tool.status = "done";
        tool.error = undefined;
        break;
      case "FAILED":
        tool.status = "failed";
        break;
      case "RETRYING":
        tool.status = "running";
        break;
      default:
    }
    if (t.arguments) tool.arguments = preview(t.arguments);
    if (t.result) tool.result = preview(t.result);
    if (t.error) tool.error = clip(t.error, 1000);
    tool.retries = Math.max(tool.retries, Number.isInteger(t.retryCount) ? t.retryCount : 0);
    tool.durationUs = duration(t) ?? tool.durationUs;
    this.text += sizeOf(tool) - before;
  }

  // reported takes an Error message.
  reported(e, sequence, us) {
    const error = this.errors.note(e, sequence, us);
    const words = error.message ?? error.code ?? "error";
    if (error.severity === "warning") this.warning = words;
    else if (!["info", "debug"].includes(error.severity)) this.error = words;
  }
}

function sizeOf(tool) {
  return (tool.arguments ?? "").length + (tool.result ?? "").length + (tool.error ?? "").length;
}

// duration is what the producer measured, or undefined; BEYOND is kept, the view
// says it in words.
function duration(e) {
  const v = e.durationUs;
  if (typeof v !== "string" || !/^[1-9][0-9]{0,18}$/.test(v)) return undefined;
  return BigInt(v);
}

export function isBeyond(us) {
  return us >= BEYOND;
}
