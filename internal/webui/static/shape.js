// The shape of a graph as its producer declares it: JSON whose layout differs
// between producers. What is not understood is left out; the events show the
// rest.

import { isObject, parse } from "./json.js";
import { clip } from "./text.js";

export const MAX_NODES = 500;
export const MAX_EDGES = 2000;

const NAME = 256;
const name = (v) => (typeof v === "string" && v !== "" ? clip(v, NAME) : undefined);

// shape reads nodes and edges from a manifest or schema. Nodes may be a list of
// names or objects, or an object by name; edges a list, or lists by source.
export function shape(text) {
  const out = { nodes: [], edges: [], entry: undefined };
  if (text === undefined) return out;
  let json;
  try {
    json = parse(text);
  } catch {
    return out;
  }
  if (!isObject(json)) return out;
  const nodes = new Set();
  const add = (n) => n !== undefined && nodes.size < MAX_NODES && nodes.add(n);
  if (Array.isArray(json.nodes)) {
    for (const n of json.nodes) add(name(n) ?? (isObject(n) ? (name(n.name) ?? name(n.id) ?? name(n.node_id)) : undefined));
  } else if (isObject(json.nodes)) {
    for (const n of Object.keys(json.nodes)) add(name(n));
  }
  const edge = (e, source, conditional) => {
    const from = source ?? (isObject(e) ? (name(e.from) ?? name(e.source)) : undefined);
    // A branch by condition may be written as {"yes": "a", "no": "b"}.
    const targets = isObject(e) ? (e.to ?? e.target ?? e.targets ?? (conditional ? e : undefined)) : e;
    const all = Array.isArray(targets) ? targets : isObject(targets) ? Object.values(targets) : [targets];
    for (const t of all) {
      const to = name(t);
      if (from === undefined || to === undefined || out.edges.length >= MAX_EDGES) continue;
      out.edges.push({ from, to, conditional: conditional || (isObject(e) && (e.conditional === true || e.is_conditional === true)) });
    }
  };
  for (const [key, conditional] of [["edges", false], ["conditional_edges", true]]) {
    const edges = json[key];
    if (Array.isArray(edges)) {
      for (const e of edges) edge(e, undefined, conditional);
    } else if (isObject(edges)) {
      for (const from of Object.keys(edges)) {
        const list = Array.isArray(edges[from]) ? edges[from] : [edges[from]];
        for (const e of list) edge(e, name(from), conditional);
      }
    }
  }
  out.nodes = [...nodes];
  out.entry = name(json.entry_point) ?? name(json.entry);
  return out;
}
