package httpserve

import (
	"net/http"
	"time"
)

// Bounded gives a handler with a short answer the limits that a stream cannot
// have: the response must be taken by the client within timeout of the request's
// arrival, and the request body may hold at most maxBody bytes, 0 meaning none.
func Bounded(h http.Handler, timeout time.Duration, maxBody int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		respondWithin(w, timeout)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		h.ServeHTTP(w, r)
	})
}

// respondWithin bounds a response, from now on.
func respondWithin(w http.ResponseWriter, timeout time.Duration) {
	// net/http takes the deadline back after the response, so that it does
	// not reach into the connection's next request. A ResponseWriter without
	// deadlines, as in a test, is not a network connection.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout))
}
