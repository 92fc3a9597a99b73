// The selected run.

import { $, attr, el, Rows, show, text } from "./dom.js";
import { clockTime, dollars, duration, integer, sum } from "./format.js";
import { GraphView } from "./graphview.js";
import { stringify } from "./json.js";
import { clip } from "./text.js";

const SHOWN_CALLS = 8;
const SHOWN_TOOLS = 50;
const SHOWN_EVENTS = 200;
const SHOWN_STATE = 100_000;
const SHOWN_TEXT = 8_000;

export const STATUS_WORDS = { running: "running", interrupted: "waits for a person", ended: "ended", failed: "failed", unknown: "no end seen" };

export class DetailView {
  constructor() {
    this.body = $("detail-body");
    this.run = null;
    const content = (id) => $(id).querySelector(".content");
    this.graph = new GraphView(content("panel-graph"));
    this.calls = new Rows(content("panel-llm"), makeCall);
    this.tools = new Rows(content("panel-tools"), makeTool);
    this.stateNote = el("p", { class: "note" });
    this.statePre = el("pre", { tabindex: 0 });
    content("panel-state").append(this.stateNote, this.statePre);
    this.stateKey = "";
    this.eventList = el("div", { class: "events scroll", tabindex: 0 });
    content("panel-events").append(this.eventList);
    this.facts = new Rows($("detail-facts"), makeFact);
    this.flags = new Rows($("detail-flags"), () => ({ root: el("li") }));
    this.eventsShown = 0;
    this.panels = [
      ["panel-graph", (r) => this.graph.render(r)],
      ["panel-llm", (r) => this.renderCalls(r)],
      ["panel-tools", (r) => this.renderTools(r)],
      ["panel-state", (r) => this.renderState(r)],
      ["panel-events", (r) => this.renderEvents(r)],
    ];
  }

  render(run) {
    show($("detail-none"), run === null);
    show(this.body, run !== null);
    if (run === null) {
      this.run = null;
      return;
    }
    if (run !== this.run) {
      this.run = run;
      this.calls.clear();
      this.tools.clear();
      this.eventList.replaceChildren();
      this.eventsShown = 0;
      this.stateKey = "";
    }
    this.head(run);
    for (const [id, render] of this.panels) isolated($(id), () => render(run));
  }

  head(run) {
    text($("detail-title"), title(run));
    text($("detail-chip"), STATUS_WORDS[run.status]);
    attr($("detail-chip"), "class", `chip ${run.status}`);
    const facts = [
      ["Thread", run.thread.id],
      ["Tenant", run.thread.tenant],
      ["Duration", duration(run.duration())],
      ["Nodes visited", integer(run.visited())],
      ["Tokens", sum(run.tokens, run.tokensKnown, run.tokensUnknown, integer)],
      ["Cost", sum(run.cost, run.costKnown, run.costUnknown, dollars)],
      ["Partition", String(run.partition)],
      ...[...run.quality].map(([name, v]) => [name.replaceAll("_", " "), typeof v === "number" ? String(Math.round(v * 1000) / 1000) : String(v)]),
    ];
    this.facts.update(facts, ([name]) => name, (row, [name, value]) => {
      text(row.name, name);
      text(row.value, value || "–");
    });
    const flags = [];
    if (run.error !== undefined) flags.push(["error", `Error: ${run.error}`]);
    if (run.warning !== undefined) flags.push(["warn", `Warning: ${run.warning}`]);
    if (!run.whole) flags.push(["info", "Began before this view: its first events are not shown."]);
    if (run.missing > 0n) flags.push(["warn", `${integer(run.missing)} messages of the thread are missing.`]);
    if (run.late > 0) flags.push(["warn", `${integer(run.late)} messages came out of order and were only logged.`]);
    for (const g of run.gaps) flags.push(["warn", `Records ${g.from} to ${g.to - 1n} of partition ${run.partition} are lost while it ran.`]);
    this.flags.update(flags, (f) => f[1], (row, [kind, words]) => {
      attr(row.root, "class", kind);
      text(row.root, words);
    });
  }

  renderCalls(run) {
    const calls = [...run.calls.values()].slice(-SHOWN_CALLS).reverse();
    show($("panel-llm"), calls.length > 0);
    this.calls.update(calls, (c) => c.id, (row, c) => {
      attr(row.root, "class", `call ${run.shown(c)}`);
      text(row.model, c.model ?? "model unknown");
      const facts = [c.node, CALL_WORDS[run.shown(c)], c.finish, c.tokens === undefined ? undefined : `${integer(c.tokens)} tokens`, c.cost === undefined ? undefined : dollars(c.cost),
        c.durationUs === undefined ? undefined : duration(c.durationUs), c.retries > 0 ? `${c.retries} retries` : undefined];
      text(row.facts, facts.filter(Boolean).join(" · "));
      const cut = c.cut + Math.max(0, c.text.length - SHOWN_TEXT);
      text(row.cut, cut > 0 ? `The first ${integer(cut)} characters are not shown.` : "");
      const atEnd = row.text.scrollTop + row.text.clientHeight >= row.text.scrollHeight - 8;
      text(row.text, c.error ?? c.text.slice(-SHOWN_TEXT));
      show(row.text, (c.error ?? c.text) !== "");
      if (atEnd) row.text.scrollTop = row.text.scrollHeight;
    });
  }

