// The events and the errors of the selected run.

import { el, Rows, show, text } from "./dom.js";
import { clockTime, integer } from "./format.js";
import { headline, sequences } from "./log.js";

const SHOWN_EVENTS = 200;

export class EventsView {
  constructor(parent) {
    this.list = el("div", { class: "events scroll", tabindex: 0 });
    this.note = el("p", { class: "note" });
    parent.append(this.list, this.note);
    this.run = null;
  }

  render(run) {
    if (run !== this.run) {
      this.run = run;
      this.shown = 0;
      this.list.replaceChildren();
    }
    const { entries, seen } = run.log;
    const fresh = Math.min(seen - this.shown, SHOWN_EVENTS, entries.length);
    // The newest entry that is shown may have grown: it is made again.
    if (this.shown > 0 && this.newest.count !== this.count) {
      const row = eventRow(this.newest);
      this.list.firstElementChild.replaceWith(row);
    }
    if (fresh > 0) {
      this.list.prepend(...entries.slice(-fresh).reverse().map(eventRow));
      while (this.list.childElementCount > SHOWN_EVENTS) this.list.lastElementChild.remove();
    }
    this.shown = seen;
    this.newest = entries.at(-1);
    this.count = this.newest?.count;
    const hidden = seen - this.list.childElementCount;
    const dropped = run.log.dropped;
    text(this.note, hidden === 0 ? "" : `The last ${integer(this.list.childElementCount)} of ${integer(seen)} lines are shown.${dropped > 0 ? ` The page let ${integer(dropped)} older ones go.` : ""}`);
  }
}

function eventRow(e) {
  return el("div", { class: `event ${tone(e)}${e.late ? " late" : ""}` },
    el("span", { class: "time" }, clockTime(e.us)),
    el("span", { class: "seq", title: `partition ${e.partition}, offset ${e.offset}${e.count > 1 ? " and after" : ""}` }, sequences(e)),
    el("span", { class: "kind" }, e.kind),
    el("span", { class: "words" }, el("b", { class: "type" }, headline(e)), el("span", { class: "where" }, e.node), el("span", {}, e.late ? `late, not counted · ${e.text}` : e.text)));
}

function tone(e) {
  if (e.kind === "error" || /ERROR/.test(e.type)) return "bad";
  if (/WARNING|RETRY|INTERRUPT/.test(e.type)) return "warn";
  if (/^GRAPH_/.test(e.type) || e.kind === "new count") return "mark";
  return "";
}

export class ErrorsView {
  constructor(panel) {
    this.panel = panel;
    const content = panel.querySelector(".content");
    const list = el("div");
    this.note = el("p", { class: "note" });
    content.append(list, this.note);
    this.rows = new Rows(list, makeError);
    this.run = null;
  }

  render(run) {
    if (run !== this.run) {
      this.run = run;
      this.rows.clear();
    }
    const { entries, dropped } = run.errors;
    show(this.panel, entries.length > 0);
    text(this.note, dropped > 0 ? `The page let ${integer(dropped)} older ones go.` : "");
    this.rows.update([...entries].reverse(), (e) => e.serial, () => {});
  }
}

function makeError(e) {
  const facts = [e.type, e.code, e.sequence > 0n ? `message ${e.sequence}` : undefined, clockTime(e.us)].filter(Boolean).join(" · ");
  const root = el("div", { class: `error ${["warning", "info", "debug"].includes(e.severity) ? "mild" : ""}` },
    el("div", { class: "line" }, el("b", {}, e.severity), el("span", { class: "muted" }, facts)),
    el("p", {}, e.message ?? "no message"));
  if (e.suggestions.length > 0) root.append(el("ul", {}, ...e.suggestions.map((s) => el("li", {}, s))));
  if (e.stack !== undefined) {
    root.append(el("details", {}, el("summary", {}, "Stack trace"), el("pre", { tabindex: 0 }, e.stack),
      ...(e.cut > 0 ? [el("p", { class: "note" }, `The last ${integer(e.cut)} characters are not kept.`)] : [])));
  }
  return { root };
}
