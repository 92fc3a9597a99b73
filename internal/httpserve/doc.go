// Package httpserve owns what every HTTP listener of DashStream has in common:
// binding early, timeouts, header limits, /livez and /readyz, an optional
// profiler, and a stop that is bounded in time. What is served is the caller's
// handler; package app connects the two.
//
// Liveness and readiness are two questions. /livez asks whether the process
// makes progress: each registered loop must have beaten within its deadline, and
// a restart is the cure when it has not. /readyz asks whether traffic should come
// here now: every named check must pass, and the answer lists the reasons when
// one does not. An idle process is both live and ready.
//
// WebSocket connections leave the server when they are hijacked: they are
// counted as handed over, no timeout of this package applies to them any more,
// and Stop neither waits for them nor closes them. Their owner does.
package httpserve
