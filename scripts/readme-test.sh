#!/usr/bin/env bash
# Runs what the README tells a newcomer to run, word for word, in a copy of the
# tracked files: the first command, and while it serves, each line of the block
# under "Look at it". Each must print something; nothing may fail.
set -euo pipefail
cd "$(dirname "$0")/.."

for port in 3002 9092; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "readme-test: port $port, which the README's commands use, is taken"
    exit 77
  fi
done

start=$(sed -n 's/^    \(go run .*\)$/\1/p' README.md | head -n 1)
mapfile -t looks < <(awk '/^## Look at it/ {here=1} here && /^```/ {if (block) exit; block=1; next} here && block' README.md)
if [[ -z $start || ${#looks[@]} -lt 3 ]]; then
  echo "readme-test: the README's commands were not found" >&2
  exit 1
fi

copy=$(mktemp -d)
server=
cleanup() {
  if [[ -n $server ]]; then
    kill -TERM -- "-$server" 2>/dev/null || true
    # "go run" ends before the program that it runs.
    for ((i = 0; i < 100; i++)); do
      kill -0 -- "-$server" 2>/dev/null || break
      sleep 0.2
    done
    kill -KILL -- "-$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$copy"
}
trap cleanup EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
cd "$copy"

echo "readme-test: $start"
set -m # a process group of its own, so that the program ends with "go run"
bash -c "exec $start" >server.log 2>&1 &
server=$!
set +m
for ((i = 0; ; i++)); do
  curl -fs -m 2 -o /dev/null http://127.0.0.1:3002/readyz && break
  if ((i >= 600)) || ! kill -0 "$server" 2>/dev/null; then
    echo "readme-test: it was not ready within 120 s, or ended:" >&2
    cat server.log >&2
    exit 1
  fi
  sleep 0.2
done
grep -q 'http://127.0.0.1:3002' server.log || { echo "readme-test: it printed no address:" >&2; cat server.log >&2; exit 1; }

for look in "${looks[@]}"; do
  echo "readme-test: $look"
  code=0
  timeout 120 bash -c "$look" >look.log 2>look.err || code=$?
  # A stream is watched for a time (curl -m) and then left: exit code 28.
  if { ((code != 0)) && ! [[ $code == 28 && $look == *"curl -N"* ]]; } || [[ ! -s look.log ]]; then
    echo "readme-test: exit code $code, $(wc -c <look.log) bytes printed:" >&2
    head -c 2000 look.log look.err >&2
    exit 1
  fi
done
echo "readme-test: 1 server and ${#looks[@]} commands did what the README says"
