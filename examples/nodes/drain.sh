#!/bin/sh
# Empties a node under load without losing any work: NODE is drained while its tasks
# run, those that do not end by the deadline are run elsewhere. So there must be
# another node that takes commands. NODE takes tasks again in the end, also if the
# script is cut off.
#
#   SERVER=http://127.0.0.1:8080 NODE=n1 sh examples/nodes/drain.sh
set -eu
RAFT_NODE=${RAFT_NODE:-bin/raft-node}
export RAFT_NODE_SERVER="${SERVER:-http://127.0.0.1:8080}"
node=${NODE:?the node to drain}
tasks=${TASKS:-20}
name=drain-$$

begun=$("$RAFT_NODE" sql -o jsonl "SELECT clock_ms FROM raft_state" | tr -cd 0-9)
# needs waits for a node that takes tasks, of those that a condition names, and is heard
# from now on, as those that live are within some 5 s: one that is gone is HEALTHY until
# its lease is over.
needs() {
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do
    found=$("$RAFT_NODE" sql -o jsonl "SELECT id FROM nodes WHERE status = 'HEALTHY' AND schedulable AND polling AND exec
      AND heartbeat_time_ms > $begun AND $1")
    [ -z "$found" ] || return 0
    sleep 0.5
  done
  echo "drain.sh: $2" >&2
  echo "  $RAFT_NODE agent --server $RAFT_NODE_SERVER --name $3 --slots 4 &" >&2
  exit 1
}
needs "id = '$node'" "no node $node takes tasks ($RAFT_NODE node list shows which do): uncordon it, or start it by" "$node"
needs "id <> '$node'" "no node but $node takes tasks, so what it holds could go nowhere: start another agent by" second

i=0
while [ "$i" -lt "$tasks" ]; do
  i=$((i + 1))
  "$RAFT_NODE" submit --id "$name-$i" --name "$name" -- sleep 3 >/dev/null
done
until [ -n "$("$RAFT_NODE" task list --task-name "$name" --status running --node "$node" -o json | grep '"id"')" ]; do sleep 0.1; done

trap '"$RAFT_NODE" node uncordon "$node" >/dev/null' EXIT
trap 'exit 130' INT TERM
"$RAFT_NODE" node drain "$node" --deadline "${DEADLINE:-1s}" --wait | sed -n 's/^Status: */the node is /p'
until [ -z "$("$RAFT_NODE" task list --task-name "$name" --status pending,assigned,running -o json | grep '"id"')" ]; do sleep 0.2; done
"$RAFT_NODE" sql "SELECT status, count(*) AS tasks, sum(failed_attempts) AS failed, sum(lost_attempts) AS lost FROM tasks WHERE name = '$name' GROUP BY status"
