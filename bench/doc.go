// Package bench measures the stream beside the least work that could do the
// same: a bare loop that writes pre-encoded frames to the same number of
// sockets. Server and clients are processes of their own, so that the CPU time
// of the server is its alone. Run it with
//
//	go test ./bench -run '^$' -bench . -benchtime 2x
//
// docs/performance.md has what came of it.
package bench
