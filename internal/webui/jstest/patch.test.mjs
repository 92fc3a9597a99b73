import assert from "node:assert/strict";
import { test } from "node:test";
import { equal, parse, stringify } from "../static/json.js";
import { apply, fromDiff, MAX_COPIED_VALUES, MAX_OPERATIONS, PatchError } from "../static/patch.js";

const b64 = (text) => Buffer.from(text).toString("base64");

// operations writes a patch as the stream carries it and reads it back, so that
// the cases below go the way of real diffs.
function operations(patch) {
  return fromDiff(parse(patch).map((o) => {
    const out = {};
    if (o.op !== "add") out.op = `OP_TYPE_${o.op.toUpperCase()}`;
    if (o.path !== "") out.path = o.path;
    if (o.from !== undefined && o.from !== "") out.from = o.from;
    if ("value" in o) out.value = b64(stringify(o.value).text);
    return out;
  }));
}

// Of RFC 6902, appendix A, and of the errors that its text demands.
const good = [
  ["A.1 add an object member", '{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux"}]', '{"baz":"qux","foo":"bar"}'],
  ["A.2 add an array element", '{"foo":["bar","baz"]}', '[{"op":"add","path":"/foo/1","value":"qux"}]', '{"foo":["bar","qux","baz"]}'],
  ["A.3 remove an object member", '{"baz":"qux","foo":"bar"}', '[{"op":"remove","path":"/baz"}]', '{"foo":"bar"}'],
  ["A.4 remove an array element", '{"foo":["bar","qux","baz"]}', '[{"op":"remove","path":"/foo/1"}]', '{"foo":["bar","baz"]}'],
  ["A.5 replace a value", '{"baz":"qux","foo":"bar"}', '[{"op":"replace","path":"/baz","value":"boo"}]', '{"baz":"boo","foo":"bar"}'],
  ["A.6 move a value", '{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}', '[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]', '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}'],
  ["A.7 move an array element", '{"foo":["all","grass","cows","eat"]}', '[{"op":"move","from":"/foo/1","path":"/foo/3"}]', '{"foo":["all","cows","eat","grass"]}'],
  ["A.8 test a value: success", '{"baz":"qux","foo":["a",2,"c"]}', '[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]', '{"baz":"qux","foo":["a",2,"c"]}'],
  ["A.10 add a nested member object", '{"foo":"bar"}', '[{"op":"add","path":"/child","value":{"grandchild":{}}}]', '{"foo":"bar","child":{"grandchild":{}}}'],
  ["A.14 ~ escape ordering", '{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":10}]', '{"/":9,"~1":10}'],
  ["A.16 add an array value", '{"foo":["bar"]}', '[{"op":"add","path":"/foo/-","value":["abc","def"]}]', '{"foo":["bar",["abc","def"]]}'],
  ["add at the end by index", "[1,2]", '[{"op":"add","path":"/2","value":3}]', "[1,2,3]"],
  ["add over an existing member replaces it", '{"a":1}', '[{"op":"add","path":"/a","value":null}]', '{"a":null}'],
  ["add replaces the whole document", '{"a":1}', '[{"op":"add","path":"","value":[1]}]', "[1]"],
  ["replace the whole document, and go on in it", '{"a":1}', '[{"op":"replace","path":"","value":{"b":[]}},{"op":"add","path":"/b/-","value":1}]', '{"b":[1]}'],
  ["test the whole document", '{"a":[1,{"b":2}]}', '[{"op":"test","path":"","value":{"a":[1.0,{"b":2e0}]}}]', '{"a":[1,{"b":2}]}'],
  ["the empty member name", '{"":1}', '[{"op":"replace","path":"/","value":2}]', '{"":2}'],
  ["copy is deep", '{"a":{"n":1}}', '[{"op":"copy","from":"/a","path":"/b"},{"op":"replace","path":"/b/n","value":2}]', '{"a":{"n":1},"b":{"n":2}}'],
  ["copy of what this patch made is deep", '{}', '[{"op":"add","path":"/a","value":{"n":1}},{"op":"add","path":"/a/m","value":0},{"op":"copy","from":"/a","path":"/b"},{"op":"add","path":"/b/n","value":2}]', '{"a":{"n":1,"m":0},"b":{"n":2,"m":0}}'],
  ["copy of the document into itself", '{"a":1}', '[{"op":"copy","from":"","path":"/self"}]', '{"a":1,"self":{"a":1}}'],
  ["copy to the end of an array", "[1,2]", '[{"op":"copy","from":"/0","path":"/-"}]', "[1,2,1]"],
  ["move onto itself", '{"a":1}', '[{"op":"move","from":"/a","path":"/a"}]', '{"a":1}'],
  ["move to the front", "[1,2,3]", '[{"op":"move","from":"/2","path":"/0"}]', "[3,1,2]"],
  ["move to a name that begins like its own", '{"a":1}', '[{"op":"move","from":"/a","path":"/ab"}]', '{"ab":1}'],
  ["move replaces the whole document", '{"a":{"b":1}}', '[{"op":"move","from":"/a","path":""}]', '{"b":1}'],
  ["a number as a member name", '{"a":{"0":1}}', '[{"op":"replace","path":"/a/0","value":2}]', '{"a":{"0":2}}'],
  ["- as a member name", '{"a":{}}', '[{"op":"add","path":"/a/-","value":1}]', '{"a":{"-":1}}'],
  ["big integers stay exact", '{"n":9007199254740993}', '[{"op":"test","path":"/n","value":9007199254740993},{"op":"add","path":"/m","value":18446744073709551615}]', '{"n":9007199254740993,"m":18446744073709551615}'],
  ["null and absent differ", '{"a":null}', '[{"op":"test","path":"/a","value":null},{"op":"remove","path":"/a"}]', "{}"],
  ["no operations", '{"a":1}', "[]", '{"a":1}'],
];

