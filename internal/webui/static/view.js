// The page: connection bar, list of runs, the selected run. It reads the client
// and the model and changes neither.

import { DetailView, isolated, STATUS_WORDS, title } from "./detail.js";
import { $, attr, el, Rows, show, text } from "./dom.js";
import { dollars, duration, integer, rate, seconds, sum, wallTime } from "./format.js";
import { clip } from "./text.js";

const REASONS = {
  REASON_RETENTION: "the log no longer holds them",
  REASON_UNREADABLE: "the broker cannot read them",
  REASON_TOPIC_RECREATED: "the topic was deleted and created again",
  REASON_OTHER_STREAM: "the server reads another cluster or topic",
  REASON_TRUNCATED: "the log lost records that had been read",
};

// A run under way of which nothing was heard for this long is shown as quiet.
const QUIET_MS = 60_000;

const because = (reason) => REASONS[reason] ?? "no reason given";

export class View {
  constructor(client, model) {
    this.client = client;
    this.model = model;
    this.selected = null;
    this.health = { state: "unknown", reasons: [] };
    this.detail = new DetailView();
    this.rows = new Rows($("run-list"), (run) => this.makeRun(run));
    this.notices = new Rows($("notices"), () => ({ root: el("p", { role: "alert" }) }));
    // Notices that the reader has put away stay away until there is news.
    this.dismissed = new Map();
  }

  render() {
    isolated($("bar"), () => this.bar());
    isolated($("notices"), () => this.notes());
    isolated($("runs"), () => this.list());
    isolated($("detail"), () => this.detail.render(this.selected));
  }

  bar() {
    const c = this.client;
    const wait = c.retryAt === undefined ? 0 : c.retryAt - c.env.now();
    const [word, detail] = {
      connecting: ["Connecting", ""],
      "catching up": ["Catching up", ""],
      live: ["Live", ""],
      waiting: [c.wantsToken ? "Waiting for a token" : `Reconnecting in ${seconds(wait)}`, c.detail],
      stopped: ["Stopped", "nothing is received until you start again"],
    }[c.status];
    text($("status-word"), word);
    text($("status-detail"), detail);
    attr($("status-detail"), "title", detail);
    attr($("status"), "data-status", c.status);
    text($("pause"), c.status === "stopped" ? "Start" : "Stop");
    const hello = c.hello;
    text($("fact-stream"), hello === null ? "–" : `${hello.topic} · ${clip(hello.streamId, 9)}`);
    if (hello !== null) attr($("fact-stream"), "title", `stream ${hello.streamId}, ${hello.partitions.length} partitions, server ${hello.serverVersion}`);
    text($("fact-records"), integer(c.received));
    text($("fact-rate"), rate(c.rate.perSecond()));
    text($("fact-gaps"), integer(c.gaps.count));
    text($("fact-resets"), integer(c.resets.count));
    show($("token"), c.wantsToken);
  }

  notes() {
    const c = this.client;
    const notes = [];
    const demo = this.model.list().filter((r) => r.demo).length;
    if (demo > 0) notes.push(["demo", "info", `Demo: ${demo} of the ${this.model.runs.size} runs shown are simulated; no model was called.`]);
    const last = (list, words) => (list.count > 0 ? words(list.last.at(-1), list.count) : undefined);
    if (this.health.state === "not ready") notes.push(["health", "warn", `The server is not ready: ${this.health.reasons.join("; ") || "no reason given"}.`]);
    if (this.health.state === "unavailable" && c.status === "live") notes.push(["health", "warn", "The server does not answer health checks: what is shown may be old."]);
    notes.push(["gaps", "warn", last(c.gaps, (g, n) => `${wallTime(g.at)}: records ${g.from} to ${g.to - 1n} of partition ${g.partition} will not come: ${because(g.reason)}. Gaps so far: ${n}.`)]);
    notes.push(["resets", "warn", last(c.resets, (r, n) => `${wallTime(r.at)}: the stream began anew: ${because(r.reason)}. Runs shown before are gone. Resets so far: ${n}.`)]);
    notes.push(["quarantine", "bad", last(c.quarantined, (q, n) => `${n} records could not be applied and were passed over; last: offset ${q.offset} of partition ${q.partition}: ${q.reason}.`)]);
    const u = this.model.unreadable;
    notes.push(["unreadable", "warn", last(u, (r, n) => `${n} records cannot be read; last: offset ${r.offset} of partition ${r.partition}: ${r.reason}${r.detail ? `, ${r.detail}` : ""}.`)]);
    notes.push(["problems", "warn", last(c.problems, (p, n) => `${wallTime(p.at)}: ${p.text}${n > 1 ? ` (${n} notices so far)` : ""}`)]);
    const shown = notes.filter(([key, , words]) => words !== undefined && this.dismissed.get(key) !== words);
    this.notices.update(shown, (n) => n[0], (row, [key, kind, words]) => {
      attr(row.root, "class", `notice ${kind}`);
      if (row.words === words) return;
      row.words = words;
      if (kind === "info") {
        text(row.root, words);
        return;
      }
      const close = el("button", { type: "button", "aria-label": "Put this notice away" }, "×");
      close.addEventListener("click", () => {
        this.dismissed.set(key, words);
        this.render();
      });
      row.root.replaceChildren(words, close);
    });
  }

