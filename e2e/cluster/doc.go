// Package cluster tests the stream on three real brokers: Apache Kafka, with
// topics of three replicas of which two have to be in sync. Brokers are killed,
// leaders moved, replicas taken away and logs cut, while producers of the SDK
// write and clients of every kind read from several gateways. In the end what
// the producers say they sent, and everything that each client holds, is held to
// the log as a plain Kafka client reads it.
//
// It runs on Apache Kafka only, in some minutes:
//
//	make cluster                                              # all of it
//	scripts/test-cluster.sh -run TestCluster/leaders -v       # a part
//	scripts/test-cluster.sh -cluster.seed 42                  # the faults of an earlier run again
package cluster
