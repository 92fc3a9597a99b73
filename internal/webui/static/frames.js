// The frames of the stream protocol: ProtoJSON of ServerFrame and ClientFrame.
// One decoder; whatever it does not accept is a ProtocolError, which ends the
// connection without a commit.

import { Cursor, CursorError, int64, offset, partition } from "./cursor.js";
import { base64ToText } from "./text.js";

export const SUBPROTOCOL = "dashstream.v1+json";
export const PROTOCOL_VERSION = 1;

export class ProtocolError extends Error {}

const KINDS = ["hello", "subscribed", "batch", "progress", "caughtUp", "gap", "reset", "partitions", "error"];

// decode reads one text message. Fields that ProtoJSON leaves out come back as
// their defaults; 64-bit integers as BigInt.
export function decode(text) {
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ProtocolError("a frame is not JSON");
  }
  const kinds = typeof json === "object" && json !== null && !Array.isArray(json) ? Object.keys(json) : [];
  if (kinds.length !== 1 || !KINDS.includes(kinds[0])) {
    throw new ProtocolError(`a frame of kind ${JSON.stringify(kinds.join(",").slice(0, 60))}: want one of ${KINDS.join(", ")}`);
  }
  const kind = kinds[0];
  const body = json[kind];
  if (typeof body !== "object" || body === null || Array.isArray(body)) throw new ProtocolError(`${kind}: want an object`);
  try {
    return { kind, ...DECODERS[kind](body) };
  } catch (e) {
    if (e instanceof CursorError) throw new ProtocolError(`${kind}: ${e.message}`);
    throw e;
  }
}

const DECODERS = {
  hello: (b) => ({
    streamId: string(b.streamId, "streamId"),
    topic: string(b.topic, "topic"),
    partitions: ranges(b.partitions),
    limits: b.limits ?? {},
    serverVersion: string(b.serverVersion ?? "", "serverVersion"),
    protocolVersion: b.protocolVersion ?? 0,
  }),
  subscribed: (b) => ({ cursor: Cursor.parse(b.cursor) }),
  batch: (b) => ({ cursor: Cursor.parse(b.cursor), records: list(b.records, "records").map(record) }),
  progress: (b) => ({ cursor: Cursor.parse(b.cursor) }),
  caughtUp: (b) => ({ cursor: Cursor.parse(b.cursor) }),
  gap: (b) => ({
    partition: partition(b.partition),
    from: offset(b.from, "from"),
    to: offset(b.to, "to"),
    reason: string(b.reason ?? "REASON_UNSPECIFIED", "reason"),
    cursor: Cursor.parse(b.cursor),
  }),
  reset: (b) => ({
    reason: string(b.reason ?? "REASON_UNSPECIFIED", "reason"),
    previousStreamId: string(b.previousStreamId ?? "", "previousStreamId"),
    cursor: Cursor.parse(b.cursor),
  }),
  partitions: (b) => ({ partitions: ranges(b.partitions) }),
  error: (b) => ({
    code: string(b.code ?? "", "code"),
    field: string(b.field ?? "", "field"),
    message: string(b.message ?? "", "message"),
  }),
};

function record(r, i) {
  if (typeof r !== "object" || r === null) throw new ProtocolError(`records[${i}]: want an object`);
  const at = `records[${i}].`;
  return {
    partition: partition(r.partition, at + "partition"),
    offset: offset(r.offset, at + "offset"),
    // Kafka gives -1 where a record has none.
    timestampMs: Number(int64(r.timestampMs, at + "timestampMs")),
    message: r.message,
    error: r.error,
    epoch: epochOf(r.headers),
  };
}

const EPOCH_HEADER = "dashstream-epoch";

// epochOf reads the header in which a producer announces that its sequences
// begin at 1. A value that is none says nothing: headers are anybody's.
function epochOf(headers) {
  const value = Array.isArray(headers) ? headers.findLast((h) => h?.key === EPOCH_HEADER)?.value : undefined;
  if (typeof value !== "string" || value.length > 64) return undefined;
  try {
    const epoch = base64ToText(value);
    return /^[0-9a-f]{16}$/.test(epoch) ? epoch : undefined;
  } catch {
    return undefined;
  }
}

// ranges reads what is said of partitions. Offsets that are left out are unknown,
// not 0.
function ranges(v) {
  return list(v, "partitions").map((r, i) => ({
    partition: partition(r?.partition, `partitions[${i}].partition`),
    oldest: r?.oldest === undefined ? undefined : offset(r.oldest, `partitions[${i}].oldest`),
    latest: r?.latest === undefined ? undefined : offset(r.latest, `partitions[${i}].latest`),
  }));
}

function list(v, what) {
  if (v === undefined) return [];
  if (!Array.isArray(v)) throw new ProtocolError(`${what}: want a list`);
  return v;
}

function string(v, what) {
  if (typeof v !== "string") throw new ProtocolError(`${what}: want a string`);
  return v;
}

// A start is how a view without a cursor begins: {earliest: true},
// {latest: true} or {sinceMs: milliseconds}.

export function subscribeFrame(start) {
  const from = start instanceof Cursor ? { cursor: start } : start.sinceMs === undefined ? start : { sinceMs: String(start.sinceMs) };
  return JSON.stringify({ subscribe: { start: from } });
}

export function ackFrame(cursor) {
  return JSON.stringify({ ack: { cursor } });
}
