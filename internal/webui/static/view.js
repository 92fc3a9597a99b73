// The page: connection bar, list of runs, the selected run. It reads the client
// and the model and changes neither.

import { DetailView, durationOf, isolated, PARTIAL, STATUS_WORDS, title } from "./detail.js";
import { $, attr, el, Rows, show, text } from "./dom.js";
import { atLeast, dollars, integer, rate, recordRange, seconds, sum, wallTime } from "./format.js";
import { statusWords } from "./health.js";
import { headline } from "./log.js";
import { MAX_RUNS } from "./model.js";
import { newsWords } from "./partitions.js";
import { ago, Silence, statusOf } from "./silence.js";
import { clip } from "./text.js";

const REASONS = {
  REASON_RETENTION: "the log no longer holds them",
  REASON_UNREADABLE: "the broker cannot read them",
  REASON_TOPIC_RECREATED: "the topic was deleted and created again",
  REASON_OTHER_STREAM: "the server reads another cluster or topic",
  REASON_TRUNCATED: "the log lost records that had been read",
};

const because = (reason) => REASONS[reason] ?? "no reason given";

export class View {
  constructor(client, model) {
    this.client = client;
    this.model = model;
    this.selected = null;
    // A selected run that is not in the view any more: it is selected again when
    // it is read again, and until then the page says that it is not here.
    this.wanted = null;
    this.health = { state: "unknown", reasons: [] };
    this.silence = new Silence(client, model);
    this.detail = new DetailView(this.silence);
    this.rows = new Rows($("run-list"), (run) => this.makeRun(run));
    this.notices = new Rows($("notices"), ([key, kind]) => this.makeNotice(key, kind));
    // Notices that the reader has put away stay away until there is news.
    this.dismissed = new Map();
  }

  render() {
    this.silence.observe(this.health.state !== "not ready");
    isolated($("bar"), () => this.bar());
    isolated($("notices"), () => this.notes());
    isolated($("runs"), () => this.list());
    isolated($("detail"), () => {
      text($("detail-none"), this.noneWords());
      this.detail.render(this.selected);
    });
  }

  bar() {
    const c = this.client;
    const wait = c.retryAt === undefined ? 0 : c.retryAt - c.env.now();
    const { word, detail, kind } = {
      connecting: { word: "Connecting", detail: this.waitingFor(), kind: c.status },
      waiting: { word: c.wantsToken ? "Waiting for a token" : `Reconnecting in ${seconds(wait)}`, detail: this.waitingFor(), kind: c.status },
      stopped: { word: "Stopped", detail: "nothing is received until you start again", kind: c.status },
    }[c.status] ?? statusWords(c.status, this.health);
    text($("status-word"), word);
    text($("status-detail"), detail);
    attr($("status-detail"), "title", detail);
    attr($("status"), "data-status", kind);
    text($("pause"), c.status === "stopped" ? "Start" : c.wantsToken ? "Try again" : "Stop");
    const hello = c.hello;
    text($("fact-stream"), hello === null ? "–" : `${hello.topic} · ${clip(hello.streamId, 9)}`);
    if (hello !== null) attr($("fact-stream"), "title", `stream ${hello.streamId}, ${integer(hello.partitions?.length)} partitions, server ${hello.serverVersion}`);
    // Before the stream has begun nothing is known, which is not zero.
    const known = (n) => integer(c.cursor === null ? undefined : n);
    text($("fact-records"), known(this.model.records));
    text($("fact-rate"), rate(c.rate?.perSecond()));
    text($("fact-gaps"), known(c.gaps.count));
    text($("fact-resets"), known(c.resets.count));
    show($("token"), c.wantsToken);
  }

  // waitingFor is why there is no connection. A server that cannot read says why
  // in its report.
  waitingFor() {
    const { detail, refusal } = this.client;
    return refusal === 503 && this.health.reasons.length > 0 ? `${detail}: ${this.health.reasons.join("; ")}` : detail;
  }

