#!/usr/bin/env bash
# bench-engine.sh TASKS...: what the size of the state must not make slow: how long
# bin/raft-node takes to be ready, how long writes wait for a snapshot, and how fast an
# empty member catches up. Ratios are within one run. The states are in TMPDIR.
set -euo pipefail

(($# > 0)) || { echo "usage: bench-engine.sh TASKS..." >&2; exit 2; }
cd "$(dirname "$0")/.."
echo "machine: $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1), $(uname -sr), load $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null)"
echo "state on: $(df -T "${TMPDIR:-/tmp}" 2>/dev/null | awk 'NR == 2 { print $2, $1 }'), $(go env GOVERSION), $(git describe --always --dirty)"
for tasks in "$@"; do
  echo
  echo "## bin/raft-node, from exec to ready"
  python3 scripts/ready-time.py --tasks "$tasks" --runs 5
done
echo
echo "## the engine, with ${*} tasks"
RAFT_NODE_BENCH_TASKS=$(IFS=,; echo "$*") go test -run '^$' -bench BenchmarkEngine -benchtime 1x -timeout 60m ./db/raftdb
