// Package kafkaclient turns one Settings value into validated options for a franz-go client: brokers, TLS, SASL,
// addresses, deadlines, logging. Every command and the producer SDK connect through it, so a secure cluster works for
// all of them or for none.
//
// It also says what an error of a Kafka client means: Classify gives a word from a closed set, for metric labels and
// decisions to retry; Explain adds the likely cause and the setting to change.
//
// It creates no client and owns no goroutine. It is the only package that imports SASL mechanisms.
package kafkaclient
