#!/bin/sh
# Runs the tests of e2e/security: everything connects to an Apache Kafka that asks for more than a plain connection, in every
# way and with every mistake. Arguments go to "go test"; -update writes what is found into docs/security.md.
# Needs Java 17 and, the first time, Maven.
set -eu

cd "$(dirname "$0")/.."
if ! command -v java >/dev/null; then
	echo "test-security: Java 17 or newer is not installed"
	exit 77
fi
DASHSTREAM_TEST_KAFKA_JARS=$(scripts/kafka-jars.sh)
export DASHSTREAM_TEST_KAFKA_JARS DASHSTREAM_TEST_KAFKA=apache
exec go test ./e2e/security -count=1 "$@"
