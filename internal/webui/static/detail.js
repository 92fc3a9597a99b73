// The selected run.

import { $, attr, el, Rows, show, text } from "./dom.js";
import { ErrorsView, EventsView } from "./logview.js";
import { atLeast, dollars, duration, integer, recordRange, sum } from "./format.js";
import { GraphView } from "./graphview.js";
import { stringify } from "./json.js";
import { partOf, statusOf } from "./silence.js";
import { clip } from "./text.js";

const SHOWN_CALLS = 8;
const SHOWN_TOOLS = 50;
const SHOWN_STATE = 100_000;
const SHOWN_TEXT = 8_000;

export const STATUS_WORDS = { running: "running", quiet: "quiet", interrupted: "waits for a person", ended: "ended", failed: "failed", unknown: "no end seen", unclear: "not known" };
export const PARTIAL = "Messages of this run are not in this view: there may be more.";

export class DetailView {
  constructor(silence) {
    this.silence = silence;
    this.quiet = false;
    this.body = $("detail-body");
    this.run = null;
    const content = (id) => $(id).querySelector(".content");
    this.graph = new GraphView(content("panel-graph"));
    this.calls = new Rows(list(content("panel-llm")), makeCall);
    this.callsNote = note(content("panel-llm"));
    this.tools = new Rows(list(content("panel-tools")), makeTool);
    this.toolsNote = note(content("panel-tools"));
    this.errors = new ErrorsView($("panel-errors"));
    this.events = new EventsView(content("panel-events"));
    this.stateNote = el("p", { class: "note" });
    this.statePre = el("pre", { tabindex: 0 });
    this.troubles = el("details", {});
    content("panel-state").append(this.stateNote, this.statePre, this.troubles);
    this.stateKey = "";
    this.facts = new Rows($("detail-facts"), makeFact);
    this.flags = new Rows($("detail-flags"), () => ({ root: el("li") }));
    this.panels = [
      ["panel-errors", (r) => this.errors.render(r)],
      ["panel-graph", (r) => this.graph.render(r, this.quiet, this.silence.nowUs(r))],
      ["panel-llm", (r) => this.renderCalls(r)],
      ["panel-tools", (r) => this.renderTools(r)],
      ["panel-state", (r) => this.renderState(r)],
      ["panel-events", (r) => this.events.render(r)],
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
      this.stateKey = "";
    }
    this.quiet = this.silence.of(run) > 0;
    this.head(run);
    for (const [id, render] of this.panels) isolated($(id), () => render(run));
  }

  head(run) {
    text($("detail-title"), title(run));
    const status = statusOf(run, this.quiet);
    text($("detail-chip"), STATUS_WORDS[status]);
    attr($("detail-chip"), "class", `chip ${status}`);
    const facts = [
      ["Thread", run.thread.id],
      ["Tenant", run.thread.tenant],
      ["Duration", durationOf(run, this.quiet)],
      ["Nodes visited", atLeast(run.visited(), run.partial)],
      ["Tokens", sum(run.tokens, run.tokensKnown, run.tokensUnknown, integer, run.partial)],
      ["Cost", sum(run.cost, run.costKnown, run.costUnknown, dollars, run.partial)],
      ["Partition", String(run.partition)],
      ...[...run.quality].map(([name, v]) => [name.replaceAll("_", " "), typeof v === "number" ? String(Math.round(v * 1000) / 1000) : String(v)]),
    ];
    this.facts.update(facts, ([name]) => name, (row, [name, value]) => {
      text(row.name, name);
      text(row.value, value || "–");
    });
    const flags = [];
    // It changes with time: known by its kind.
    if (this.quiet) flags.push(["quiet", this.silence.words(run), "quiet"]);
    if (run.error !== undefined) flags.push(["error", `Error: ${run.error}`]);
    if (run.warning !== undefined) flags.push(["warn", `Warning: ${run.warning}`]);
    if (run.beginning === "middle") flags.push(["info", "Began before this view: its beginning was not read, so that each count with ≥ is a lower bound."]);
    if (run.status === "unclear") flags.push(["info", "Nothing was read that says whether it is under way or over."]);
    if (run.restarts > 0) flags.push(["info", `The producer began to count its messages anew ${run.restarts === 1 ? "once" : `${run.restarts} times`} meanwhile: it was restarted. That sequences begin at 1 again is no loss; what it had not sent before is not known.`]);
    if (run.missing > 0n) flags.push(["warn", `${integer(run.missing)} ${run.missing === 1n ? "message" : "messages"} of the thread never came: dropped by the producer, or lost.`]);
    if (run.late > 0) flags.push(["warn", `${integer(run.late)} ${run.late === 1 ? "message" : "messages"} came out of order and ${run.late === 1 ? "was" : "were"} only logged.`]);
    for (const g of run.gaps) flags.push(["warn", `Lost while it ran: ${recordRange(g)} of partition ${run.partition}.`]);
    this.flags.update(flags, (f) => f[2] ?? f[1], (row, [kind, words]) => {
      attr(row.root, "class", kind);
      text(row.root, words);
    });
  }

