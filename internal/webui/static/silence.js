// Since when nothing was heard of a run, and what that is called. A run that
// was killed says nothing; neither does one that waits for a model.

import { duration, wallTime } from "./format.js";

// A run under way of which nothing was heard for this long is quiet.
export const QUIET_MS = 20_000;

export class Silence {
  constructor(client, model) {
    this.client = client;
    this.model = model;
    this.views = model.views;
    // Up to when it is known what came, in milliseconds since 1970.
    this.asOf = 0;
    this.reading = false;
  }

  // observe is called before each drawing. While the page is live and the server
  // reads, silence grows with the clock; else only with what is read: that
  // nothing comes says nothing of the runs then.
  observe(reading) {
    if (this.views !== this.model.views) this.asOf = 0;
    this.views = this.model.views;
    this.reading = reading && this.client.status === "live";
    this.asOf = Math.max(this.asOf, this.reading ? this.client.clock() : this.model.newestMs);
  }

  // of returns how long nothing was heard of a run, in milliseconds, where that
  // is long enough to be told; else 0.
  of(run) {
    const ms = run.over ? 0 : this.asOf - run.heardMs;
    return ms >= QUIET_MS ? ms : 0;
  }

  // nowUs is what the clock of a run's producer says now, in microseconds: its last
  // timestamp and the time since that came. Undefined where it gave none.
  nowUs(run) {
    return run.lastUs === undefined ? undefined : run.lastUs + BigInt(Math.max(0, Math.round(this.asOf - run.heardMs))) * 1000n;
  }

  // words tells of it in a sentence; empty when there is nothing to tell.
  words(run) {
    const ms = this.of(run);
    if (ms === 0) return "";
    const since = wallTime(run.heardMs - this.client.skewMs);
    if (!this.reading) return `Nothing more of it was read since ${since}.`;
    const last = `Silent since ${since}: last message ${ago(ms)} ago`;
    if (run.status === "interrupted") return `${last}; it waits for a person.`;
    return `${last}; it may have ended without saying so, or a model call or a tool takes long.`;
  }
}

// ago shows a silence in whole seconds.
export function ago(ms) {
  return duration(BigInt(Math.floor(ms / 1000)) * 1_000_000n);
}

// statusOf and partOf are what a run, and a node, call or tool of it, is shown
// as: nothing is shown as active in a run that is quiet.
export function statusOf(run, quiet) {
  return quiet && run.status === "running" ? "quiet" : run.status;
}

export function partOf(run, part, quiet) {
  const status = run.shown(part);
  return quiet && status === "running" ? "quiet" : status;
}
