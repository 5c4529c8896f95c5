#!/usr/bin/env bash
# conformance.sh: runs Connect's conformance suite against a whole member, which
# serves the suite's service beside its own. Twice: on loopback without a token,
# where the Host header is checked, and with a token and CORS, as between machines.
# Every case that e2e/conformance/features.yaml does not rule out must pass.
set -euo pipefail

# The suite passes over what a changed features.yaml no longer asks for without a
# word, so the number of cases is part of what is checked.
cases=3620

cd "$(dirname "$0")/.."
bin=$PWD/.tools/bin
mkdir -p "$bin"
(cd tools/conformance && go build -o "$bin/connectconformance" connectrpc.com/conformance/cmd/connectconformance)
go build -o "$bin/conformance-server" ./e2e/conformance

sed -n 's/^  *# /not applicable: /p' e2e/conformance/features.yaml
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for setup in -token=false -token=true; do
  echo "conformance of a member run with $setup:"
  "$bin/connectconformance" --mode server --conf e2e/conformance/features.yaml -- \
    "$bin/conformance-server" "$setup" >"$log" 2>&1 || { cat "$log"; exit 1; }
  tail -n 2 "$log"
  grep -qx "$cases passed, 0 failed" "$log" || {
    echo "conformance: expected $cases cases: see what the suite or features.yaml changed, then set the number in $0" >&2
    exit 1
  }
done
