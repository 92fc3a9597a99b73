// What the server says of itself, asked now and then: one question at a time,
// each with a deadline, and no answer is an answer.

const EVERY_MS = 10_000;
const DEADLINE_MS = 5_000;

export class HealthPoll {
  constructor({ fetch, changed }) {
    this.fetch = fetch;
    this.changed = changed;
    this.times = 0;
  }

  start() {
    this.poll();
  }

  async poll() {
    const result = await this.ask();
    this.times = result.state === "unavailable" ? this.times + 1 : 0;
    this.changed({ ...result, times: this.times });
    setTimeout(() => this.poll(), EVERY_MS);
  }

  async ask() {
    try {
      const answer = await this.fetch(AbortSignal.timeout(DEADLINE_MS));
      if (answer.status === 200) return { state: "ready", reasons: [] };
      if (answer.status !== 503) return { state: "unknown", reasons: [] };
      return { state: "not ready", reasons: reasons(await answer.json()) };
    } catch {
      return { state: "unavailable", reasons: [] };
    }
  }
}

// reasons reads the report of /readyz?verbose.
export function reasons(report) {
  const checks = Array.isArray(report?.checks) ? report.checks : [];
  return checks.filter((c) => c?.ok === false).slice(0, 5).map((c) => `${String(c.name).slice(0, 60)}: ${String(c.reason ?? "").slice(0, 200)}`);
}
