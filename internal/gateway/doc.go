// Package gateway carries the log to clients: WebSocket (protobuf or JSON) and
// server-sent events.
//
// A session is a [feed.Reader], a filter and a socket. It holds no queue. At
// the end of the hot tail it is parked: no writer goroutine, no buffer. When
// records come that concern it, a worker writes the frame, which all sessions
// with the same filter and encoding share, without blocking; only where the
// socket does not take it all, or older records must be read from Kafka, does a
// goroutine of the session's own carry on, until it is parked again.
//
// Exactly one goroutine at a time works for a session (see session.state): so
// frames never interleave, and a cursor on the wire is always true.
package gateway