  list() {
    const runs = this.model.list();
    if (this.selected !== null && !this.model.runs.has(this.selected.id)) this.selected = null;
    const active = (r) => !r.over && this.model.quiet(r) < QUIET_MS;
    if (this.selected === null || ($("follow").checked && !active(this.selected))) {
      this.selected = runs.find(active) ?? this.selected ?? runs[0] ?? null;
    }
    const more = this.model.evicted > 0 ? `${runs.length} shown, ${integer(this.model.evicted)} older ones let go` : `${runs.length}`;
    text($("runs-count"), runs.length === 0 ? "" : more);
    show($("runs-empty"), runs.length === 0);
    text($("runs-empty"), this.emptyWords());
    this.rows.update(runs, (r) => r.id, (row, run) => this.changeRun(row, run));
  }

  emptyWords() {
    switch (this.client.status) {
      case "live":
        return "Nothing yet. Runs appear here as agents start them; try: dashstream demo";
      case "catching up":
        return "Reading the log…";
      default:
        return "No run was received yet.";
    }
  }

  select(run) {
    this.selected = run;
    $("follow").checked = false;
    this.render();
  }

  makeRun(run) {
    const parts = {};
    for (const name of ["chip", "demo", "graph", "thread", "duration", "visited", "tokens", "cost", "last"]) parts[name] = el("span", { class: name });
    const name = el("span", { class: "name" }, parts.graph, " ", parts.demo);
    const root = el("button", { type: "button", class: "run" }, parts.chip, name, parts.duration, parts.thread, parts.visited, parts.tokens, parts.cost, parts.last);
    root.addEventListener("click", () => this.select(run));
    return { root, revision: -1, ...parts };
  }

  changeRun(row, run) {
    attr(row.root, "aria-current", String(run === this.selected));
    const quiet = run.over ? 0 : this.model.quiet(run);
    const chip = STATUS_WORDS[run.status] + (quiet >= QUIET_MS ? `, quiet for ${duration(BigInt(quiet) * 1000n)}` : "");
    if (row.revision === run.revision && row.words === chip) return;
    row.revision = run.revision;
    row.words = chip;
    attr(row.root, "class", `run ${run.status}`);
    attr(row.chip, "class", `chip ${run.status}`);
    text(row.chip, chip);
    text(row.graph, title(run));
    text(row.demo, run.demo ? "demo" : "");
    text(row.thread, run.thread.id);
    text(row.duration, duration(run.duration()));
    text(row.visited, run.visited() === 1 ? "1 node" : `${run.visited()} nodes`);
    text(row.tokens, `${sum(run.tokens, run.tokensKnown, run.tokensUnknown, integer)} tokens`);
    text(row.cost, sum(run.cost, run.costKnown, run.costUnknown, dollars));
    const e = run.events.at(-1);
    text(row.last, e === undefined ? "" : [e.type, e.node, e.text].filter(Boolean).join(" · "));
  }
}
