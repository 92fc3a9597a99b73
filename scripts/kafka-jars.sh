#!/bin/sh
# Fetches Apache Kafka's jars with Maven, once, and prints the directory they are in.
# It is ${XDG_CACHE_HOME:-~/.cache}/dashstream/kafka-VERSION, where the tests look for them.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
pom=$root/internal/testkafka/apache/testdata/pom.xml
version=$(sed -n '/<artifactId>kafka_2.13</,/<\/dependency>/s/.*<version>\(.*\)<\/version>.*/\1/p' "$pom")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dashstream
dir=$cache/kafka-$version

# A directory of an earlier checkout may lack a jar that was added since.
if [ ! -e "$dir/kafka-tools-$version.jar" ]; then
	command -v mvn >/dev/null || { echo "kafka-jars: Maven (mvn) is not installed" >&2; exit 1; }
	mkdir -p "$cache"
	# Fetched beside and moved, the one that is looked for last, so that a run that was cut short leaves nothing half done.
	tmp=$(mktemp -d "$cache/fetch-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	mvn -B -q -f "$pom" dependency:copy-dependencies "-DoutputDirectory=$tmp/jars" >&2
	# Another run may have been first, and brokers may be running on what is there: only what is missing is added.
	mkdir -p "$dir"
	mv "$tmp/jars/kafka-tools-$version.jar" "$tmp"
	for jar in "$tmp/jars"/* "$tmp/kafka-tools-$version.jar"; do
		[ -e "$dir/${jar##*/}" ] || mv "$jar" "$dir/"
	done
fi
echo "$dir"
