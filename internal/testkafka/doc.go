// Package testkafka gives tests a Kafka cluster to talk to. Only _test files import it.
//
// By default each test gets its own embedded broker, so tests share nothing and need nothing installed. The same tests
// run unchanged on Apache Kafka, started by this package or given by its address:
//
//	DASHSTREAM_TEST_KAFKA=apache            start Apache Kafka (KRaft), one cluster for the test binary;
//	                                        needs Java 17 and the jars that scripts/kafka-jars.sh fetches
//	DASHSTREAM_TEST_KAFKA_BROKERS=HOST:PORT use this cluster (comma list); implies apache
//	DASHSTREAM_TEST_KAFKA_JARS=DIR          directory of the jars, when not the one of scripts/kafka-jars.sh
//
// On a shared cluster topics have unique names, so tests still do not meet. What only one backend can do is asked with a
// capability: c.Require(t, c.CanRestart(), "restart the broker in mid-stream") skips and says why.
package testkafka
