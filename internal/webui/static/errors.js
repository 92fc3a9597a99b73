// The Error messages of one run, newest last, bounded.

import { clip } from "./text.js";

export const MAX_ERRORS = 20;
const MAX_STACK = 16 * 1024;
const MAX_MESSAGE = 1000;
const MAX_SUGGESTIONS = 5;

export class ErrorList {
  constructor() {
    this.entries = [];
    this.dropped = 0;
    this.weight = 0;
  }

  // note adds a message and returns what is kept of it.
  note(e, sequence, us) {
    const some = (v, n = 256) => (typeof v === "string" && v !== "" ? clip(v, n) : undefined);
    const entry = {
      serial: this.entries.length + this.dropped,
      sequence,
      us,
      severity: severity(e),
      code: some(e.errorCode),
      type: some(e.exceptionType),
      message: some(e.message, MAX_MESSAGE),
      stack: some(e.stackTrace, MAX_STACK),
      cut: Math.max(0, (e.stackTrace ?? "").length - MAX_STACK),
      suggestions: (e.suggestions ?? []).slice(0, MAX_SUGGESTIONS).map((s) => clip(s, 256)),
    };
    this.entries.push(entry);
    this.weight += weight(entry);
    if (this.entries.length > MAX_ERRORS) {
      this.weight -= weight(this.entries.shift());
      this.dropped++;
    }
    return entry;
  }
}

function weight(e) {
  return (e.message ?? "").length + (e.stack ?? "").length;
}

// severity is the word for it; a message that gives none is an error.
export function severity(e) {
  const word = clip(e.severity ?? "", 40).replace("SEVERITY_", "").toLowerCase();
  return word === "" || word === "unspecified" ? "error" : word;
}
