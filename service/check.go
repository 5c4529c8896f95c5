package service

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// What the rules of the contract cannot say. Fields are given as seen from the
// message checked; within adds what is around it.

// maxExecBytes bounds command and environment together: about what the kernel of
// a node takes, and little enough for a task to fit into every response.
const maxExecBytes = 1 << 20

func checkTask(t *v1.Task) error {
	p := t.GetRetryPolicy()
	switch {
	case t.GetEarliestStartTime() != nil && t.GetStartDelay() != nil:
		return controlplane.FieldErrorf("start_delay", "is set beside earliest_start_time: give one of them")
	case t.GetMaxConcurrency() > 0 && t.GetConcurrencyKey() == "":
		return controlplane.FieldErrorf("max_concurrency", "is %d without a concurrency_key: give the key whose tasks are counted, or leave it out", t.GetMaxConcurrency())
	case p.GetInitialBackoff() != nil && p.GetMaxBackoff() != nil && p.GetMaxBackoff().AsDuration() < p.GetInitialBackoff().AsDuration():
		return controlplane.FieldErrorf("retry_policy.max_backoff", "is %s, shorter than initial_backoff, %s: make it as long at least", p.GetMaxBackoff().AsDuration(), p.GetInitialBackoff().AsDuration())
	}
	if err := checkTrace(t); err != nil {
		return err
	}
	if err := checkConstraints(t.GetConstraints(), t.GetResources().GetGpus()); err != nil {
		return err
	}
	return checkExec(t.GetExec())
}

// checkTrace refuses what tracing systems would ignore.
func checkTrace(t *v1.Task) error {
	parent := t.GetTraceparent()
	switch {
	case parent == "" && t.GetTracestate() != "":
		return controlplane.FieldErrorf("tracestate", "is set without a traceparent, which it adds to: give both, or leave it out")
	case parent != "" && (strings.Trim(parent[3:35], "0") == "" || strings.Trim(parent[36:52], "0") == ""):
		return controlplane.FieldErrorf("traceparent", "has an id of zeros only, which names no span: give the one of a span, or leave it out")
	}
	return nil
}

// checkCancelTasks refuses to cancel everything by a filter that was forgotten.
func checkCancelTasks(r *v1.CancelTasksRequest) error {
	filtered := len(r.GetStatuses()) > 0 || r.GetQueue() != "" || r.GetNodeId() != "" || r.GetName() != "" || len(r.GetLabels()) > 0
	switch {
	case !filtered && !r.GetAll():
		return controlplane.FieldErrorf("all", "no filter is set, which means every task that has not ended: set statuses, queue, node_id, name or labels, or all if that is meant")
	case filtered && r.GetAll():
		return controlplane.FieldErrorf("all", "is set beside a filter: leave one of them out")
	}
	return nil
}

func checkExec(e *v1.ExecTask) error {
	if e == nil {
		return nil
	}
	if e.GetCommand()[0] == "" {
		return controlplane.FieldErrorf("exec.command[0]", "is empty: give the program to run")
	}
	size := len(e.GetWorkingDir())
	for i, arg := range e.GetCommand() {
		size += len(arg) + 1
		if strings.ContainsRune(arg, 0) {
			return controlplane.FieldErrorf(fmt.Sprintf("exec.command[%d]", i), "holds a NUL byte, which no program can be given: take it out")
		}
	}
	for k, v := range e.GetEnv() {
		size += len(k) + len(v) + 2
		switch {
		case strings.Contains(k, "="):
			return controlplane.FieldErrorf(fmt.Sprintf("exec.env[%q]", k), "has '=' in its name: take it out")
		case strings.ContainsRune(k+v, 0):
			return controlplane.FieldErrorf(fmt.Sprintf("exec.env[%q]", k), "holds a NUL byte, which no program can be given: take it out")
		}
	}
	if strings.ContainsRune(e.GetWorkingDir(), 0) {
		return controlplane.FieldErrorf("exec.working_dir", "holds a NUL byte: take it out")
	}
	if size > maxExecBytes {
		return controlplane.FieldErrorf("exec", "command, env and working_dir have %d bytes, at most %d: put large input into a file and give its address", size, maxExecBytes)
	}
	return nil
}

