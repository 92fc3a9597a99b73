// What the server says of itself, asked every few seconds: one question at a
// time, each with a deadline, and no answer is an answer.

export const CONNECTED_MS = 4_000;
export const EVERY_MS = 10_000;
export const AGAIN_MS = 250;
const DEADLINE_MS = 5_000;
const MAX_REASONS = 200;
// A clock that is off by less is as good as right: the server tells seconds.
const SKEW_MS = 2_000;

export class HealthPoll {
  // fetch(signal) -> Promise of a Response of /readyz?verbose; after(ms, fn) ->
  // cancel(); connected() says whether a stream depends on the answer.
  constructor({ fetch, changed, after, connected = () => false, wall = Date.now }) {
    Object.assign(this, { fetch, changed, after, connected, wall });
    this.times = 0;
    this.asking = false;
    this.again = false;
    this.cancel = () => {};
    // How far the server's clock is ahead of this one, in milliseconds.
    this.skewMs = 0;
  }

  // soon asks now: something happened that may have changed the answer. One that
  // is on its way may be from before.
  soon() {
    if (this.asking) {
      this.again = true;
      return;
    }
    this.cancel();
    this.poll();
  }

  async poll() {
    this.asking = true;
    this.again = false;
    const result = await this.ask();
    this.asking = false;
    this.times = result.state === "unavailable" ? this.times + 1 : 0;
    this.changed({ ...result, times: this.times });
    this.cancel = this.after(this.again ? AGAIN_MS : this.connected() ? CONNECTED_MS : EVERY_MS, () => this.poll());
  }

  async ask() {
    try {
      const answer = await this.fetch(AbortSignal.timeout(DEADLINE_MS));
      const skew = Date.parse(answer.headers?.get("date") ?? "") - this.wall();
      if (!Number.isNaN(skew)) this.skewMs = Math.abs(skew) > SKEW_MS ? skew : 0;
      if (answer.status === 200) return { state: "ready", reasons: [] };
      if (answer.status !== 503) return { state: "unknown", reasons: [] };
      return { state: "not ready", reasons: reasons(await answer.json()) };
    } catch {
      return { state: "unavailable", reasons: [] };
    }
  }
}

// reasons reads the report of /readyz?verbose: one reason a line, whole.
export function reasons(report) {
  const checks = Array.isArray(report?.checks) ? report.checks.filter((c) => c?.ok === false) : [];
  const lines = checks.flatMap((c) => {
    const parts = String(c.reason ?? "").split(/\n|; (?!to do: )/).map((s) => s.trim()).filter(Boolean);
    return (parts.length === 0 ? ["no reason given"] : parts).map((part) => `${c.name}: ${part}`);
  });
  if (lines.length <= MAX_REASONS) return lines;
  return [...lines.slice(0, MAX_REASONS), `and ${lines.length - MAX_REASONS} more`];
}

// statusWords says what a connection is good for, "live" or "catching up": {word,
// detail, kind}. A
// stream is live only where the server that sends it is reading.
export function statusWords(status, health) {
  const of = health.reasons.length === 0 ? "no reason given" : health.reasons.join("; ");
  if (health.state === "not ready" && (status === "live" || status === "catching up")) {
    const stopping = health.reasons.length === 1 && health.reasons[0].startsWith("process: ");
    return { word: status === "live" ? "Not live" : "Catching up", detail: `connected, but the server is not ${stopping ? "ready" : "reading"}: ${of}`, kind: "not reading" };
  }
  if (status === "live" && health.state === "unavailable") return { word: "Not known to be live", detail: "connected, but the server does not answer health checks", kind: "not reading" };
  return { word: status === "live" ? "Live" : "Catching up", detail: "", kind: status };
}
