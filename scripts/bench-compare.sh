#!/usr/bin/env bash
# bench-compare.sh REVISION [PACKAGE...]: Go's benchmarks at a revision and as they are here,
# told apart by benchstat. The two are run by turns, COUNT times each, so that what else the
# machine does meets both. BENCH is which of them, BENCHTIME how long each.
set -euo pipefail

(($# > 0)) && [[ -n $1 ]] || { echo "usage: make bench-compare BASE=REVISION [BENCH=REGEXP] [COUNT=6] [BENCHTIME=1s] [PKG=./db/...]" >&2; exit 2; }
cd "$(dirname "$0")/.."
base=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "bench-compare: there is no revision $1" >&2; exit 2; }
shift
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$base"

# Packages with benchmarks among those that were asked for; the others need not be built.
packages() {
  comm -12 <(go list -f '{{.Dir}}' "$@" | sort) \
    <(grep -rl --include='*_test.go' '^func Benchmark' "$PWD" | xargs -n1 dirname | sort -u) | sed "s#^$PWD#.#"
}

# The tests are built once; each run then is of the benchmarks alone.
build() {
  local dir=$1 out=$2 package
  shift 2
  cd "$dir"
  packages "$@" | while read -r package; do
    mkdir -p "$out/$package"
    go test -c -o "$out/$package/bench.test" "$package"
  done
}

run() {
  local dir=$1 out=$2 to=$3 package
  cd "$out"
  find . -name bench.test -printf '%h\n' | sort | while read -r package; do
    (cd "$dir/$package" && "$out/$package/bench.test" -test.run '^$' -test.bench "${BENCH:-.}" -test.benchmem -test.benchtime "${BENCHTIME:-1s}" -test.timeout 30m) >>"$to"
  done
}

here=$PWD
(build "$work/base" "$work/base-tests" "${@:-./...}")
(build "$here" "$work/here-tests" "${@:-./...}")
for ((i = 1; i <= ${COUNT:-6}; i++)); do
  echo "bench-compare: run $i of ${COUNT:-6}" >&2
  (run "$work/base" "$work/base-tests" "$work/base.txt")
  (run "$here" "$work/here-tests" "$work/here.txt")
done
go tool -modfile=tools/benchstat/go.mod benchstat "base=$work/base.txt" "here=$work/here.txt"
