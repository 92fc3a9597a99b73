// The graph of a run as a drawing, and its nodes as a list where a drawing would
// be too large.

import { el, Rows, svg, attr, text } from "./dom.js";
import { atLeast, duration } from "./format.js";
import { HEIGHT, layout, WIDTH } from "./layout.js";
import { timeOf } from "./nodes.js";
import { MAX_EDGES, MAX_NODES } from "./shape.js";
import { partOf } from "./silence.js";
import { clip } from "./text.js";

const MAX_DRAWN = 60;
// How small a drawing may be shown, as a part of its size.
const LEAST = 0.7;

export class GraphView {
  constructor(parent) {
    this.drawing = el("div", { class: "drawing" });
    this.note = el("p", { class: "note" });
    this.list = el("ul", { class: "nodes" });
    parent.append(this.drawing, this.note, this.list);
    this.rows = new Rows(this.list, makeNode);
    this.shape = "";
    this.boxes = new Map();
    this.lines = new Map();
  }

  render(run, quiet, nowUs) {
    const nodes = [...run.nodes.values()];
    this.draw(run, nodes, quiet);
    this.rows.update(run.inOrder().filter((n) => n.visits > 0 || n.declared), (n) => `${run.id}\u0000${n.name}`, (row, n) => changeNode(row, n, run, quiet, nowUs));
    text(this.note, noteOf(run, nodes.length));
  }

  draw(run, nodes, quiet) {
    const names = nodes.map((n) => n.name);
    for (const e of run.edges.values()) for (const n of [e.from, e.to]) if (!run.nodes.has(n) && !names.includes(n)) names.push(n);
    if (names.length > MAX_DRAWN) {
      this.drawing.replaceChildren(el("p", { class: "note" }, `${names.length} nodes: too many to draw.`));
      this.shape = "";
      return;
    }
    const edges = [...run.edges.values()];
    const shape = JSON.stringify([run.id, run.entry, names, edges.map((e) => [e.from, e.to])]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.build(names, edges, run.entry);
    }
    for (const [name, box] of this.boxes) {
      const node = run.nodes.get(name);
      attr(box.root, "class", `node ${node === undefined ? "waiting" : partOf(run, node, quiet)}${node && run.declared && !node.declared ? " undeclared" : ""}`);
      text(box.count, node !== undefined && node.visits > 1 ? `×${node.visits}` : "");
    }
    for (const e of edges) {
      const line = this.lines.get(`${e.from}\u0000${e.to}`);
      if (line) attr(line, "class", `edge${e.taken > 0 ? " taken" : ""}${e.conditional ? " conditional" : ""}`);
    }
  }

  build(names, edges, entry) {
    this.boxes.clear();
    this.lines.clear();
    if (names.length === 0) {
      this.drawing.replaceChildren();
      return;
    }
    const l = layout(names, edges, entry);
    const root = svg("svg", { width: l.width, height: l.height, viewBox: `0 0 ${l.width} ${l.height}`, role: "img", "aria-label": `Graph of ${names.length} nodes` });
    // It shrinks to its panel as far as it can be read, and scrolls beyond.
    root.style.minWidth = `${Math.round(l.width * LEAST)}px`;
    root.append(svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" }, svg("path", { d: "M0 0L8 4L0 8z" }))));
    for (const e of l.edges) {
      const line = svg("path", { d: path(l.nodes.get(e.from), l.nodes.get(e.to), e.back, l.height), "marker-end": "url(#arrow)" });
      this.lines.set(`${e.from}\u0000${e.to}`, line);
      root.append(line);
    }
    for (const name of names) {
      const { x, y } = l.nodes.get(name);
      const count = svg("text", { class: "visits", x: WIDTH - 6, y: 12, "text-anchor": "end" });
      const label = svg("text", { x: WIDTH / 2, y: HEIGHT / 2 + 4, "text-anchor": "middle" }, clip(name, 18));
      const box = svg("g", { transform: `translate(${x} ${y})` }, svg("title", {}, name), svg("rect", { width: WIDTH, height: HEIGHT, rx: 8 }), label, count);
      this.boxes.set(name, { root: box, count });
      root.append(box);
    }
    this.drawing.replaceChildren(root);
  }
}

// noteOf says what the drawing rests on.
function noteOf(run, nodes) {
  const words = [];
  if (run.declaration === "no") words.push("The producer declared no graph.");
  if (run.declaration === "unreadable") words.push("The graph that the producer declared came in a form that is not read here, or too large.");
  if (run.beginning === "middle") words.push("The beginning of the run, where a graph is declared, is not in this view.");
  if (run.beginning === "thread") words.push("No GRAPH_START came, which would declare the graph.");
  if (nodes === 0) words.push(run.beginning === "middle" ? "No node was seen since." : "No node was seen yet.");
  else if (!run.declared) words.push("These are the nodes that were seen.");
  if (run.dropped.nodes > 0) words.push(`Only the first ${MAX_NODES} nodes are kept.`);
  if (run.dropped.edges > 0) words.push(`Only the first ${MAX_EDGES} edges are kept.`);
  return words.join(" ");
}

function path(a, b, back, bottom) {
  if (!back) {
    const x1 = a.x + WIDTH, y1 = a.y + HEIGHT / 2, x2 = b.x, y2 = b.y + HEIGHT / 2;
    const bend = Math.max(24, (x2 - x1) / 2);
    return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  }
  // Back under all boxes: a cubic curve goes three quarters of the way to its
  // control points.
  const x1 = a.x + WIDTH / 2 - 8, x2 = b.x + WIDTH / 2 + 8, y1 = a.y + HEIGHT, y2 = b.y + HEIGHT;
  const low = (y) => y + (bottom - 5 - y) / 0.75;
  return `M${x1} ${y1}C${x1} ${low(y1)} ${x2} ${low(y2)} ${x2} ${y2}`;
}

function makeNode() {
  const dot = el("span", { class: "dot" }), name = el("b"), facts = el("span", { class: "muted" }), note = el("span", { class: "note" });
  return { root: el("li", {}, dot, name, facts, note), name, facts, note };
}

function changeNode(row, node, run, quiet, nowUs) {
  const status = partOf(run, node, quiet);
  attr(row.root, "class", status);
  text(row.name, node.name);
  const facts = [run.partial && node.visits === 0 ? "no visit seen" : WORDS[status]];
  if (node.visits > 1) facts.push(`${atLeast(node.visits, run.partial)} visits`);
  const time = timeOf(node, status, nowUs, run.partial);
  if (time !== null) facts.push(timeWords(time));
  if (run.declared && !node.declared) facts.push("not in the declared graph");
  text(row.facts, facts.join(" · "));
  text(row.note, node.error ?? node.note ?? "");
}

// timeWords says what a time is of.
export function timeWords({ kind, us, all, some }) {
  switch (kind) {
    case "running":
      return `${duration(us)} so far`;
    case "once":
      return duration(us);
    case "last":
      return `last ${duration(us)}, ${some ? "≥ " : ""}${duration(all)} in all`;
    default:
      return `${some ? "≥ " : ""}${duration(us)} in all`;
  }
}

const WORDS = { waiting: "not visited", running: "running", quiet: "running when last heard of", done: "done", failed: "failed", unfinished: "no end seen" };