for (const [name, doc, patch, want] of good) {
  test(name, () => {
    const before = parse(doc);
    const got = apply(before, operations(patch));
    assert.ok(equal(got, parse(want)), stringify(got).text);
    assert.equal(stringify(got).text.length, stringify(parse(want)).text.length, "same digits too");
    assert.equal(stringify(before).text, stringify(parse(doc)).text, "the argument is unchanged");
  });
}

const bad = [
  ["A.9 test a value: error", '{"baz":"qux"}', '[{"op":"test","path":"/baz","value":"bar"}]', /differs/],
  ["A.12 add to a nonexistent target", '{"foo":"bar"}', '[{"op":"add","path":"/baz/bat","value":"qux"}]', /no such member/],
  ["A.15 compare a string and a number", '{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":"10"}]', /differs/],
  ["remove what is not there", '{"a":1}', '[{"op":"remove","path":"/b"}]', /no such member/],
  ["replace what is not there", '{"a":1}', '[{"op":"replace","path":"/b","value":1}]', /no such member/],
  ["test what is not there", '{"a":1}', '[{"op":"test","path":"/b","value":null}]', /no such member/],
  ["an inherited name is not there", '{"a":1}', '[{"op":"test","path":"/toString","value":null}]', /no such member/],
  ["add beyond the end", "[1,2]", '[{"op":"add","path":"/3","value":1}]', /array of 2/],
  ["remove beyond the end", "[1,2]", '[{"op":"remove","path":"/2"}]', /array of 2/],
  ["replace beyond the end", "[1,2]", '[{"op":"replace","path":"/2","value":1}]', /array of 2/],
  ["- does not exist for remove", "[1]", '[{"op":"remove","path":"/-"}]', /not an array index/],
  ["- does not exist for replace", "[1]", '[{"op":"replace","path":"/-","value":2}]', /not an array index/],
  ["- does not exist for test", "[1]", '[{"op":"test","path":"/-","value":1}]', /not an array index/],
  ["- does not exist on the way", "[[1]]", '[{"op":"add","path":"/-/0","value":1}]', /not an array index/],
  ["a negative index", "[1]", '[{"op":"replace","path":"/-1","value":2}]', /not an array index/],
  ["an index with a leading zero", "[1,2]", '[{"op":"test","path":"/01","value":2}]', /not an array index/],
  ["an index with an exponent", "[1,2]", '[{"op":"test","path":"/1e0","value":2}]', /not an array index/],
  ["a fraction as index", "[1,2]", '[{"op":"test","path":"/1.0","value":2}]', /not an array index/],
  ["a name in an array", "[1,2]", '[{"op":"add","path":"/length","value":0}]', /not an array index/],
  ["a huge index", "[1,2]", '[{"op":"add","path":"/99999999999999999999","value":0}]', /not an array index/],
  ["the parent is a string", '{"a":"xyz"}', '[{"op":"test","path":"/a/0","value":"x"}]', /neither object nor array/],
  ["the parent is null", '{"a":null}', '[{"op":"add","path":"/a/b","value":1}]', /neither object nor array/],
  ["the parent is a number", '{"a":9007199254740993}', '[{"op":"add","path":"/a/source","value":1}]', /neither object nor array/],
  ["a pointer that does not begin with /", '{"a":1}', '[{"op":"add","path":"a","value":1}]', /begin with/],
  ["a bad escape", '{"a~2":1}', '[{"op":"test","path":"/a~2","value":1}]', /~ must be followed/],
  ["a bare ~", '{"a~":1}', '[{"op":"test","path":"/a~","value":1}]', /~ must be followed/],
  ["move into its own child", '{"a":{"b":{}}}', '[{"op":"move","from":"/a","path":"/a/b/c"}]', /into itself/],
  ["move from nowhere", '{"a":1}', '[{"op":"move","from":"/b","path":"/c"}]', /no such member/],
  ["copy from nowhere", '{"a":1}', '[{"op":"copy","from":"/b","path":"/c"}]', /no such member/],
  ["remove the whole document", '{"a":1}', '[{"op":"remove","path":""}]', /whole document/],
  ["__proto__", '{"a":{}}', '[{"op":"add","path":"/__proto__/x","value":1}]', /reserved/],
  ["constructor", '{"a":{}}', '[{"op":"add","path":"/a/constructor","value":1}]', /reserved/],
  ["prototype, by way of from", '{"prototype":{}}', '[{"op":"copy","from":"/prototype","path":"/a"}]', /reserved/],
];

