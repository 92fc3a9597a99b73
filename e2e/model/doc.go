// Package model holds the model-based test of the stream: a cluster that fails,
// producers, gateways that are killed, and clients of every kind that come,
// stall, crash and come back elsewhere, against an oracle that reads the log by
// itself.
//
// A run is a script made from a seed. It is played in a bubble of fake time on
// a network in memory, in a process of its own, so that a wait costs nothing, a
// hang is found at once, and a goroutine that is left over fails the run. A
// script that fails is cut down to a short one.
//
//	go test ./e2e/model                                      # a short round, always of the same seeds
//	go test ./e2e/model -run Model -model.seed 42            # one seed
//	go test ./e2e/model -run Model -model.script FILE        # a script that was printed
//	make soak SOAK=1h                                        # random seeds, until it fails, or an hour
package model
