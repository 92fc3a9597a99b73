// Package wire frames agent telemetry for a Kafka record's value and reads it
// back. It owns the framing byte, compression, size limits, the schema version
// and the header peek; the messages themselves are package dashstreampb.
//
// A value is one frame: byte 0x00 and a protobuf DashStreamMessage, or byte
// 0x01 and exactly one zstd frame of it. Neither byte can begin a protobuf
// message. Everything read here is untrusted: sizes are checked before memory
// is taken, and each refusal is an [Error] whose [Reason] is a stable word.
//
// Three depths of reading, each at its own price:
//
//   - [Peek] and [Peeker]: the header only, without allocating. What a router
//     or a filter needs.
//   - [Decode]: the whole message, structurally sound and of a known schema
//     version.
//   - [Validate] and [CheckIDs]: may this message's content be applied. Apart
//     from Decode, so that a reader can show a message it must not apply.
//
// The functions are safe for concurrent use; a Peeker is not.
package wire
