#!/usr/bin/env bash
# Lints the module with the pinned golangci-lint, built once into the cache
# outside the checkout. Arguments go to "golangci-lint run".
set -euo pipefail
cd "$(dirname "$0")/.."

version=v2.15.0
cache=${DASHSTREAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dashstream}
# The Go version is in the name: a linter built by an older Go cannot read the
# export data of a newer one.
bin=$cache/lint/$version-$(go env GOVERSION)
if [[ ! -x $bin/golangci-lint ]]; then
  echo "lint: building golangci-lint $version, once" >&2
  # From outside the module, so that its dependencies stay out of go.mod.
  (cd / && GOFLAGS= GOBIN="$bin" go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version")
fi
exec "$bin/golangci-lint" run "$@"
