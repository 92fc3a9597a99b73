// Package embedded runs a Kafka broker inside the process, on one machine, with its log in a directory.
//
// It wraps the in-process broker of franz-go (kfake) and is the only package that starts it for users. What kfake leaves
// open for such use is closed here: one owner per directory, an identity that is made once, recovery after kill -9 that
// neither reuses an offset nor forgets a log start, retention that is checked regularly, and a listener that garbage from
// another program cannot turn into a crash.
//
// It does not replicate, does not authenticate and listens on loopback only. docs/embedded-broker.md says what it is for.
package embedded
