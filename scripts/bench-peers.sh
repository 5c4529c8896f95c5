#!/usr/bin/env bash
# bench-peers.sh [FLAG...]: builds the peers that are Go programs at the versions of
# bench/peers/go.mod, and runs the comparison. PostgreSQL is the system's own:
# apt-get install postgresql.
set -euo pipefail

cd "$(dirname "$0")/.."
mkdir -p .tools/peers
# -mod=mod: what the project itself requires changes more often than this.
(cd bench/peers && go build -mod=mod -o ../../.tools/peers/ . ./etcd github.com/nats-io/nats-server/v2)
exec .tools/peers/peers -raft-node bin/raft-node -bin .tools/peers "$@"
