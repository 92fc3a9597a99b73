// Package faults breaks the running program, the real binary as processes, and proves what is left whole: that the log
// reads, that clients resume without missing or repeating a record, that sequences have no gap that the producer did not
// count, and that nothing leaks.
//
//	go test ./e2e/faults                            # a short round, part of the quick suite
//	make faults                                     # the whole, some minutes; KILLS=1000 for more
//	go test ./e2e/faults -run Kill -faults.seed 42  # the moments of the kills of one seed
package faults
