package agent

import (
	"maps"
	"strconv"
	"strings"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// taskEnv is the environment of a task: the agent's own without what configures
// the agent (RAFT_NODE_*, which may hold the token), the task's, and then what the
// agent says of the attempt. A later value replaces an earlier one.
//
// On a node with GPUs CUDA_VISIBLE_DEVICES is always set: a task that reserved
// none must not find any.
func taskEnv(base []string, t *controlplanev1.Task, nodeHasGPUs bool) [][]byte {
	vars := map[string]string{}
	for _, e := range base {
		if k, v, ok := strings.Cut(e, "="); ok && !strings.HasPrefix(k, "RAFT_NODE_") {
			vars[k] = v
		}
	}
	maps.Copy(vars, t.GetExec().GetEnv())
	vars["TASK_ID"] = t.GetId()
	vars["TASK_ATTEMPT"] = strconv.Itoa(int(t.GetAttempt()))
	vars["TASK_NAME"] = t.GetName()
	if devices := t.GetGpuDevices(); len(devices) > 0 || nodeHasGPUs {
		vars["CUDA_VISIBLE_DEVICES"] = joinIndexes(devices)
	}
	env := make([][]byte, 0, len(vars))
	for k, v := range vars {
		env = append(env, []byte(k+"="+v))
	}
	return env
}

func joinIndexes(devices []int32) string {
	items := make([]string, len(devices))
	for i, d := range devices {
		items[i] = strconv.Itoa(int(d))
	}
	return strings.Join(items, ",")
}