  renderTools(run) {
    const tools = [...run.tools.values()].slice(-SHOWN_TOOLS).reverse();
    show($("panel-tools"), tools.length > 0);
    this.tools.update(tools, (t) => t.id, (row, t) => {
      attr(row.root, "class", `tool ${run.shown(t)}`);
      text(row.name, t.name ?? "tool");
      const facts = [CALL_WORDS[run.shown(t)], t.durationUs === undefined ? undefined : duration(t.durationUs), t.retries > 0 ? `${t.retries} retries` : undefined, t.error];
      text(row.facts, facts.filter(Boolean).join(" · "));
      text(row.args, t.arguments === undefined ? "" : clip(t.arguments, 300));
      text(row.result, t.result === undefined ? "" : `→ ${clip(t.result, 300)}`);
    });
  }

  renderState(run) {
    const s = run.state;
    const key = `${run.id} ${s.status} ${s.applied} ${s.skipped} ${s.reason}`;
    if (key === this.stateKey) return;
    this.stateKey = key;
    attr($("panel-state"), "data-state", s.status);
    const healed = s.troubles.filter((t) => t.healed !== null).length;
    const words = {
      none: `No state: ${s.reason}.`,
      current: `As of message ${s.sequence}${s.sequence < run.startSequence ? ", before this run began" : ""}. Its hash is not checked here.${healed > 0 ? ` Recovered ${healed} times.` : ""}`,
      frozen: `Stands at message ${s.sequence}: ${s.reason}. ${integer(s.skipped)} changes were not applied; the next full state heals it.`,
    };
    text(this.stateNote, words[s.status]);
    show(this.statePre, s.status !== "none");
    if (s.status === "none") return;
    const { text: json, cut } = stringify(s.doc, SHOWN_STATE);
    text(this.statePre, cut ? `${json}\n… cut at ${integer(SHOWN_STATE)} characters` : json);
  }

  renderEvents(run) {
    const fresh = Math.min(run.eventsSeen - this.eventsShown, SHOWN_EVENTS, run.events.length);
    this.eventsShown = run.eventsSeen;
    if (fresh <= 0) return;
    this.eventList.prepend(...run.events.slice(-fresh).reverse().map(eventRow));
    while (this.eventList.childElementCount > SHOWN_EVENTS) this.eventList.lastElementChild.remove();
  }
}

const CALL_WORDS = { running: "running", done: "done", failed: "failed", unfinished: "no end seen" };

export function title(run) {
  return `${run.graph ?? "graph unknown"}${run.ordinal > 1 ? ` #${run.ordinal}` : ""}`;
}

// isolated shows a fault of one panel in its place: the others, and the stream,
// go on.
export function isolated(panel, render) {
  let fault = "";
  try {
    render();
  } catch (e) {
    fault = `This panel failed: ${clip(e.message, 200)}`;
  }
  let p = panel.querySelector(":scope > .fault");
  if (fault === "") {
    p?.remove();
    return;
  }
  if (p === null) {
    p = el("p", { class: "fault" });
    panel.append(p);
  }
  text(p, fault);
}

function makeFact() {
  const name = el("dt"), value = el("dd");
  return { root: el("div", {}, name, value), name, value };
}

function makeCall() {
  const model = el("b"), facts = el("span", { class: "muted" }), cut = el("div", { class: "note" }), pre = el("pre", { tabindex: 0 });
  return { root: el("div", {}, el("div", { class: "line" }, el("span", { class: "dot" }), model, facts), cut, pre), model, facts, cut, text: pre };
}

function makeTool() {
  const name = el("b"), facts = el("span", { class: "muted" }), args = el("code"), result = el("code");
  return { root: el("div", {}, el("div", { class: "line" }, el("span", { class: "dot" }), name, facts), args, result), name, facts, args, result };
}

function eventRow(e) {
  return el("div", { class: `event ${tone(e.type)}${e.late ? " late" : ""}` },
    el("span", { class: "time" }, clockTime(e.us)),
    el("span", { class: "seq", title: `partition ${e.partition}, offset ${e.offset}` }, e.sequence > 0n ? `#${e.sequence}` : "#–"),
    el("span", { class: "type" }, e.type),
    el("span", { class: "where" }, e.node),
    el("span", { class: "words" }, e.late ? `late · ${e.text}` : e.text));
}

function tone(type) {
  if (/ERROR|^error$/.test(type)) return "bad";
  if (/WARNING|RETRY|INTERRUPT/.test(type)) return "warn";
  if (/^GRAPH_/.test(type)) return "mark";
  return "";
}
