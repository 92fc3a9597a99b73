import assert from "node:assert/strict";
import { test } from "node:test";
import { clone, equal, JSONError, JSONNumber, MAX_DEPTH, parse, stringify } from "../static/json.js";

test("parse agrees with JSON.parse on what a double can hold", () => {
  for (const text of [
    "null", "true", " false ", "0", "-1", "3.25", "1e+21", '"a"', '"\\u00e9\\n\\"\\\\\\/"', '"\\ud83d\\ude00"', "[]", "[1,[2,{}],\"x\"]",
    '{"a":1,"b":{"c":[true,null]}}', ' { "a" : [ 1 , 2 ] } ', '{"":0}', '{"a":1,"a":2}', '"\u2028é😀"',
  ]) {
    assert.ok(equal(parse(text), plain(JSON.parse(text))), text);
    // Written and read again it is the same.
    assert.ok(equal(parse(stringify(parse(text)).text), parse(text)), text);
  }
});

function plain(v) {
  return parse(JSON.stringify(v));
}

test("numbers keep the digits that a double would lose", () => {
  for (const digits of ["9007199254740993", "18446744073709551615", "-9223372036854775808", "1.0", "0.1000000000000000055", "1e400", "1E5", "-0", "1e-7000"]) {
    const v = parse(`{"n":${digits}}`);
    assert.ok(v.n instanceof JSONNumber, digits);
    assert.equal(stringify(v.n).text, digits);
  }
  for (const digits of ["1", "9007199254740991", "0.1", "1.5", "-2.25", "1e+21"]) {
    assert.equal(typeof parse(digits), "number", digits);
  }
});

test("equality is by value", () => {
  for (const [a, b] of [["1", "1.0"], ["1e2", "100"], ["1e400", "10e399"], ["0", "-0.0"], ["9007199254740993", "9007199254740993.0"], ["0.10", "1e-1"],
    ['{"a":1,"b":2}', '{"b":2,"a":1}'], ["[1,2]", "[1,2]"], ['"\\u0061"', '"a"']]) {
    assert.ok(equal(parse(a), parse(b)), `${a} = ${b}`);
  }
  for (const [a, b] of [["1", '"1"'], ["9007199254740993", "9007199254740992"], ["1", "-1"], ["[]", "{}"], ["null", "{}"], ["null", "0"], ["[1,2]", "[2,1]"],
    ['{"a":1}', '{"b":1}'], ['{"a":1}', '{"a":1,"b":1}'], ["true", "1"], ["1e400", "1e401"], ['{"toString":1}', "{}"]]) {
    assert.ok(!equal(parse(a), parse(b)), `${a} ≠ ${b}`);
  }
});

test("what is not JSON is refused", () => {
  for (const text of ["", " ", "{", "[1,]", '{"a":}', '{"a" 1}', "{a:1}", "01", "+1", "1.", ".5", "1e", "NaN", "Infinity", "'a'", '"a', '"\\x"', '"\n"', "tru", "nullx", "1 2", "[1", '{"a":1', '{"a":1,}', "\u00a01", "undefined"]) {
    assert.throws(() => parse(text), JSONError, JSON.stringify(text));
  }
  assert.doesNotThrow(() => parse("[".repeat(MAX_DEPTH) + "]".repeat(MAX_DEPTH)));
  assert.throws(() => parse("[".repeat(MAX_DEPTH + 1) + "]".repeat(MAX_DEPTH + 1)), /deeper/);
  assert.throws(() => parse('{"a":'.repeat(100_000)), /deeper/);
});

test("objects cannot reach Object.prototype", () => {
  const v = parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":2}');
  assert.equal(Object.getPrototypeOf(v), null);
  assert.deepEqual(Object.keys(v), ["__proto__", "constructor", "toString"]);
  assert.equal({}.polluted, undefined);
  const copy = clone(v);
  assert.equal(Object.getPrototypeOf(copy), null);
  assert.equal(copy.__proto__.polluted, 1);
  assert.equal({}.polluted, undefined);
});

test("stringify stops near its limit", () => {
  const big = Array.from({ length: 1e6 }, (_, i) => i);
  const started = performance.now();
  const { text, cut } = stringify(big, 1000);
  assert.ok(cut && text.length <= 1000);
  assert.ok(performance.now() - started < 200, "the work is bounded by the limit");
  assert.equal(stringify(parse('{"a":[1,{"b":null}],"c":{}}')).text, '{\n  "a": [\n    1,\n    {\n      "b": null\n    }\n  ],\n  "c": {}\n}');
});

test("long strings cost time in proportion, and no stack", () => {
  for (const inner of ["abcdefghij".repeat(1e6) + "\\n", "a\\n".repeat(3e6), '\\"'.repeat(3e6), "\\\\".repeat(3e6)]) {
    assert.equal(parse(`"${inner}"`), JSON.parse(`"${inner}"`));
    assert.throws(() => parse(`"${inner}`), JSONError);
  }
});
