// Package security holds the tests that connect the SDK, the gateway, "dashstream tail" and "dashstream topics" to an Apache
// Kafka that asks for more than a plain connection: with every protocol and mechanism, and with every mistake that one can
// make. docs/security.md has what they found; a run with -update writes it.
package security
