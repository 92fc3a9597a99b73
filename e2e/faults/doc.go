// Package faults breaks the running program, the real binary as processes, and proves what is left whole: that the log
// reads, that clients resume without missing or repeating a record, that sequences have no gap that the producer did not
// count, and that nothing leaks.
//
//	go test ./e2e/faults                              # a short round, part of the quick suite
//	make faults                                       # the whole, in a few minutes; KILLS=1000 for more
//	go test ./e2e/faults -run Killed -faults.seed 42  # the moments of the kills of one seed
//
// In each test agents write through the SDK, a witness writes down each acknowledgement that it gets, and clients of each
// kind, both WebSocket subprotocols and server-sent events, come back with the cursor that they wrote down. An independent
// reader reads the whole log: offsets have no hole, each batch has its checksum, each record is a message. What was
// acknowledged is where it was said to be, once; what the SDK counts is what the log has; each client has each record once,
// in order. Goroutines, descriptors and memory of the process are those of before.
//
//   - kill -9 of up, with its own demo and without, while it serves and while it starts. The demo's own account dies with
//     it: of its threads it is proven that no sequence is left out.
//   - SIGSTOP of up, of a gateway, and of the broker of a gateway, for a minute: clients go on or come back, and a producer
//     that gives up meanwhile counts what it gave up.
//   - A full disk, on a file system of its own: /readyz tells, readers are served, writing goes on when there is room, also
//     after a kill and a start on the full disk. It needs mount namespaces, as root or by user namespaces.
//   - File descriptors used up by connections to either port: those who are connected are served, the broker opens files,
//     the log names the setting, and descriptors come back. Descriptors that something else in the process uses up, or the
//     whole machine, are not tried.
//   - The wall clock set by an hour, both ways, in the program and in an agent: no session ends, nobody gets longer to be
//     silent, durations are right. The function of the vDSO by which Go reads clocks is replaced in the process, so it
//     needs Linux on amd64. What follows timestamps does so by design and is not tried: retention by age takes what the
//     clock says is old, and a start by time begins where timestamps say. The Kafka client of the SDK measures the delivery
//     timeout from a record's timestamp: what waits when the clock is set forwards by more is given up, and counted;
//     set backwards, it waits for longer. Tokens of OAuth and AWS, and certificates, are not tried.
//   - Bytes that come one a second, in headers, bodies, handshakes, frames and Kafka requests, and answers that nobody
//     takes: each ends at a deadline, and others are served.
//   - Peers that vanish without a packet, with traffic and idle: a filter on the client's socket drops all that comes, so it
//     needs Linux. How the network of a real machine goes away, with its ICMP, is not tried.
//   - A broker that accepts connections and never answers: SDK, gateway, tail, demo and topics name it.
//
// A broker that closes connections as soon as they are made loses the SDK nothing without TLS, as a full disk shows. With
// TLS the Kafka client takes it for a wrong certificate, and what waits may be given up, and counted.
package faults
