// Package testprocess runs the program as its users do, the real binary as a process, for tests: it builds it, starts it,
// waits until it serves, and kills or stops it. Only _test files import it.
package testprocess
