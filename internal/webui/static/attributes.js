// Attributes of events: ProtoJSON of AttributeValue. Numbers are read strictly:
// what is not one is absent, not zero.

import { clip } from "./text.js";

const value = (attributes, name) => (attributes !== undefined && Object.hasOwn(attributes, name) ? attributes[name] : undefined);

// text returns the attribute as text of at most n characters, or undefined.
export function text(attributes, name, n = 256) {
  const v = value(attributes, name);
  if (v === undefined || v === null) return undefined;
  for (const kind of ["stringValue", "intValue", "floatValue", "boolValue"]) {
    if (v[kind] !== undefined) return clip(v[kind], n);
  }
  return undefined;
}

// whole returns a string attribute uncut, for JSON that is parsed, or undefined.
export function whole(attributes, name) {
  const v = value(attributes, name)?.stringValue;
  return typeof v === "string" ? v : undefined;
}

// number returns a finite number, or undefined.
export function number(attributes, name) {
  const v = value(attributes, name);
  if (v === undefined || v === null) return undefined;
  const raw = v.intValue ?? v.floatValue ?? v.stringValue;
  return strictNumber(raw);
}

// count returns a number that is a whole one from 0, or undefined.
export function count(attributes, name) {
  const n = number(attributes, name);
  return n !== undefined && Number.isSafeInteger(n) && n >= 0 ? n : undefined;
}

export function strictNumber(raw) {
  if (typeof raw === "string" && !/^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(raw)) return undefined;
  const n = typeof raw === "string" || typeof raw === "number" ? Number(raw) : NaN;
  return Number.isFinite(n) ? n : undefined;
}
