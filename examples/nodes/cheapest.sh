#!/bin/sh
# A fleet of three priced clouds: a queue whose placement is CHEAPEST fills the cheap
# nodes first, and goes to dearer ones only when those are full.
#
#   SERVER=http://127.0.0.1:8080 sh examples/nodes/cheapest.sh
set -eu
RAFT_NODE=${RAFT_NODE:-bin/raft-node}
export RAFT_NODE_SERVER="${SERVER:-http://127.0.0.1:8080}"
queue=cheap-$$
agents=
trap 'kill $agents 2>/dev/null; wait 2>/dev/null || true' EXIT

for cloud in aws:3.06 gcp:2.48 lambda:1.29; do
  "$RAFT_NODE" agent --name "${cloud%:*}-$$" --provider "${cloud%:*}" --price-per-hour "${cloud#*:}" --slots 2 --cpu 2 --gpus none \
    --label "fleet=$$" --log-level error &
  agents="$agents $!"
done
until [ "$("$RAFT_NODE" sql "SELECT 'asking', count(*) FROM nodes WHERE polling AND labels ->> '\$.fleet' = '$$'" | awk '$1 == "asking" {print $2}')" = 3 ]; do sleep 0.2; done

"$RAFT_NODE" queue create "$queue" --placement cheapest >/dev/null
for i in 1 2 3 4 5; do
  "$RAFT_NODE" submit --queue "$queue" --name "$queue" --cpu 1 --select "fleet=$$" -- sleep 3 >/dev/null
done
until [ -z "$("$RAFT_NODE" task list --task-name "$queue" --status pending,assigned,running -o json | grep '"id"')" ]; do sleep 0.2; done
"$RAFT_NODE" sql "SELECT n.provider, n.price_micros_per_hour / 1e6 AS usd_per_hour, count(*) AS tasks
  FROM tasks t JOIN nodes n ON n.id = t.node_id WHERE t.name = '$queue' GROUP BY n.id ORDER BY 2"
