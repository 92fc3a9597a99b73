#!/bin/sh
# Runs the broker-backed tests on Apache Kafka: every package whose tests import internal/testkafka, on one broker that is
# started once and ends with the run; but for e2e/cluster and e2e/security, which take minutes and have scripts of their own.
# Arguments go to "go test", for example: scripts/test-kafka.sh -run Resume -v
# Needs Java 17 and, the first time, Maven.
set -eu

cd "$(dirname "$0")/.."
DASHSTREAM_TEST_KAFKA_JARS=$(scripts/kafka-jars.sh)
export DASHSTREAM_TEST_KAFKA_JARS

module=$(go list -m)
packages=$(grep -rl --include='*_test.go' "\"$module/internal/testkafka\"" . | xargs -n1 dirname | grep -vx -e ./e2e/cluster -e ./e2e/security | sort -u)
echo "test-kafka: packages:" $packages >&2

# Packages one after the other: they share one broker, and it shares the machine with them.
# KAFKA_BROKERS is taken away again: the tests choose their settings themselves.
# shellcheck disable=SC2086 # package names hold no spaces
exec go run ./internal/testkafka/withkafka env -u KAFKA_BROKERS go test -count=1 -p 1 "$@" $packages
