// Numbers and times for people. What is unknown is a dash, never a zero.

import { isBeyond } from "./run.js";

export const UNKNOWN = "–";

// duration shows microseconds, a BigInt or undefined.
export function duration(us) {
  if (us === undefined) return UNKNOWN;
  if (us < 0n) return "clock skew";
  if (isBeyond(us)) return "beyond range";
  const n = Number(us);
  if (n < 1000) return `${n} µs`;
  if (n < 1e6) return `${trim(n / 1e3, n < 1e4 ? 1 : 0)} ms`;
  if (n < 60e6) return `${trim(n / 1e6, n < 10e6 ? 2 : 1)} s`;
  const s = Math.floor(n / 1e6);
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function trim(n, digits) {
  return String(Number(n.toFixed(digits)));
}

export function integer(n, bound = false) {
  return n === undefined ? UNKNOWN : (bound ? "≥ " : "") + String(n).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

// atLeast shows a count that is only a lower bound where partial: then none that
// were seen are unknown, not zero.
export function atLeast(n, partial) {
  if (!partial) return integer(n);
  return n === 0 ? UNKNOWN : `≥ ${integer(n)}`;
}

// sum shows a total of which some parts may be unknown, or not have been read:
// then it is a lower bound.
export function sum(total, known, unknown, show, partial = false) {
  if (known === 0) return UNKNOWN;
  return show(total, unknown > 0 || partial);
}

// dollars shows an amount, or a lower bound of one. Of a bound too small to be
// written out only that it is there is known, not that the amount is small too.
export function dollars(n, bound = false) {
  if (!Number.isFinite(n)) return UNKNOWN;
  if (n > 0 && n < 0.0001) return bound ? "> $0" : "< $0.0001";
  return `${bound ? "≥ " : ""}$${n >= 100 ? n.toFixed(0) : n >= 1 ? n.toFixed(2) : n.toFixed(4)}`;
}

export function rate(n) {
  if (n === undefined) return UNKNOWN;
  return n >= 100 ? integer(Math.round(n)) : trim(n, 1);
}

// clockTime shows a producer's timestamp, in microseconds, in local time.
export function clockTime(us) {
  if (us === undefined) return UNKNOWN;
  const d = new Date(Number(us / 1000n));
  if (Number.isNaN(d.getTime())) return UNKNOWN;
  const two = (n) => String(n).padStart(2, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

export function wallTime(ms) {
  return clockTime(BigInt(Math.round(ms)) * 1000n).slice(0, 8);
}

// seconds shows a wait in whole seconds, rounded up.
export function seconds(ms) {
  return `${Math.max(0, Math.ceil(ms / 1000))} s`;
}

// recordRange names the records from..to-1.
export function recordRange({ from, to }) {
  return to - from === 1n ? `record ${from}` : `records ${from} to ${to - 1n}`;
}
