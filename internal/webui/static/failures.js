// How many times records could not be applied.

export const MAX_TRIES = 3;
const MAX_FAILING = 1000;

export class Failures {
  constructor() {
    this.tries = new Map();
  }

  // count adds a failure of a record and returns how many it had. Only records
  // that fail stand here; a stream of nothing else is bounded.
  count(r) {
    const key = keyOf(r);
    const tries = (this.tries.get(key) ?? 0) + 1;
    if (this.tries.size >= MAX_FAILING) this.tries.clear();
    this.tries.set(key, tries);
    return tries;
  }

  forget(r) {
    this.tries.delete(keyOf(r));
  }

  clear() {
    this.tries.clear();
  }
}

const keyOf = (r) => `${r.partition}/${r.offset}`;
