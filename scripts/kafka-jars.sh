#!/bin/sh
# Fetches Apache Kafka's jars with Maven, once, and prints the directory they are in.
# It is ${XDG_CACHE_HOME:-~/.cache}/dashstream/kafka-VERSION, where the tests look for them.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
pom=$root/internal/testkafka/apache/testdata/pom.xml
version=$(sed -n '/<artifactId>kafka_2.13</,/<\/dependency>/s/.*<version>\(.*\)<\/version>.*/\1/p' "$pom")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dashstream
dir=$cache/kafka-$version

if [ ! -d "$dir" ]; then
	command -v mvn >/dev/null || { echo "kafka-jars: Maven (mvn) is not installed" >&2; exit 1; }
	mkdir -p "$cache"
	# Fetched beside and moved, so that a run that was cut short leaves no half-filled directory behind.
	tmp=$(mktemp -d "$cache/fetch-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	mvn -B -q -f "$pom" dependency:copy-dependencies "-DoutputDirectory=$tmp/jars" >&2
	mv "$tmp/jars" "$dir" 2>/dev/null || [ -d "$dir" ] # another run may have been first
fi
echo "$dir"
