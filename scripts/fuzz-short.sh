#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (default 10s) each. The seeds alone run
# with every "go test".
set -euo pipefail
cd "$(dirname "$0")/.."

: "${FUZZTIME:=10s}"
ran=0
for pkg in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do
  for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
    echo "fuzz: $pkg $target for $FUZZTIME"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" "$pkg"
    ran=$((ran + 1))
  done
done
if ((ran == 0)); then
  echo "fuzz: found no fuzz target: the search is broken" >&2
  exit 1
fi
echo "fuzz: $ran targets, no finding"
