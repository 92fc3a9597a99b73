// The events of one run, newest last: bounded, with the pieces of a model's text
// folded so that they do not push everything else out and no sequence is left
// unsaid.

import { count, number, text } from "./attributes.js";
import { clip } from "./text.js";

export const MAX_EVENTS = 2000;
export const MAX_NAME = 256;
const MAX_OPERATIONS = 6;
// What an entry takes beside its text, in characters.
const ENTRY = 200;

// KINDS are the kinds of messages, by their name in ProtoJSON, with the names
// that "dashstream tail" prints.
export const KINDS = {
  event: "event",
  stateDiff: "state_diff",
  tokenChunk: "token_chunk",
  toolExecution: "tool_execution",
  checkpoint: "checkpoint",
  metrics: "metrics",
  error: "error",
  executionTrace: "execution_trace",
};

export class EventLog {
  constructor() {
    this.entries = [];
    this.seen = 0;
    this.weight = 0;
  }

  get dropped() {
    return this.seen - this.entries.length;
  }

  // note adds an entry: {us, sequence, partition, offset, kind, type, node, text,
  // late}.
  note(entry) {
    this.entries.push({ ...entry, to: entry.sequence, count: 1 });
    this.seen++;
    this.weight += ENTRY + entry.text.length + entry.node.length;
    // Dropping in blocks keeps the cost of an event constant.
    if (this.entries.length > MAX_EVENTS + 200) {
      for (const e of this.entries.splice(0, this.entries.length - MAX_EVENTS)) this.weight -= ENTRY + e.text.length + e.node.length;
    }
  }

  // chunk adds a piece of text to the entry of the piece before it, if nothing
  // came between; a piece that is the last of its text closes the entry.
  chunk(entry, final) {
    const last = this.entries.at(-1);
    const follows = last !== undefined && last.kind === entry.kind && !last.closed && !last.late && !entry.late &&
      (entry.sequence === 0n ? last.to === 0n : last.to !== 0n && entry.sequence === last.to + 1n);
    if (!follows) this.note(entry);
    const e = this.entries.at(-1);
    if (follows) {
      e.count++;
      e.to = entry.sequence;
      e.us = entry.us;
      this.weight += entry.text.length - e.text.length;
      e.text = entry.text;
    }
    e.closed = final;
  }
}

// sequences is the range of an entry, as it is shown.
export function sequences(e) {
  if (e.sequence <= 0n) return "#–";
  return e.to === e.sequence ? `#${e.sequence}` : `#${e.sequence}–${e.to}`;
}

// headline is what an entry is called: the type of an event, or how many pieces
// were folded.
export function headline(e) {
  if (e.type !== "") return e.type;
  return e.count > 1 ? `${e.count} token chunks` : "";
}

// describe is the short text of an event in the log: from known attributes
// alone, since others may hold anything.
export function describe(type, a) {
  const t = (name) => text(a, name);
  switch (type) {
    case "GRAPH_START":
      return join(t("graph_name"));
    case "GRAPH_ERROR":
    case "NODE_ERROR":
    case "LLM_ERROR":
    case "TOOL_ERROR":
      return join(t("tool_name"), t("model"), t("error"));
    case "NODE_PROGRESS": {
      const percent = number(a, "percent");
      return join(t("message"), percent === undefined ? undefined : `${Math.round(percent * 10) / 10} %`);
    }
    case "NODE_THINKING":
      return join(t("step"), t("thought"));
    case "NODE_SUBSTEP":
      return join(t("substep_name"), t("status"));
    case "NODE_WARNING":
      return join(t("message"), t("warning"));
    case "EDGE_TRAVERSAL":
      return t("to") === undefined ? "" : `→ ${t("to")}`;
    case "CONDITIONAL_BRANCH":
      return join(t("condition_result"), t("to") === undefined ? undefined : `→ ${t("to")}`);
    case "LLM_START":
    case "LLM_END":
    case "LLM_RETRY": {
      const tokens = count(a, "total_tokens");
      return join(t("model"), tokens === undefined ? undefined : `${tokens} tokens`, t("finish_reason"));
    }
    case "TOOL_START":
    case "TOOL_END":
      return join(t("tool_name") ?? t("tool"));
    case "HUMAN_INTERRUPT":
    case "HUMAN_RESUME":
      return join(t("reason"), t("prompt"), t("input"), t("message"));
    default:
      return join(t("message"), t("status"));
  }
}

export function join(...parts) {
  return clip(parts.filter((p) => p !== undefined && p !== "").join(" · "), MAX_NAME);
}

// operations says what a StateDiff changes, without the values.
export function operations(diff) {
  const list = diff.operations ?? [];
  if (list.length === 0) return "no operation";
  const words = list.slice(0, MAX_OPERATIONS).map((o) => `${clip(o.op ?? "ADD", 40).replace("OP_TYPE_", "").toLowerCase()} ${clip(o.path ?? "", 80)}`);
  if (list.length > MAX_OPERATIONS) words.push(`and ${list.length - MAX_OPERATIONS} more`);
  return clip(words.join(", "), MAX_NAME);
}

// values shows the metrics of a Metrics message, sorted by name.
export function values(body) {
  const metrics = body.metrics ?? {};
  const parts = Object.keys(metrics).sort().slice(0, 20).map((name) => {
    const v = metrics[name] ?? {};
    return `${clip(name, 60)}=${clip(v.intValue ?? v.floatValue ?? v.stringValue ?? v.boolValue ?? "…", 60)}`;
  });
  return clip([body.scope, body.scopeId, ...parts].filter(Boolean).join(" "), MAX_NAME);
}