  notes() {
    const c = this.client;
    const notes = [];
    notes.push(["demo", "info", demoWords(this.model.list())]);
    const last = (list, words) => (list.count > 0 ? words(list.last.at(-1), list.count) : undefined);
    if (this.health.state === "not ready") notes.push(["health", "warn", "The server is not ready:", this.health.reasons.length > 0 ? this.health.reasons : ["no reason given"]]);
    if (this.health.state === "unavailable" && c.status === "live") notes.push(["health", "warn", "The server does not answer health checks: what is shown may be old."]);
    notes.push(["gaps", "warn", last(c.gaps, (g, n) => `${wallTime(g.at)}: ${recordRange(g)} of partition ${g.partition} will not come: ${because(g.reason)}. Gaps so far: ${n}.`)]);
    notes.push(["resets", "warn", last(c.resets, (r, n) => `${wallTime(r.at)}: the stream began anew: ${because(r.reason)}. Runs shown before are gone. Resets so far: ${n}.`)]);
    notes.push(["grown", "info", last(c.grown, (g) => `${wallTime(g.at)}: ${newsWords(g)}.`)]);
    notes.push(["quarantine", "bad", last(c.quarantined, (q, n) => `${n === 1 ? "1 record" : `${integer(n)} records`} could not be applied and ${n === 1 ? "was" : "were"} passed over; last: offset ${q.offset} of partition ${q.partition}: ${q.reason}.`)]);
    const u = this.model.unreadable;
    notes.push(["unreadable", "warn", last(u, (r, n) => `${n === 1 ? "1 record" : `${integer(n)} records`} cannot be read; last: offset ${r.offset} of partition ${r.partition}: ${r.reason}${r.detail ? `, ${r.detail}` : ""}.`)]);
    notes.push(["problems", "warn", last(c.problems, (p, n) => `${wallTime(p.at)}: ${p.text}${n > 1 ? ` (${n} notices so far)` : ""}`)]);
    const shown = notes.filter(([key, , words, lines]) => words !== undefined && this.dismissed.get(key) !== newsOf(words, lines));
    this.notices.update(shown, (n) => n[0], (row, n) => this.changeNotice(row, n));
  }

  makeNotice(key, kind) {
    const root = el("div", { role: "alert" }), words = el("p"), list = el("ul", { tabindex: 0 });
    const row = { root, words, lines: new Rows(list, () => ({ root: el("li") })), list, news: "" };
    root.append(el("div", { class: "words" }, words, list));
    if (kind === "info") return row;
    const close = el("button", { type: "button", "aria-label": "Put this notice away" }, "×");
    close.addEventListener("click", () => {
      this.dismissed.set(key, row.news);
      this.render();
    });
    root.append(close);
    return row;
  }

  // changeNotice shows a notice: its words, and lines below them.
  changeNotice(row, [, kind, words, lines = []]) {
    attr(row.root, "class", `notice ${kind}`);
    row.news = newsOf(words, lines);
    text(row.words, words);
    show(row.list, lines.length > 0);
    row.lines.update(lines.map((line, i) => [i, line]), ([i]) => i, (li, [, line]) => text(li.root, line));
  }

  list() {
    const runs = this.model.list();
    this.keep();
    this.views = this.model.views;
    const active = (r) => !r.over && this.silence.of(r) === 0;
    const follow = $("follow").checked;
    if (this.wanted !== null && follow && this.client.status === "live") this.wanted = null;
    if (this.wanted === null && (this.selected === null || (follow && !active(this.selected)))) {
      this.selected = runs.find(active) ?? this.selected ?? runs[0] ?? null;
    }
    const more = this.model.evicted > 0 ? `${runs.length} shown, ${integer(this.model.evicted)} older ones let go` : `${runs.length}`;
    text($("runs-count"), runs.length === 0 ? "" : more);
    show($("runs-empty"), runs.length === 0);
    text($("runs-empty"), this.emptyWords());
    this.rows.update(runs, (r) => r.id, (row, run) => this.changeRun(row, run));
  }

  // keep holds on to the selected run when the view begins anew.
  keep() {
    if (this.views !== this.model.views) this.letGo = false;
    if (this.selected !== null && this.model.runs.get(this.selected.id) !== this.selected) {
      this.wanted = this.selected;
      this.letGo = this.views === this.model.views;
      this.selected = null;
    }
    if (this.wanted === null) return;
    this.selected = this.model.find(this.wanted);
    if (this.selected !== null) this.wanted = null;
  }

