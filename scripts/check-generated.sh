#!/usr/bin/env bash
# Fails when a generated file is not what its source generates now. It compares
# the tree with itself, so it works in the middle of other changes too.
set -euo pipefail
cd "$(dirname "$0")/.."

snapshot() { git ls-files -z --cached --others --exclude-standard | sort -z | xargs -0 sha256sum 2>/dev/null || true; }

before=$(snapshot)
scripts/generate.sh
after=$(snapshot)
if ! changed=$(diff <(echo "$before") <(echo "$after")); then
  echo "generated files are stale: run scripts/generate.sh and commit the result" >&2
  grep '^>' <<<"$changed" | awk '{print "  " $3}' >&2
  git --no-pager diff --stat >&2
  exit 1
fi
echo "generated files are current"
