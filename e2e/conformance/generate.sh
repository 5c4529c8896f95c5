#!/usr/bin/env bash
# generate.sh: writes stubs/ anew, from the proto files of the suite that
# tools/conformance/go.mod names: its own stubs are internal to it. Needed when the
# suite is updated.
set -euo pipefail

cd "$(dirname "$0")/../.."
suite=$(cd tools/conformance && go list -m -f '{{.Dir}}' connectrpc.com/conformance)
out=e2e/conformance/stubs
rm -rf "$out"
go tool -modfile=tools/buf/go.mod buf generate "$suite/proto" --template '{
  "version": "v2",
  "managed": {"enabled": true, "override": [{"file_option": "go_package_prefix",
    "value": "github.com/raft-control-plane/control-plane/'$out'"}]},
  "plugins": [
    {"local": ["go", "tool", "-modfile=tools/gen/go.mod", "protoc-gen-go"], "out": "'$out'", "opt": "paths=source_relative"},
    {"local": ["go", "tool", "-modfile=tools/gen/go.mod", "protoc-gen-connect-go"], "out": "'$out'", "opt": "paths=source_relative"}]}' \
  --path "$suite/proto/connectrpc/conformance/v1/service.proto" \
  --path "$suite/proto/connectrpc/conformance/v1/server_compat.proto" \
  --path "$suite/proto/connectrpc/conformance/v1/config.proto"
