// What happened and is told: all counted, the last ones kept.

const MAX_NOTES = 50;

export class Notes {
  constructor() {
    this.count = 0;
    this.last = [];
  }

  add(note) {
    this.count++;
    this.last.push(note);
    if (this.last.length > MAX_NOTES) this.last.shift();
  }
}