for (const [name, doc, patch, why] of bad) {
  test(name, () => {
    const before = parse(doc);
    // Something that works comes first: nothing of it may remain.
    const ops = [{ op: "copy", from: "", path: "" }, ...operations(patch)];
    assert.throws(() => apply(before, ops), (e) => e instanceof PatchError && e.index === 1 && why.test(e.message));
    assert.equal(stringify(before).text, stringify(parse(doc)).text, "the document is unchanged");
    assert.equal({}.x, undefined);
  });
}

test("a failure in the middle leaves the document as it was", () => {
  const doc = parse('{"list":[1,2,3],"deep":{"a":{"b":1}}}');
  const text = stringify(doc).text;
  assert.throws(() => apply(doc, operations('[{"op":"add","path":"/list/0","value":0},{"op":"remove","path":"/deep/a/b"},{"op":"move","from":"/list","path":"/deep/list"},{"op":"test","path":"/list","value":1}]')),
    (e) => e.index === 3);
  assert.equal(stringify(doc).text, text);
});

test("encodings other than JSON and bad values are errors", () => {
  assert.throws(() => fromDiff([{ path: "/a", value: "gQ==", encoding: "VALUE_ENCODING_MSGPACK" }]), /only JSON is read/);
  assert.throws(() => fromDiff([{ path: "/a", value: b64("{") }]), /bad value/);
  assert.throws(() => fromDiff([{ path: "/a" }]), /bad value/);
  assert.throws(() => fromDiff([{ path: "/a", value: Buffer.from([0x22, 0xff, 0x22]).toString("base64") }]), /bad value/);
  assert.throws(() => fromDiff([{ path: "/a", value: "%%%" }]), /bad value/);
  assert.throws(() => fromDiff([{ op: "OP_TYPE_INVENT", path: "/a" }]), /unknown operation/);
  assert.throws(() => fromDiff([{ op: "toString", path: "/a" }]), /unknown operation/);
  assert.throws(() => fromDiff([{ op: 9, path: "/a" }]), /unknown operation/);
});

test("errors are short and hold no values", () => {
  const big = JSON.stringify({ v: "x".repeat(5e6) });
  const ops = operations(`[{"op":"test","path":"","value":${JSON.stringify("y".repeat(5e6))}}]`);
  assert.throws(() => apply(parse(big), ops), (e) => e.message.length < 1000 && !e.message.includes("yyy"));
  assert.throws(() => apply(parse("{}"), operations(`[{"op":"remove","path":"/${"z".repeat(4000)}"}]`)), (e) => e.message.length < 1000);
});

test("a hostile patch is bounded", () => {
  const ops = Array.from({ length: MAX_OPERATIONS + 1 }, () => ({ op: "test", path: "", value: null }));
  assert.throws(() => apply(null, ops), /operations, allowed/);
  // Copying the document into itself doubles it: 40 doublings are a trillion.
  const doubling = Array.from({ length: 40 }, (_, i) => ({ op: "copy", from: "", path: `/k${i}` }));
  assert.throws(() => apply(parse('{"a":1}'), doubling), new RegExp(`copies more than ${MAX_COPIED_VALUES}`));
  assert.throws(() => apply(parse("{}"), [{ op: "remove", path: "/" + "a".repeat(5000) }]), /a pointer of/);
});

test("many operations on a large state are fast", () => {
  const doc = parse(JSON.stringify({ items: Array.from({ length: 100_000 }, (_, i) => ({ id: i, text: "abcdefghij".repeat(8) })) }));
  const ops = Array.from({ length: 10_000 }, (_, i) => ({ op: "replace", path: `/items/${i * 7}/text`, value: "new" }));
  const started = performance.now();
  const got = apply(doc, ops);
  assert.ok(performance.now() - started < 1000, `${performance.now() - started} ms`);
  assert.equal(got.items[7].text, "new");
  assert.notEqual(doc.items[7].text, "new");
  assert.equal(got.items[1], doc.items[1], "what did not change is shared");
});
