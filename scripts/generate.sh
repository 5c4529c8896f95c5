#!/usr/bin/env bash
# generate.sh DIR: writes all stubs of proto/ to DIR/gen, which must not exist.
# Run by `make proto` and `make verify`, once the generators are installed.
set -euo pipefail

out=${1:?usage: generate.sh DIR}
cd "$(dirname "$0")/.."
if [ -e "$out/gen" ]; then
  echo "generate.sh: $out/gen exists: name another folder" >&2
  exit 2
fi

go tool -modfile=tools/buf/go.mod buf generate --output "$out"
cp tools/ts/stubs.package.json "$out/gen/ts/package.json"