  renderCalls(run) {
    const calls = [...run.calls.values()].slice(-SHOWN_CALLS).reverse();
    show($("panel-llm"), calls.length > 0);
    text(this.callsNote, hiddenWords("calls", run.calls.size + run.dropped.calls, calls.length, run.dropped.calls));
    this.calls.update(calls, (c) => c.id, (row, c) => {
      attr(row.root, "class", `call ${partOf(run, c, this.quiet)}`);
      text(row.model, c.model ?? "model unknown");
      const facts = [c.node, CALL_WORDS[partOf(run, c, this.quiet)], c.finish, c.tokens === undefined ? undefined : `${integer(c.tokens)} tokens`, c.cost === undefined ? undefined : dollars(c.cost),
        c.durationUs === undefined ? undefined : duration(c.durationUs), c.retries > 0 ? `${c.retries} retries` : undefined];
      text(row.facts, facts.filter(Boolean).join(" · "));
      const cut = c.cut + Math.max(0, c.text.length - SHOWN_TEXT);
      text(row.cut, [
        c.lost > 0 ? `${integer(c.lost)} ${c.lost === 1 ? "piece" : "pieces"} of the text ${c.lost === 1 ? "is" : "are"} missing: from before this view, or dropped by the producer.` : "",
        cut > 0 ? `The first ${integer(cut)} characters are not shown.` : "",
      ].filter(Boolean).join(" "));
      const atEnd = row.text.scrollTop + row.text.clientHeight >= row.text.scrollHeight - 8;
      text(row.text, c.error ?? c.text.slice(-SHOWN_TEXT));
      show(row.text, (c.error ?? c.text) !== "");
      if (atEnd) row.text.scrollTop = row.text.scrollHeight;
    });
  }

  renderTools(run) {
    const tools = [...run.tools.values()].slice(-SHOWN_TOOLS).reverse();
    show($("panel-tools"), tools.length > 0);
    text(this.toolsNote, hiddenWords("tool calls", run.tools.size + run.dropped.tools, tools.length, run.dropped.tools));
    this.tools.update(tools, (t) => t.id, (row, t) => {
      attr(row.root, "class", `tool ${partOf(run, t, this.quiet)}`);
      text(row.name, t.name ?? "tool unknown");
      const facts = [CALL_WORDS[partOf(run, t, this.quiet)], t.durationUs === undefined ? undefined : duration(t.durationUs), t.retries > 0 ? `${t.retries} retries` : undefined, t.error];
      text(row.facts, facts.filter(Boolean).join(" · "));
      text(row.args, t.arguments === undefined ? "" : clip(t.arguments, 300));
      text(row.result, t.result === undefined ? "" : `→ ${clip(t.result, 300)}`);
    });
  }

  renderState(run) {
    const s = run.state;
    const key = `${run.id} ${s.status} ${s.applied} ${s.skipped} ${s.reason} ${s.check.serial} ${s.check.right} ${s.compared} ${run.over}`;
    if (key === this.stateKey) return;
    this.stateKey = key;
    attr($("panel-state"), "data-state", s.status);
    text(this.stateNote, stateWords(s, run));
    show(this.troubles, s.troubles.length > 0);
    const open = this.troubles.open;
    this.troubles.replaceChildren(el("summary", {}, `What went wrong with the state of this thread (${s.troubles.length})`), el("ul", {}, ...s.troubles.map((t) => el("li", {}, `${t.reason} (${t.healed === null ? "not healed yet" : `healed by message ${t.healed}`})`))));
    this.troubles.open = open;
    show(this.statePre, s.status !== "none");
    if (s.status === "none") return;
    const { text: json, cut } = stringify(s.doc, SHOWN_STATE);
    text(this.statePre, cut ? `${json}\n… cut at ${integer(SHOWN_STATE)} characters` : json);
  }
}

const CALL_WORDS = { running: "running", quiet: "running when last heard of", done: "done", failed: "failed", unfinished: "no end seen" };

// durationOf is what the run took, or takes so far; of one whose end was not
// seen, or that is quiet, it is a lower bound.
export function durationOf(run, quiet) {
  const us = run.duration();
  return (us !== undefined && us >= 0n && (quiet || run.status === "unknown" || run.status === "unclear") ? "≥ " : "") + duration(us);
}

export function title(run) {
  const name = run.graph ?? (run.beginning === "start" ? "graph without a name" : "graph unknown");
  return `${name}${run.ordinal > 1 ? ` #${run.ordinal}` : ""}`;
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

function list(parent) {
  const root = el("div");
  parent.append(root);
  return root;
}

function note(parent) {
  const root = el("p", { class: "note" });
  parent.append(root);
  return root;
}

// hiddenWords says what a list leaves out, and what is not kept at all.
export function hiddenWords(what, all, shown, gone) {
  if (all <= shown) return "";
  return `The last ${integer(shown)} of ${integer(all)} ${what} are shown.${gone > 0 ? ` The page let ${integer(gone)} older ones go.` : ""}`;
}

// stateWords says what a state is worth; of one that stands still why, what it
// lacks, and, while there may be more to come, what heals it.
export function stateWords(s, run) {
  switch (s.status) {
    case "none":
      return `No state: ${s.reason}.`;
    case "current":
      return `As of message ${s.sequence}${s.sequence < run.startSequence ? ", before this run began" : ""}. ${hashWords(s)}`;
    default: {
      const lacks = s.skipped === 0 ? "" : ` ${integer(s.skipped)} ${s.skipped === 1 ? "change was" : "changes were"} not applied.`;
      return `Stands at message ${s.sequence}: ${s.reason.replace(/\.$/, "")}.${lacks}${run.over ? "" : " The next full state heals it."}`;
    }
  }
}

// hashWords says what is known of the state's hash.
function hashWords(s) {
  const { check } = s;
  const counted = s.claims > 0 ? ` Of ${integer(s.claims)} ${s.claims === 1 ? "hash" : "hashes"} that came so far, ${integer(s.compared)} ${s.compared === 1 ? "was" : "were"} checked.` : "";
  if (check.right && check.sequence === s.sequence) return `Verified: its SHA-256 is the one that the producer sent.${counted}`;
  if (check.serial < s.states) return `Its hash is being checked.${counted}`;
  return `Not verified: ${check.reason}.${counted}`;
}
