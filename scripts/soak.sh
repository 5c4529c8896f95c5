#!/usr/bin/env bash
# soak.sh SECONDS: repeats the tests of lost power, killed members, stopped leaders
# and linearizable histories until the time is over, with other seeds each time, and
# prints what they count. RAFT_NODE_BINARY is the member under test.
set -euo pipefail

seconds=${1:?usage: soak.sh SECONDS}
cd "$(dirname "$0")/.."

counts() { # runs a test and shows what it counts
  (set -x; go test -count 1 -timeout 60m -v -run "$2" "$1") | grep -E '^ +[a-z_]+_test\.go|^(---|FAIL|ok|panic)'
}

pass=0
while ((SECONDS < seconds)); do
  pass=$((pass + 1))
  echo "pass $pass, after $SECONDS s of $seconds"
  export RAFT_NODE_CRASH_SEED=$RANDOM RAFT_NODE_CRASH_IMAGES=4
  export RAFT_NODE_LINEAR_SECONDS=120 RAFT_NODE_KILL_ROUNDS=50 RAFT_NODE_STOP_ROUNDS=250
  counts ./db/raftdb/crashtest .
  counts ./e2e 'Linearizable|MembersKilledUnderLoad'
done
