#!/bin/sh
# A task that says why it waits, and runs when a node with the right GPU joins.
#
#   SERVER=http://127.0.0.1:8080 sh examples/nodes/explain.sh
#
# It starts the node itself, with a GPU that is declared and need not be there:
# --gpus 0 offers a device of which nothing is known. So the task asks for a GPU of
# any model, and for a label by which it is found again.
set -eu
RAFT_NODE=${RAFT_NODE:-bin/raft-node}
export RAFT_NODE_SERVER="${SERVER:-http://127.0.0.1:8080}"
id=train-$$

"$RAFT_NODE" submit --id "$id" --gpus 1 --select accelerator=fast -- sh -c 'echo "trained on GPU $CUDA_VISIBLE_DEVICES"' >/dev/null
echo "waiting: $("$RAFT_NODE" task explain "$id" | sed -n 's/^Why: *//p')"

"$RAFT_NODE" agent --name "gpu-$$" --gpus 0 --label accelerator=fast --log-level error &
agent=$!
trap 'kill "$agent" 2>/dev/null; wait "$agent" 2>/dev/null || true' EXIT

until "$RAFT_NODE" task get "$id" -o json | grep -q TASK_STATUS_COMPLETED; do sleep 0.2; done
echo "ran on $("$RAFT_NODE" task get "$id" | sed -n 's/^Node: *//p'): $("$RAFT_NODE" task get "$id" | tail -1)"
