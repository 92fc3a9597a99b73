#!/usr/bin/env bash
# Drives the page in a headless Chromium against the real program. Arguments go
# to "go test". With DASHSTREAM_SCREENSHOTS=DIR it leaves pictures there. Exits
# with 77 where there is no browser, except in CI, which installs one.
set -euo pipefail
cd "$(dirname "$0")/../e2e/browser"

found=
for browser in chromium chromium-browser google-chrome google-chrome-stable chrome headless-shell; do
  if command -v "$browser" >/dev/null 2>&1; then found=$browser; break; fi
done
if [[ -z $found ]]; then
  echo "browser-test: neither Chromium nor Chrome is installed (Debian: apt-get install chromium)"
  [[ -n ${CI:-} ]] && exit 1
  exit 77
fi
if [[ -n ${DASHSTREAM_SCREENSHOTS:-} ]]; then mkdir -p "$DASHSTREAM_SCREENSHOTS"; fi
echo "browser-test: $("$found" --version 2>/dev/null)"
go vet ./...
exec go test -count=1 -timeout 8m "$@" ./...
