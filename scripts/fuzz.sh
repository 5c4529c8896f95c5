#!/usr/bin/env bash
# fuzz.sh TIME|COUNTx: runs every fuzz test of the project for TIME (20s) or for
# COUNT inputs (2000x), one after another, since go test takes one at a time.
# SQLite itself is not instrumented: it takes minutes to build, and it is not
# what is tested.
#
# Before Go 1.27, a fuzz test that ends by its time may fail with "context
# deadline exceeded" although it found nothing (go.dev/issue/75804: the
# coordinator compares two contexts of which one ends a moment later). Such an
# end is told from a finding, which always writes its input, and is run again.
# A count has no deadline and so never meets it.
set -euo pipefail

limit=${1:?usage: fuzz.sh TIME|COUNTx, such as 20s or 2000x}
cd "$(dirname "$0")/.."
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# fuzz NAME: runs one fuzz test of the package in this folder.
fuzz() {
  local left=3
  until (set -x && go test -run '^$' -fuzz "^$1\$" -fuzztime "$limit" -fuzzminimizetime 10x \
    -gcflags=modernc.org/sqlite/...=-d=libfuzzer=0 . </dev/null) 2>&1 | tee "$output"; do
    ((left -= 1)) || return 1
    grep -q '^    context deadline exceeded$' "$output" || return 1
    ! grep -q 'Failing input written' "$output" || return 1
    echo "fuzz.sh: $1 ended by go.dev/issue/75804 and not by a finding; run again"
  done
}

go list -f '{{.Dir}}' ./... | while read -r dir; do
  { grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null || true; } | while read -r _ name; do
    cd "$dir"
    fuzz "$name"
  done
done
