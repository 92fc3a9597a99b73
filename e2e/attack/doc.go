// Package attack sends hostile bytes to the running program, the real binary as a process, from addresses of their own:
// floods of frames and fragments, deep and wide JSON, subscription churn, decompression bombs, requests without an end,
// scrapes, connections. Beside each of them a client that behaves reads the stream. What is proved: it gets every record,
// once, about as soon as before; each attacker is ended in the way that docs/protocol.md says; what the program spends on
// it is a small multiple of a plain request, whatever the machine; memory stays within what the limits add up to; and what
// the attackers held is given back.
//
//	make attacks                                     # all of them, about a minute
//	go test ./e2e/attack -attack -run 'Attacks/churn' -v  # some, with what they cost
package attack
