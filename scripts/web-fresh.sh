#!/usr/bin/env bash
# web-fresh.sh: fails, with the differences, when web/dist is not what the sources of
# the dashboard give.
set -euo pipefail

cd "$(dirname "$0")/../web"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

npm run --silent check
npm run --silent build -- --outDir "$tmp/dist" --emptyOutDir --logLevel warn
if ! diff -r --brief dist "$tmp/dist"; then
  echo "web/dist is stale: run 'make web' and commit what it writes" >&2
  exit 1
fi
