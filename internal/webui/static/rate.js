// A rate over the last seconds, by a monotonic clock.

const SECONDS = 5;

export class RateMeter {
  constructor(now) {
    this.now = now;
    this.since = now();
    this.buckets = new Map();
  }

  add(n) {
    const second = Math.floor(this.now() / 1000);
    this.buckets.set(second, (this.buckets.get(second) ?? 0) + n);
    for (const s of this.buckets.keys()) if (s < second - SECONDS) this.buckets.delete(s);
  }

  // perSecond is the mean of the last whole seconds, or undefined before there
  // was one.
  perSecond() {
    const second = Math.floor(this.now() / 1000);
    const seconds = Math.min(SECONDS, second - Math.ceil(this.since / 1000));
    if (seconds < 1) return undefined;
    let sum = 0;
    for (const [s, n] of this.buckets) if (s < second && s >= second - seconds) sum += n;
    return sum / seconds;
  }
}
