package agent

import (
	"maps"
	"strconv"
	"strings"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Where OpenTelemetry looks for the span that a process belongs to.
const (
	traceparentEnv = "TRACEPARENT"
	tracestateEnv  = "TRACESTATE"
)

// taskEnv is the environment of a task: the agent's own without what configures
// the agent (RAFT_NODE_*, which may hold the token), the task's, and then what the
// agent says of the attempt. A later value replaces an earlier one.
//
// On a node with GPUs CUDA_VISIBLE_DEVICES is always set: a task that reserved
// none must not find any.
func taskEnv(base []string, t *controlplanev1.Task, gpus []*controlplanev1.GpuDevice, progressFile string) [][]byte {
	vars := map[string]string{}
	for _, e := range base {
		if k, v, ok := strings.Cut(e, "="); ok && !strings.HasPrefix(k, "RAFT_NODE_") {
			vars[k] = v
		}
	}
	delete(vars, traceparentEnv) // the agent's own says nothing of the task
	delete(vars, tracestateEnv)
	maps.Copy(vars, t.GetExec().GetEnv())
	vars["TASK_ID"] = t.GetId()
	vars["TASK_ATTEMPT"] = strconv.Itoa(int(t.GetAttempt()))
	vars["TASK_NAME"] = t.GetName()
	vars["TASK_PROGRESS_FILE"] = progressFile
	if parent := t.GetTraceparent(); parent != "" {
		vars[traceparentEnv], vars[tracestateEnv] = parent, t.GetTracestate()
	}
	if devices := t.GetGpuDevices(); len(devices) > 0 || len(gpus) > 0 {
		vars["CUDA_VISIBLE_DEVICES"] = visibleDevices(devices, gpus)
	}
	env := make([][]byte, 0, len(vars))
	for k, v := range vars {
		env = append(env, []byte(k+"="+v))
	}
	return env
}

// visibleDevices names devices for CUDA: by their UUID if they have one, else by index.
func visibleDevices(devices []int32, gpus []*controlplanev1.GpuDevice) string {
	items := make([]string, len(devices))
	for i, d := range devices {
		if items[i] = gpuByIndex(gpus, d).GetUuid(); items[i] == "" {
			items[i] = strconv.Itoa(int(d))
		}
	}
	return strings.Join(items, ",")
}
