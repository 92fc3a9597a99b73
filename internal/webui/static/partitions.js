// What the server says of the topic's partitions, and what is new in it.

// news compares two lists of ranges and returns {from, to, known}: the numbers of
// partitions, and those of which no broker told before; null where nothing is
// new, or where it is not known what was before.
export function news(were, are) {
  if (were === null) return null;
  const before = new Map(were.map((r) => [r.partition, r]));
  const known = are.filter((r) => r.latest !== undefined && before.has(r.partition) && before.get(r.partition).latest === undefined).map((r) => r.partition);
  if (are.length <= were.length && known.length === 0) return null;
  return { from: were.length, to: Math.max(are.length, were.length), known };
}

const NAMED = 20;

// newsWords tells of it.
export function newsWords({ from, to, known }) {
  const words = [];
  if (to > from) words.push(`the topic has more partitions, ${to} instead of ${from}; the new ones are read from their first record`);
  if (known.length > 0) {
    const names = known.slice(0, NAMED).join(", ") + (known.length > NAMED ? ` and ${known.length - NAMED} more` : "");
    words.push(`${known.length === 1 ? "partition" : "partitions"} ${names}, of which no broker told before, ${known.length === 1 ? "is" : "are"} known now and read too`);
  }
  return words.join("; ");
}
