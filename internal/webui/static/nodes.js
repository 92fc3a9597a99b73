// A node of a run: its visits, of which several may be under way at once, and
// what they took. Durations are in microseconds, as BigInt.

export function newNode(name) {
  return {
    name,
    status: "waiting",
    visits: 0,
    order: undefined,
    // Visits under way; when the one began that is alone under way, by the
    // producer's clock.
    open: 0,
    sinceUs: undefined,
    // What the last visit took, what all took of which that is known, and how
    // many these are.
    durationUs: undefined,
    totalUs: 0n,
    timed: 0,
    note: undefined,
    error: undefined,
    declared: false,
  };
}

// began notes that a visit began at us, undefined where that is not known.
export function began(node, us) {
  node.open++;
  node.status = "running";
  node.sinceUs = node.open === 1 ? us : undefined;
  node.durationUs = undefined;
  node.note = undefined;
  node.error = undefined;
}

// ended notes that a visit ended, and what the producer says that it took.
export function ended(node, status, took) {
  node.open = Math.max(0, node.open - 1);
  node.status = node.open > 0 ? "running" : status;
  node.sinceUs = undefined;
  node.note = undefined;
  node.durationUs = took;
  if (took === undefined) return;
  node.totalUs += took;
  node.timed++;
}

// timeOf is what is known of a node's time, as it is shown: {kind, us, all, some}.
// "running": how long its visit has been under way at nowUs; "once": what its
// one visit took; "last": what its last visit took, and all; "all": what all
// took. some says that it is of some visits only. Null where nothing is known.
export function timeOf(node, status, nowUs, partial) {
  const some = partial || node.timed < node.visits;
  if (status === "running") {
    if (node.open !== 1 || node.sinceUs === undefined || nowUs === undefined || nowUs < node.sinceUs) return null;
    return { kind: "running", us: nowUs - node.sinceUs, some: false };
  }
  if (node.timed === 0) return null;
  if (node.durationUs === undefined || status === "quiet" || status === "unfinished") return { kind: "all", us: node.totalUs, some };
  if (node.visits === 1) return { kind: "once", us: node.durationUs, some: false };
  return { kind: "last", us: node.durationUs, all: node.totalUs, some };
}
