#!/usr/bin/env bash
# rqlited.sh: builds rqlited where `go tool` then finds it, for the tests that compare the
# engine with it. Its SQLite is in C: without a compiler one is installed if that can
# be done, else this says why it is not built, and those tests are skipped.
set -euo pipefail

cd "$(dirname "$0")/.."
compiler() { command -v "$(go env CC)" >/dev/null; }

if ! compiler && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
  echo "rqlited: no C compiler: installing gcc"
  { apt-get -qq update && apt-get -qq install --yes --no-install-recommends gcc libc6-dev; } >/dev/null ||
    echo "rqlited: apt-get cannot install gcc"
fi
if ! compiler; then
  echo "rqlited is not built, and the tests that compare the engine with it are skipped: no C compiler ($(go env CC)): install gcc, or set CC" >&2
  exit 0
fi
CGO_ENABLED=1 go tool -modfile=tools/rqlite/go.mod -n rqlited >/dev/null
