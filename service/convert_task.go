package service

import (
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

var taskStatusToProto = map[controlplane.TaskStatus]v1.TaskStatus{
	controlplane.TaskPending:   v1.TaskStatus_TASK_STATUS_PENDING,
	controlplane.TaskAssigned:  v1.TaskStatus_TASK_STATUS_ASSIGNED,
	controlplane.TaskRunning:   v1.TaskStatus_TASK_STATUS_RUNNING,
	controlplane.TaskCompleted: v1.TaskStatus_TASK_STATUS_COMPLETED,
	controlplane.TaskFailed:    v1.TaskStatus_TASK_STATUS_FAILED,
	controlplane.TaskCancelled: v1.TaskStatus_TASK_STATUS_CANCELLED,
}

var taskStatusFromProto = inverse(taskStatusToProto)

func inverse[K, V comparable](m map[K]V) map[V]K {
	inv := make(map[V]K, len(m))
	for k, v := range m {
		inv[v] = k
	}
	return inv
}

// mapped translates each element by a map that has all of them.
func mapped[K comparable, V any](keys []K, m map[K]V) []V {
	if len(keys) == 0 {
		return nil
	}
	out := make([]V, len(keys))
	for i, k := range keys {
		out[i] = m[k]
	}
	return out
}

// tasksFromProto reads submissions, one after the other into the same memory.
func tasksFromProto(requests []*v1.SubmitTaskRequest) iter.Seq[*controlplane.Task] {
	return func(yield func(*controlplane.Task) bool) {
		task := &controlplane.Task{}
		for _, r := range requests {
			if taskFromProto(task, r); !yield(task) {
				return
			}
		}
	}
}

// taskFromProto reads a submission; output fields are left out.
func taskFromProto(out *controlplane.Task, r *v1.SubmitTaskRequest) {
	t := r.GetTask()
	*out = controlplane.Task{
		ID: t.GetId(), RequestID: r.GetRequestId(), Name: t.GetName(), Queue: t.GetQueue(), Priority: t.GetPriority(), Labels: t.GetLabels(),
		Resources: resourcesFromProto(t.GetResources()), Constraints: constraintsFromProto(t.GetConstraints()), Timeout: t.GetTimeout().AsDuration(),
		NoProgressTimeout: t.GetNoProgressTimeout().AsDuration(),
		MaxAttempts:       t.GetMaxAttempts(), MaxLostAttempts: t.GetMaxLostAttempts(),
		StartDelay: t.GetStartDelay().AsDuration(), QueueTimeout: t.GetQueueTimeout().AsDuration(), Retry: retryFromProto(t.GetRetryPolicy()),
		ConcurrencyKey: t.GetConcurrencyKey(), MaxConcurrency: t.GetMaxConcurrency(),
	}
	out.Trace = controlplane.TraceContext{Parent: t.GetTraceparent(), State: t.GetTracestate()}
	if t.GetEarliestStartTime() != nil {
		out.EarliestStart = t.GetEarliestStartTime().AsTime()
	}
	if e := t.GetExec(); e != nil {
		out.Exec = &controlplane.Exec{Command: e.GetCommand(), Env: e.GetEnv(), WorkingDir: e.GetWorkingDir()}
	}
	if f := t.GetFunction(); f != nil {
		out.Function = &controlplane.Function{Name: f.GetName(), Payload: f.GetPayload()}
	}
}

func taskToProto(t *controlplane.Task) *v1.Task {
	if t == nil {
		return nil
	}
	out := &v1.Task{
		Id: t.ID, Name: t.Name, Queue: t.Queue, Priority: t.Priority, Labels: t.Labels,
		Resources: resourcesToProto(t.Resources), Constraints: constraintsToProto(t.Constraints), Timeout: durationToProto(t.Timeout),
		NoProgressTimeout: durationToProto(t.NoProgressTimeout), Progress: progressToProto(t.Progress), ProgressTime: timeToProto(t.ProgressTime),
		MaxAttempts: t.MaxAttempts, MaxLostAttempts: t.MaxLostAttempts,
		EarliestStartTime: timeToProto(t.EarliestStart), QueueTimeout: durationToProto(t.QueueTimeout), RetryPolicy: retryToProto(t.Retry),
		ConcurrencyKey: t.ConcurrencyKey, MaxConcurrency: t.MaxConcurrency, Traceparent: t.Trace.Parent, Tracestate: t.Trace.State,
		Status: taskStatusToProto[t.Status], NodeId: t.NodeID, Attempt: t.Attempt,
		CreateTime: timeToProto(t.CreateTime), AssignTime: timeToProto(t.AssignTime),
		StartTime: timeToProto(t.StartTime), EndTime: timeToProto(t.EndTime), RetryTime: timeToProto(t.RetryTime),
		Result: t.Result, Error: t.Error, ExitCode: t.ExitCode, LogTail: t.LogTail,
		CancelRequested: t.CancelRequested, FailedAttempts: t.FailedAttempts, LostAttempts: t.LostAttempts, GpuDevices: t.GPUDevices,
	}
	switch {
	case t.Exec != nil:
		out.Work = &v1.Task_Exec{Exec: &v1.ExecTask{Command: t.Exec.Command, Env: t.Exec.Env, WorkingDir: t.Exec.WorkingDir}}
	case t.Function != nil:
		out.Work = &v1.Task_Function{Function: &v1.FunctionTask{Name: t.Function.Name, Payload: t.Function.Payload}}
	}
	return out
}

func retryFromProto(p *v1.RetryPolicy) *controlplane.RetryPolicy {
	if p == nil {
		return nil
	}
	out := &controlplane.RetryPolicy{InitialBackoff: p.GetInitialBackoff().AsDuration(), MaxBackoff: p.GetMaxBackoff().AsDuration(),
		Multiplier: p.GetMultiplier(), Jitter: controlplane.DefaultRetryPolicy().Jitter, ExitCodes: p.GetExitCodes()}
	if p.Jitter != nil {
		out.Jitter = p.GetJitter()
	}
	return out
}

func retryToProto(p *controlplane.RetryPolicy) *v1.RetryPolicy {
	if p == nil {
		return nil
	}
	return &v1.RetryPolicy{InitialBackoff: durationToProto(p.InitialBackoff), MaxBackoff: durationToProto(p.MaxBackoff),
		Multiplier: &p.Multiplier, Jitter: &p.Jitter, ExitCodes: p.ExitCodes}
}

func tasksToProto(tasks []*controlplane.Task) []*v1.Task {
	out := make([]*v1.Task, len(tasks))
	for i, t := range tasks {
		out[i] = taskToProto(t)
	}
	return out
}

func filterFromProto(r *v1.ListTasksRequest) controlplane.TaskFilter {
	return controlplane.TaskFilter{
		Statuses: mapped(r.GetStatuses(), taskStatusFromProto),
		Queue:    r.GetQueue(), NodeID: r.GetNodeId(), Name: r.GetName(), Labels: r.GetLabels(),
	}
}

func cancelFilterFromProto(r *v1.CancelTasksRequest) controlplane.TaskFilter {
	return controlplane.TaskFilter{
		Statuses: mapped(r.GetStatuses(), taskStatusFromProto),
		Queue:    r.GetQueue(), NodeID: r.GetNodeId(), Name: r.GetName(), Labels: r.GetLabels(),
	}
}

func resourcesFromProto(r *v1.Resources) controlplane.Resources {
	return controlplane.Resources{CPUMillis: r.GetCpuMillis(), MemoryBytes: r.GetMemoryBytes(), DiskBytes: r.GetDiskBytes(), GPUs: r.GetGpus(),
		Custom: r.GetCustom()}
}

func resourcesToProto(r controlplane.Resources) *v1.Resources {
	return &v1.Resources{CpuMillis: r.CPUMillis, MemoryBytes: r.MemoryBytes, DiskBytes: r.DiskBytes, Gpus: r.GPUs, Custom: r.Custom}
}

// timeToProto and durationToProto leave a zero value out.
func timeToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func durationToProto(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
