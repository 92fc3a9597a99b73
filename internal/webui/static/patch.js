// JSON Patch, RFC 6902, on values of json.js. Exact: what the RFC calls an error
// is one here, and a failed patch leaves the document as it was.

import { clone, equal, isObject, parse } from "./json.js";
import { base64ToText } from "./text.js";

// Limits of one patch. They are far above what a producer sends and keep a
// hostile one from holding the page.
export const MAX_OPERATIONS = 100_000;
export const MAX_PATH_LENGTH = 4096;
export const MAX_COPIED_VALUES = 1_000_000;

// PatchError says which operation failed and why, without the values: these can
// be large.
export class PatchError extends Error {
  constructor(index, op, path, reason) {
    const at = path.length > 120 ? path.slice(0, 120) + "…" : path;
    super(`operation ${index} (${op} ${JSON.stringify(at)}): ${reason}`);
    this.index = index;
    this.reason = reason;
  }
}

class Refused extends Error {}

const refuse = (reason) => {
  throw new Refused(reason);
};

// Keys that name the machinery of JavaScript objects. The containers have no
// prototype, so they would do nothing; a patch that uses them is still not one
// that an agent writes.
const RESERVED = new Set(["__proto__", "constructor", "prototype"]);

const NAMES = {
  OP_TYPE_ADD: "add",
  OP_TYPE_REMOVE: "remove",
  OP_TYPE_REPLACE: "replace",
  OP_TYPE_MOVE: "move",
  OP_TYPE_COPY: "copy",
  OP_TYPE_TEST: "test",
};

// fromDiff turns the operations of a StateDiff in ProtoJSON, where defaults are
// left out, into those of apply.
export function fromDiff(operations) {
  return operations.map((o, i) => {
    const type = o.op ?? "OP_TYPE_ADD";
    const op = Object.hasOwn(NAMES, type) ? NAMES[type] : undefined;
    const path = o.path ?? "";
    if (op === undefined) throw new PatchError(i, String(type), path, "unknown operation");
    const out = { op, path };
    if (op === "move" || op === "copy") out.from = o.from ?? "";
    if (op === "add" || op === "replace" || op === "test") {
      const encoding = o.encoding ?? "VALUE_ENCODING_JSON";
      if (encoding !== "VALUE_ENCODING_JSON") throw new PatchError(i, op, path, `value encoding ${encoding}: only JSON is read`);
      try {
        out.value = parse(base64ToText(o.value ?? ""));
      } catch (e) {
        throw new PatchError(i, op, path, `bad value: ${e.message}`);
      }
    }
    return out;
  });
}

// apply returns the document after the operations. The argument is not changed:
// containers on the way to a change are copied once, the rest is shared.
export function apply(doc, operations) {
  if (operations.length > MAX_OPERATIONS) {
    throw new PatchError(MAX_OPERATIONS, "patch", "", `${operations.length} operations, allowed ${MAX_OPERATIONS}`);
  }
  const patch = new Patch(doc);
  operations.forEach((o, i) => {
    try {
      patch.run(o);
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      throw new PatchError(i, String(o.op), String(o.path), e.message);
    }
  });
  return patch.doc;
}

class Patch {
  constructor(doc) {
    this.doc = doc;
    // Containers that this patch made and may change in place.
    this.own = new Set();
    this.copied = 0;
  }

  run({ op, path, from, value }) {
    const to = tokens(path);
    switch (op) {
      case "add":
        return this.add(to, value);
      case "remove":
        return this.remove(to);
      case "replace":
        return this.replace(to, value);
      case "test":
        if (!equal(this.get(to), value)) refuse("the value differs");
        return;
      case "copy": {
        // Deep, because the same container in two places would change in both.
        const copy = clone(this.get(tokens(from)), () => {
          if (++this.copied > MAX_COPIED_VALUES) refuse(`copies more than ${MAX_COPIED_VALUES} values`);
        });
        return this.add(to, copy);
      }
      case "move": {
        const source = tokens(from);
        const moved = this.get(source);
        if (source.length < to.length && source.every((t, i) => t === to[i])) refuse("moves a value into itself");
        if (from === path) return;
        this.remove(source);
        return this.add(to, moved);
      }
      default:
        return refuse("unknown operation");
    }
  }

  get(path) {
    return path.reduce((at, token) => at[existing(at, token)], this.doc);
  }

  add(path, value) {
    if (path.length === 0) {
      this.doc = value;
      return;
    }
    const at = this.writable(path);
    const token = path.at(-1);
    if (Array.isArray(at)) {
      const i = token === "-" ? at.length : index(token);
      if (i > at.length) refuse(`index ${token} in an array of ${at.length}`);
      at.splice(i, 0, value);
    } else {
      at[token] = value;
    }
  }

  remove(path) {
    if (path.length === 0) refuse("the whole document cannot be removed");
    existing(this.get(path.slice(0, -1)), path.at(-1));
    const at = this.writable(path);
    const token = path.at(-1);
    if (Array.isArray(at)) at.splice(index(token), 1);
    else delete at[token];
  }

  replace(path, value) {
    if (path.length === 0) {
      this.doc = value;
      return;
    }
    existing(this.get(path.slice(0, -1)), path.at(-1));
    this.writable(path)[path.at(-1)] = value;
  }

  // writable returns the container of a path's last token, it and its parents
  // being this patch's own.
  writable(path) {
    this.doc = this.owned(this.doc);
    let at = this.doc;
    for (const token of path.slice(0, -1)) {
      const key = existing(at, token);
      at[key] = this.owned(at[key]);
      at = at[key];
    }
    return at;
  }

  owned(v) {
    if (this.own.has(v)) return v;
    if (!Array.isArray(v) && !isObject(v)) refuse("the parent is neither object nor array");
    const mine = Array.isArray(v) ? v.slice() : Object.assign(Object.create(null), v);
    this.own.add(mine);
    return mine;
  }
}

// existing returns the key of a token that must be there.
function existing(container, token) {
  if (Array.isArray(container)) {
    const i = index(token);
    if (i >= container.length) refuse(`index ${token} in an array of ${container.length}`);
    return i;
  }
  if (!isObject(container)) refuse("the parent is neither object nor array");
  if (!Object.hasOwn(container, token)) refuse("no such member");
  return token;
}

function index(token) {
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(token)) refuse(`${JSON.stringify(token.slice(0, 40))} is not an array index`);
  return Number(token);
}

// tokens splits a JSON Pointer, RFC 6901.
function tokens(pointer) {
  if (typeof pointer !== "string") refuse("a pointer is missing");
  if (pointer === "") return [];
  if (pointer.length > MAX_PATH_LENGTH) refuse(`a pointer of ${pointer.length} characters, allowed ${MAX_PATH_LENGTH}`);
  if (pointer[0] !== "/") refuse("a pointer must be empty or begin with /");
  return pointer.slice(1).split("/").map((raw) => {
    if (/~(?![01])/.test(raw)) refuse("~ must be followed by 0 or 1");
    const token = raw.replaceAll("~1", "/").replaceAll("~0", "~");
    if (RESERVED.has(token)) refuse(`the name ${token} is reserved`);
    return token;
  });
}
