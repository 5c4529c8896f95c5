#!/usr/bin/env bash
# stubs-fresh.sh: fails, with the differences, when gen/ is not what proto/ and
# the pinned generators give.
set -euo pipefail

cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

scripts/generate.sh "$tmp"
if ! diff -r --brief --exclude=__pycache__ gen "$tmp/gen"; then
  echo "gen/ is stale: run 'make proto' and commit what it writes" >&2
  exit 1
fi
