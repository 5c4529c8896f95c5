#!/usr/bin/env bash
# fuzz.sh TIME: runs every fuzz test of the project for TIME, one after another,
# since go test takes one at a time. SQLite itself is not instrumented: it takes
# minutes to build, and it is not what is tested.
set -euo pipefail

time=${1:?usage: fuzz.sh TIME, such as 20s}
cd "$(dirname "$0")/.."

go list -f '{{.Dir}}' ./... | while read -r dir; do
  { grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null || true; } | while read -r _ name; do
    (cd "$dir" && set -x && go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 10x \
      -gcflags=modernc.org/sqlite/...=-d=libfuzzer=0 . </dev/null)
  done
done
