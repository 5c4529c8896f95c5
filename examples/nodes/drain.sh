#!/bin/sh
# Empties a node under load without losing any work: NODE is drained while its tasks
# run, those that do not end by the deadline are run elsewhere.
#
#   SERVER=http://127.0.0.1:8080 NODE=n1 sh examples/nodes/drain.sh
set -eu
RAFT_NODE=${RAFT_NODE:-bin/raft-node}
export RAFT_NODE_SERVER="${SERVER:-http://127.0.0.1:8080}"
node=${NODE:?the node to drain}
tasks=${TASKS:-20}
name=drain-$$

i=0
while [ "$i" -lt "$tasks" ]; do
  i=$((i + 1))
  "$RAFT_NODE" submit --id "$name-$i" --name "$name" -- sleep 3 >/dev/null
done
until [ -n "$("$RAFT_NODE" task list --task-name "$name" --status running --node "$node" -o json | grep '"id"')" ]; do sleep 0.1; done

"$RAFT_NODE" node drain "$node" --deadline "${DEADLINE:-1s}" --wait | sed -n 's/^Status: */the node is /p'
until [ -z "$("$RAFT_NODE" task list --task-name "$name" --status pending,assigned,running -o json | grep '"id"')" ]; do sleep 0.2; done
"$RAFT_NODE" sql "SELECT status, count(*) AS tasks, sum(failed_attempts) AS failed, sum(lost_attempts) AS lost FROM tasks WHERE name = '$name' GROUP BY status"
"$RAFT_NODE" node uncordon "$node" >/dev/null
