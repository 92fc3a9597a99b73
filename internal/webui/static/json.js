// JSON without loss. The browser's own parser rounds numbers to doubles and
// gives objects a prototype; state that comes from elsewhere must keep its
// digits and must not be able to reach Object.prototype.
//
// Values are: null, booleans, strings, JavaScript numbers where these print the
// digits that came, JSONNumber for all others, arrays, and objects without a
// prototype.

export class JSONError extends Error {}

// JSONNumber is a number that a double cannot show as it was written.
export class JSONNumber {
  constructor(source) {
    this.source = source;
    Object.freeze(this);
  }
}

export const MAX_DEPTH = 512;

// parse reads a JSON text. It throws JSONError on anything else, and on nesting
// deeper than MAX_DEPTH: what reads the value afterwards recurses.
export function parse(text) {
  const p = new Parser(text);
  p.space();
  const value = p.value(0);
  p.space();
  if (p.at < text.length) p.fail("text after the value");
  return value;
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
// What a string without escapes cannot contain.
const SPECIAL = /[\\\u0000-\u001f]/;

class Parser {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  fail(what) {
    throw new JSONError(`${what} at character ${this.at}`);
  }

  space() {
    const t = this.text;
    for (;;) {
      const c = t.charCodeAt(this.at);
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
      this.at++;
    }
  }

  value(depth) {
    switch (this.text[this.at]) {
      case "{":
        return this.object(depth);
      case "[":
        return this.array(depth);
      case '"':
        return this.string();
      case "t":
        return this.word("true", true);
      case "f":
        return this.word("false", false);
      case "n":
        return this.word("null", null);
      case undefined:
        return this.fail("unexpected end");
      default:
        return this.number();
    }
  }

  word(word, value) {
    if (!this.text.startsWith(word, this.at)) this.fail("unexpected character");
    this.at += word.length;
    return value;
  }

  number() {
    // Most numbers are short integers, and these need no expression.
    const t = this.text;
    let at = this.at;
    let n = 0;
    let c = t.charCodeAt(at);
    if (c !== 0x30) {
      for (; c >= 0x30 && c <= 0x39 && at - this.at < 16; c = t.charCodeAt(++at)) n = n * 10 + (c - 0x30);
      if (at > this.at && at - this.at < 16 && c !== 0x2e && c !== 0x65 && c !== 0x45) {
        this.at = at;
        return n;
      }
    }
    NUMBER.lastIndex = this.at;
    const m = NUMBER.exec(t);
    if (m === null) this.fail("unexpected character");
    this.at += m[0].length;
    return number(m[0]);
  }

  // string finds the closing quote by hand: an expression that could match a
  // whole string overflows the engine's stack on a long one.
  string() {
    const t = this.text;
    const start = this.at;
    let end = t.indexOf('"', start + 1);
    while (end > 0) {
      let slashes = 0;
      while (t.charCodeAt(end - 1 - slashes) === 0x5c) slashes++;
      if (slashes % 2 === 0) break;
      end = t.indexOf('"', end + 1);
    }
    if (end < 0) this.fail("a string without an end");
    this.at = end + 1;
    const inner = t.slice(start + 1, end);
    if (!SPECIAL.test(inner)) return inner;
    try {
      return JSON.parse(t.slice(start, this.at));
    } catch {
      this.at = start;
      return this.fail("bad string");
    }
  }

  array(depth) {
    if (depth >= MAX_DEPTH) this.fail(`nested deeper than ${MAX_DEPTH}`);
    const out = [];
    this.at++;
    this.space();
    if (this.text[this.at] === "]") {
      this.at++;
      return out;
    }
    for (;;) {
      this.space();
      out.push(this.value(depth + 1));
      this.space();
      const c = this.text[this.at];
      if (c !== "," && c !== "]") this.fail("want , or ]");
      this.at++;
      if (c === "]") return out;
    }
  }

  object(depth) {
    if (depth >= MAX_DEPTH) this.fail(`nested deeper than ${MAX_DEPTH}`);
    const out = Object.create(null);
    this.at++;
    this.space();
    if (this.text[this.at] === "}") {
      this.at++;
      return out;
    }
    for (;;) {
      this.space();
      if (this.text[this.at] !== '"') this.fail("want a member name");
      const key = this.string();
      this.space();
      if (this.text[this.at] !== ":") this.fail("want :");
      this.at++;
      this.space();
      out[key] = this.value(depth + 1);
      this.space();
      const c = this.text[this.at];
      if (c !== "," && c !== "}") this.fail("want , or }");
      this.at++;
      if (c === "}") return out;
    }
  }
}

// number keeps the source where a double would print something else.
function number(source) {
  const n = Number(source);
  return String(n) === source ? n : new JSONNumber(source);
}

// equal is the equality that RFC 6902 asks of "test": by value, numbers
// numerically, objects without regard to order.
export function equal(a, b) {
  if (a === b) return true;
  if (isNumber(a) && isNumber(b)) return sameNumber(a, b);
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((v, i) => equal(v, b[i]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((k) => Object.hasOwn(b, k) && equal(a[k], b[k]));
}

// sameNumber compares by value, digit for digit.
export function sameNumber(a, b) {
  return decimal(a) === decimal(b);
}

export function isNumber(v) {
  return typeof v === "number" || v instanceof JSONNumber;
}

export function isObject(v) {
  return typeof v === "object" && v !== null && !Array.isArray(v) && !(v instanceof JSONNumber);
}

// decimal writes a number in one form, so that equal numbers have equal texts:
// digits without zeros at their ends, and a power of ten.
function decimal(n) {
  const source = n instanceof JSONNumber ? n.source : String(n);
  const [, sign, whole, fraction = "", exponent = "0"] = /^(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$/.exec(source);
  const digits = (whole + fraction).replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  if (significant === "") return "0";
  // BigInt: an exponent may have more digits than a double.
  const power = BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - significant.length);
  return `${sign}${significant}e${power}`;
}

// clone copies a value. count is called with the number of values copied so far
// and may throw.
export function clone(v, count = () => {}) {
  let n = 0;
  const copy = (x) => {
    count(++n);
    if (Array.isArray(x)) return x.map(copy);
    if (!isObject(x)) return x;
    const out = Object.create(null);
    for (const k of Object.keys(x)) out[k] = copy(x[k]);
    return out;
  };
  return copy(v);
}

// stringify writes a value with indentation, and stops near limit characters:
// the work is bounded by what is shown, not by what there is.
export function stringify(value, limit = Infinity) {
  const parts = [];
  let size = 0;
  let cut = false;
  const put = (s) => {
    parts.push(s);
    size += s.length;
    if (size > limit) cut = true;
  };
  const write = (v, indent) => {
    if (cut) return;
    if (v instanceof JSONNumber) return put(v.source);
    if (typeof v === "string") return put(JSON.stringify(v.length > limit ? v.slice(0, limit) : v));
    if (v === null || typeof v !== "object") return put(String(v));
    const list = Array.isArray(v);
    const keys = list ? v : Object.keys(v);
    if (keys.length === 0) return put(list ? "[]" : "{}");
    put(list ? "[" : "{");
    const inner = indent + "  ";
    for (let i = 0; i < keys.length && !cut; i++) {
      put((i === 0 ? "\n" : ",\n") + inner);
      if (!list) put(JSON.stringify(keys[i]) + ": ");
      write(list ? v[i] : v[keys[i]], inner);
    }
    put("\n" + indent + (list ? "]" : "}"));
  };
  write(value, "");
  const text = parts.join("");
  return { text: cut ? text.slice(0, limit) : text, cut };
}
