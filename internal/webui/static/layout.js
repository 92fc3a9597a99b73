// Where the nodes of a graph stand: in columns, each node right of those that
// lead to it. Edges that close a loop run back and do not count.

export const COLUMN = 168;
export const ROW = 58;
export const WIDTH = 132;
export const HEIGHT = 38;
const MARGIN = 14;

// layout returns {nodes: name -> {x, y}, edges: [{from, to, back}], width,
// height}. names come in the order of their first mention.
export function layout(names, edges, entry) {
  const out = new Map(names.map((n) => [n, []]));
  for (const e of edges) {
    if (out.has(e.from) && out.has(e.to) && e.from !== e.to) out.get(e.from).push(e.to);
  }
  const back = backEdges(names, out, entry);
  const isBack = (from, to) => from === to || back.has(`${from}\u0000${to}`);

  // Longest way from a start, in topological order.
  const incoming = new Map(names.map((n) => [n, 0]));
  for (const [from, list] of out) for (const to of list) if (!isBack(from, to)) incoming.set(to, incoming.get(to) + 1);
  const column = new Map(names.map((n) => [n, 0]));
  const queue = names.filter((n) => incoming.get(n) === 0);
  for (let i = 0; i < queue.length; i++) {
    for (const to of out.get(queue[i])) {
      if (isBack(queue[i], to)) continue;
      column.set(to, Math.max(column.get(to), column.get(queue[i]) + 1));
      incoming.set(to, incoming.get(to) - 1);
      if (incoming.get(to) === 0) queue.push(to);
    }
  }

  // Without edges nothing says what follows what: the order of mention does.
  if (edges.length === 0) names.forEach((n, i) => column.set(n, i));

  const columns = [];
  for (const n of names) (columns[column.get(n)] ??= []).push(n);
  const row = new Map();
  columns.forEach((list, c) => {
    if (c > 0) {
      // Beside their predecessors, so that few edges cross.
      const mean = (n) => {
        const before = names.filter((p) => row.has(p) && out.get(p).includes(n) && !isBack(p, n)).map((p) => row.get(p));
        return before.length === 0 ? 0 : before.reduce((a, b) => a + b, 0) / before.length;
      };
      const means = new Map(list.map((n) => [n, mean(n)]));
      list.sort((a, b) => means.get(a) - means.get(b));
    }
    list.forEach((n, i) => row.set(n, i - (list.length - 1) / 2));
  });
  const most = Math.max(1, ...columns.map((l) => l.length));
  const loops = back.size > 0 || edges.some((e) => e.from === e.to);
  const middle = MARGIN + ((most - 1) / 2) * ROW + HEIGHT / 2;
  const nodes = new Map(names.map((n) => [n, { x: MARGIN + column.get(n) * COLUMN, y: middle + row.get(n) * ROW - HEIGHT / 2 }]));
  return {
    nodes,
    edges: edges.filter((e) => nodes.has(e.from) && nodes.has(e.to)).map((e) => ({ from: e.from, to: e.to, back: isBack(e.from, e.to) })),
    width: MARGIN * 2 + (columns.length - 1) * COLUMN + WIDTH,
    height: MARGIN * 2 + (most - 1) * ROW + HEIGHT + (loops ? 34 : 0),
  };
}

// backEdges finds the edges that lead back to a node under way, in a walk from
// the entry. The walk keeps its own stack: a graph can be deep.
function backEdges(names, out, entry) {
  const back = new Set();
  const state = new Map();
  const starts = entry !== undefined && out.has(entry) ? [entry, ...names] : names;
  for (const start of starts) {
    if (state.has(start)) continue;
    const stack = [[start, 0]];
    state.set(start, "open");
    while (stack.length > 0) {
      const top = stack.at(-1);
      const next = out.get(top[0])[top[1]++];
      if (next === undefined) {
        state.set(top[0], "done");
        stack.pop();
      } else if (state.get(next) === "open") {
        back.add(`${top[0]}\u0000${next}`);
      } else if (!state.has(next)) {
        state.set(next, "open");
        stack.push([next, 0]);
      }
    }
  }
  return back;
}