  // noneWords says why no run is shown.
  noneWords() {
    if (this.wanted === null) return "Select a run.";
    const name = `${title(this.wanted)} of thread ${this.wanted.thread.id}`;
    if (this.letGo) return `The selected run, ${name}, was let go: the page keeps the ${MAX_RUNS} runs that were heard of last, and fewer where these are large. Select another one.`;
    if (this.client.status !== "live") return `Looking for the selected run, ${name}…`;
    return `The selected run, ${name}, is not in this view. Select another one, or show more of the log.`;
  }

  emptyWords() {
    switch (this.client.status) {
      case "live":
        if (this.health.state === "not ready") return "Nothing yet, and the server is not reading: see above.";
        return "Nothing yet. Runs appear here as agents start them; try: dashstream demo";
      case "catching up":
        return "Reading the log…";
      default:
        return "No run was received yet.";
    }
  }

  select(run) {
    this.selected = run;
    this.wanted = null;
    $("follow").checked = false;
    this.render();
  }

  makeRun(run) {
    const parts = {};
    for (const name of ["chip", "demo", "graph", "thread", "duration", "visited", "tokens", "cost", "last"]) parts[name] = el("span", { class: name });
    const name = el("span", { class: "name" }, parts.graph, parts.demo);
    const root = el("button", { type: "button", class: "run" }, parts.chip, name, parts.duration, parts.thread, parts.visited, parts.tokens, parts.cost, parts.last);
    const row = { root, run, revision: -1, ...parts };
    // A view that begins anew has other runs under the same ids.
    root.addEventListener("click", () => this.select(row.run));
    return row;
  }

  changeRun(row, run) {
    attr(row.root, "aria-current", String(run === this.selected));
    const quiet = this.silence.of(run);
    const silence = quiet > 0 ? `quiet for ${ago(quiet)} · ` : "";
    const status = statusOf(run, quiet > 0);
    if (row.run === run && row.revision === run.revision && row.words === silence) return;
    row.run = run;
    row.revision = run.revision;
    row.words = silence;
    attr(row.root, "class", `run ${run.status}`);
    attr(row.chip, "class", `chip ${status}`);
    text(row.chip, STATUS_WORDS[status]);
    text(row.graph, title(run));
    attr(row.graph, "title", title(run));
    text(row.demo, run.demo === true ? "demo" : maybeDemo(run) ? "demo?" : "");
    text(row.thread, run.thread.id);
    text(row.duration, durationOf(run, quiet > 0));
    attr(row.visited, "title", run.partial ? PARTIAL : "");
    text(row.visited, `${atLeast(run.visited(), run.partial)} ${run.visited() === 1 && !run.partial ? "node" : "nodes"}`);
    text(row.tokens, `${sum(run.tokens, run.tokensKnown, run.tokensUnknown, integer, run.partial)} tokens`);
    text(row.cost, sum(run.cost, run.costKnown, run.costUnknown, dollars, run.partial));
    const e = run.log.entries.at(-1);
    text(row.last, silence + (e === undefined ? "" : [headline(e) || e.kind, e.node, e.text].filter(Boolean).join(" · ")));
  }
}

// newsOf is what a notice that was put away is known by: one in which only a time
// went on has no news.
const newsOf = (words, lines = []) => [words, ...lines].join("\n").replace(/\b(?:\d+(?:\.\d+)?(?:ms|s|m|h))+\b/g, "…");

// The demo's own tenant. A run whose start was not read does not say whether it
// is simulated; its tenant only makes that likely.
const DEMO_TENANT = "demo";
const maybeDemo = (run) => run.demo === undefined && run.thread.tenant === DEMO_TENANT;

// demoWords tells of simulated runs, and of those that may be.
function demoWords(runs) {
  const demo = runs.filter((r) => r.demo === true).length;
  const maybe = runs.filter(maybeDemo).length;
  if (demo + maybe === 0) return undefined;
  const words = [];
  if (demo > 0) words.push(`Demo: ${maybe > 0 ? "at least " : ""}${demo} of the ${runs.length} runs shown ${demo === 1 ? "is" : "are"} simulated; no model was called for ${demo === 1 ? "it" : "them"}.`);
  if (maybe > 0) words.push(`${maybe} of tenant ${DEMO_TENANT} began before this view: whether ${maybe === 1 ? "it is" : "they are"} simulated is not known.`);
  return words.join(" ");
}
