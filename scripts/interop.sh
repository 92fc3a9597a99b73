#!/bin/sh
# Writes and reads a Kafka cluster with kcat and with Python's confluent-kafka, and compares what was written with what was
# read. Any difference ends it with an error.
#
#   scripts/interop.sh HOST:PORT   the broker at this address, for example the one of "dashstream up"
#   scripts/interop.sh             an embedded broker that it starts and ends itself
#
# It needs kcat and Python 3.9 or newer; the Python client goes into a virtual environment outside the checkout.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
broker=${1:-}
if [ -z "$broker" ]; then
	cd "$root"
	exec go run ./internal/testkafka/withkafka -backend embedded sh -c 'exec scripts/interop.sh "$KAFKA_BROKERS"'
fi

client=confluent-kafka==2.16.1
command -v kcat >/dev/null || { echo "interop: kcat is not installed (Debian: apt-get install kcat)" >&2; exit 1; }
command -v python3 >/dev/null || { echo "interop: python3 is not installed" >&2; exit 1; }

cache=${XDG_CACHE_HOME:-$HOME/.cache}/dashstream
venv=$cache/python-$(echo "$client" | tr '=' '-')
if [ ! -d "$venv" ]; then
	mkdir -p "$cache"
	# A virtual environment holds its own path, so it is built in place and marked complete by its name at the end.
	rm -rf "$venv.part"
	python3 -m venv "$venv.part"
	"$venv.part/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "$client"
	mv "$venv.part" "$venv"
fi
exec "$venv/bin/python" "$root/scripts/interop.py" "$broker"
