#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (default 10s) each. The seeds alone run
# with every "go test". What a target finds is left in its package's testdata.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${FUZZTIME:=10s}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cache=$(go env GOCACHE)/fuzz
ran=0 failed=()

# only_late FILE: succeeds where all that failed is that the time was up while a worker was busy, which package testing
# tells as a failure (golang.org/issue/48591); a finding names its input.
only_late() {
  [[ $(grep -A1 -- '^--- FAIL' "$1") == *$'\n'*' context deadline exceeded' ]] && ! grep -q 'Failing input' "$1"
}
while read -r dir pkg; do
  grep -qs '^func Fuzz' "$dir"/*_test.go || continue
  # One binary for all targets of a package: to build it takes longer than to run one.
  go test -c -fuzz=. -o "$tmp/fuzz.test" "$pkg"
  for target in $(cd "$dir" && "$tmp/fuzz.test" -test.list '^Fuzz'); do
    [[ $target == Fuzz* ]] || continue
    echo "fuzz: $pkg $target for $FUZZTIME"
    if ! (cd "$dir" && "$tmp/fuzz.test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$FUZZTIME" -test.fuzzminimizetime 1s -test.fuzzcachedir "$cache/$pkg") 2>&1 | tee "$tmp/out"; then
      only_late "$tmp/out" || failed+=("$pkg $target")
    fi
    ran=$((ran + 1))
  done
done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}} {{.ImportPath}}{{end}}' ./...)
if ((ran == 0)); then
  echo "fuzz: found no fuzz target: the search is broken" >&2
  exit 1
fi
if ((${#failed[@]} > 0)); then
  printf 'fuzz: failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "fuzz: $ran targets, no finding"