func checkConstraints(c *v1.Constraints, gpus int32) error {
	for i, l := range c.GetLabels() {
		at := fmt.Sprintf("constraints.labels[%d].values", i)
		n := len(l.GetValues())
		switch l.GetOperator() {
		case v1.LabelOperator_LABEL_OPERATOR_IN, v1.LabelOperator_LABEL_OPERATOR_NOT_IN:
			if n == 0 {
				return controlplane.FieldErrorf(at, "is empty: IN and NOT_IN need 1 to 32 values")
			}
		case v1.LabelOperator_LABEL_OPERATOR_GREATER_THAN:
			if n != 1 {
				return controlplane.FieldErrorf(at, "has %d values: GREATER_THAN needs one whole number", n)
			}
			if _, err := strconv.ParseInt(l.GetValues()[0], 10, 64); err != nil {
				return controlplane.FieldErrorf(at, "%q is no whole number, which GREATER_THAN compares with: give one such as 3", l.GetValues()[0])
			}
		default:
			if n > 0 {
				return controlplane.FieldErrorf(at, "has %d values: EXISTS and DOES_NOT_EXIST take none", n)
			}
		}
	}
	switch {
	case gpus > 0:
	case len(c.GetGpuModels()) > 0:
		return controlplane.FieldErrorf("constraints.gpu_models", "is given, but resources.gpus is 0: say how many GPUs the task needs")
	case c.GetMinGpuMemoryBytes() > 0:
		return controlplane.FieldErrorf("constraints.min_gpu_memory_bytes", "is given, but resources.gpus is 0: say how many GPUs the task needs")
	}
	return nil
}

func checkNodeSpec(s *v1.NodeSpec) error {
	if want := len(s.GetGpuDevices()); int(s.GetCapacity().GetGpus()) != want {
		return controlplane.FieldErrorf("spec.capacity.gpus", "is %d, but gpu_devices lists %d: give the number of devices listed", s.GetCapacity().GetGpus(), want)
	}
	seen := make(map[int32]int, len(s.GetGpuDevices()))
	for i, g := range s.GetGpuDevices() {
		if j, ok := seen[g.GetIndex()]; ok {
			return controlplane.FieldErrorf(fmt.Sprintf("spec.gpu_devices[%d].index", i), "%d is also the index of gpu_devices[%d]: give each device an index of its own", g.GetIndex(), j)
		}
		seen[g.GetIndex()] = i
	}
	return nil
}

// checkResults refuses two results for one task in one call: which of them counts
// would depend on luck.
func checkResults(results []*v1.TaskResult) error {
	seen := make(map[string]int, len(results))
	for i, r := range results {
		if j, ok := seen[r.GetTaskId()]; ok {
			return controlplane.FieldErrorf(fmt.Sprintf("results[%d].task_id", i), "is also that of results[%d]: report each task once in a call", j)
		}
		seen[r.GetTaskId()] = i
		if err := checkOutcome(fmt.Sprintf("results[%d].", i), r); err != nil {
			return err
		}
	}
	return nil
}

// outcome is how an attempt ended, in either call that reports it.
type outcome interface {
	GetStatus() v1.TaskStatus
	GetPermanent() bool
	GetRetryAfter() *durationpb.Duration
}

// checkOutcome refuses what would be ignored.
func checkOutcome(path string, o outcome) error {
	failed := o.GetStatus() == v1.TaskStatus_TASK_STATUS_FAILED
	switch {
	case o.GetPermanent() && !failed:
		return controlplane.FieldErrorf(path+"permanent", "is for status TASK_STATUS_FAILED: leave it out")
	case o.GetRetryAfter() != nil && !failed:
		return controlplane.FieldErrorf(path+"retry_after", "is for status TASK_STATUS_FAILED: leave it out")
	case o.GetRetryAfter() != nil && o.GetPermanent():
		return controlplane.FieldErrorf(path+"retry_after", "is given with permanent, after which there is no other attempt: leave one of them out")
	}
	return nil
}

// maxPushBytes bounds the texts of one call.
const maxPushBytes = 1 << 20

func checkChunks(chunks []*v1.LogChunk) error {
	size := 0
	for i, c := range chunks {
		size += len(c.GetText())
		if c.GetOldestOffset() > c.GetOffset() {
			return controlplane.FieldErrorf(fmt.Sprintf("chunks[%d].oldest_offset", i), "is %d, beyond the offset of the chunk, %d: the worker has this chunk at least", c.GetOldestOffset(), c.GetOffset())
		}
	}
	if size > maxPushBytes {
		return controlplane.FieldErrorf("chunks", "hold %d bytes of text, at most %d may be in one call: send the rest in the next", size, maxPushBytes)
	}
	return nil
}

// checkLogStart refuses an offset that may be of another attempt than is meant.
func checkLogStart(attempt int32, offset int64) error {
	if offset > 0 && attempt == 0 {
		return controlplane.FieldErrorf("attempt", "is needed with an offset, which is of one attempt: give that of the answer before")
	}
	return nil
}
