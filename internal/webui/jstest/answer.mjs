// Answers the Go fuzz targets: one question a line, as JSON, one answer a line.
// Anything thrown that is not the page's own refusal is an answer too, "fault".

import { createInterface } from "node:readline";
import { decode, ProtocolError } from "../static/frames.js";
import { parse, stringify } from "../static/json.js";
import { apply, fromDiff, PatchError } from "../static/patch.js";

const text = (v) => JSON.stringify(v, (_, x) => (typeof x === "bigint" ? String(x) : x));

const questions = {
  // A frame as the page reads it; its cursor in ProtoJSON.
  decode: ({ frame }) => ({ frame: decode(frame) }),
  // A document after the operations of a StateDiff, and as it was before.
  patch: ({ doc, operations }) => {
    const before = parse(doc);
    try {
      return { doc: stringify(apply(before, fromDiff(operations))).text };
    } finally {
      if (stringify(before).text !== stringify(parse(doc)).text) throw new Error("the document was changed");
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const question = JSON.parse(line);
    answer = questions[question.ask](question);
  } catch (e) {
    answer = e instanceof ProtocolError || e instanceof PatchError ? { refused: e.message } : { fault: String(e.stack) };
  }
  process.stdout.write(text(answer) + "\n");
}
