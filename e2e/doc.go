// Package e2e tests the program as its users run it: the real binary, started
// as processes, killed and started again, with clients of every kind.
package e2e
