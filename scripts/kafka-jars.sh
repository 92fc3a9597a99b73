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
	rm -f "$dir/kafka.jsa" # it is of these jars and no others
	mv "$tmp/jars/kafka-tools-$version.jar" "$tmp"
	for jar in "$tmp/jars"/* "$tmp/kafka-tools-$version.jar"; do
		[ -e "$dir/${jar##*/}" ] || mv "$jar" "$dir/"
	done
fi

# archive has one broker start and end, and Java write down the classes that it loaded: from that file a broker starts
# in half of the processor's time. Without it, or with one of another Java, it starts all the same.
archive() {
	command -v java >/dev/null || return 0
	work=$(mktemp -d "$cache/archive-XXXXXX")
	port=$((20000 + $$ % 20000))
	cat >"$work/server.properties" <<-EOF
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$port
		listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:$port
		controller.listener.names=CONTROLLER
		log.dirs=$work/data
	EOF
	java -cp "$dir/*" kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ -c "$work/server.properties" >"$work/log" 2>&1
	# The options are those of internal/testkafka/apache: another collector makes another archive.
	java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit="$work/kafka.jsa" \
		-cp "$dir/*" kafka.Kafka "$work/server.properties" >"$work/log" 2>&1 &
	broker=$!
	tries=0
	until grep -q 'Kafka Server started' "$work/log" || [ $((tries += 1)) -gt 600 ] || ! kill -0 $broker 2>/dev/null; do
		sleep 0.1
	done
	kill $broker 2>/dev/null || true
	wait $broker || true
	if [ -f "$work/kafka.jsa" ]; then
		mv "$work/kafka.jsa" "$dir/kafka.jsa"
	fi
	rm -rf "$work"
}
[ -f "$dir/kafka.jsa" ] || archive >&2 || true
echo "$dir"
