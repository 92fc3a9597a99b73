#!/bin/sh
# Runs the tests of e2e/cluster: three brokers of Apache Kafka that are killed, stopped and moved under load. Arguments go to
# "go test", for example: scripts/test-cluster.sh -run TestCluster/leaders -cluster.seed 42 -v
# Needs Java 17 and, the first time, Maven.
set -eu

cd "$(dirname "$0")/.."
if ! command -v java >/dev/null; then
	echo "test-cluster: Java 17 or newer is not installed"
	exit 77
fi
DASHSTREAM_TEST_KAFKA_JARS=$(scripts/kafka-jars.sh)
export DASHSTREAM_TEST_KAFKA_JARS DASHSTREAM_TEST_KAFKA=apache
exec go test ./e2e/cluster -race -count=1 -timeout 15m "$@"
