#!/usr/bin/env bash
# Regenerates every generated file of the tree. CI runs it and fails on a diff.
#
# Needs protoc 3.21 (Debian 12: apt-get install protobuf-compiler). The Go plugin
# is built at the version that go.mod pins, so it cannot differ from the runtime.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${DASHSTREAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dashstream}
mkdir -p "$cache/bin"

# The version is written into the generated files: another one is a diff.
have=$(protoc --version 2>/dev/null || true)
case $have in
  "libprotoc 3.21."*) ;;
  *) echo "generate: need protoc 3.21, found ${have:-none}: apt-get install protobuf-compiler (Debian 12)" >&2; exit 1 ;;
esac

go build -o "$cache/bin/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go

# One entry a schema; go_package in the file says where its Go goes.
for schema in dashstream/v1/dashstream.proto dashstream/stream/v1/stream.proto; do
  protoc --plugin=protoc-gen-go="$cache/bin/protoc-gen-go" \
    -I proto --go_out=. --go_opt=module=github.com/dashflow/dashstream "$schema"
done

# Packages that generate more (references, tables) say so with go:generate.
go generate ./...
