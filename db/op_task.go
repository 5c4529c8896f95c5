package db

import (
	"github.com/raft-control-plane/control-plane"
)

// Held is an attempt that a node holds, as the leader knows it.
type Held struct {
	Seq     int64
	TaskID  string
	NodeID  string
	Attempt int32
	GPUs    []int32
}

// AssignOp gives the pending task seq, whose last attempt was the one before
// h.Attempt, to a node and its session, as ASSIGNED or RUNNING.
func AssignOp(h Held, session string, status controlplane.TaskStatus, nowMs int64) *Op {
	start := Value{}
	if status == controlplane.TaskRunning {
		start = Int(nowMs)
	}
	op := &Op{Journal: event(nil, kindOf(status), h.Seq, h.Attempt, h.NodeID, "")}
	op.Steps = append(op.Steps, Step{SQL: sqlTaskAssign, Args: []Value{
		Int(h.Seq), Str(h.NodeID), Str(string(status)), Int(nowMs), start, jsonInts(h.GPUs), Int(int64(h.Attempt - 1)), Str(session)}})
	op.takeGPUs(h.NodeID, h.Seq, h.GPUs)
	return op
}

// Assign adds AssignOp. Of the tasks that a group gives to one session of a node, with
// nothing but such gifts in between, only the first looks whether the node is there in that
// session and healthy: nothing that could change it is between them, and the others need that
// the first has held. To look costs an eighth of giving a task. So none is ever given to a
// node that is gone; should the first not hold because of its task, the others are not given
// either, and the planner learns that of each.
func (g *Group) Assign(h Held, session string, status controlplane.TaskStatus, result func(OpResult)) {
	op, to := AssignOp(h, session, status, g.Now), nodeSession{h.NodeID, session}
	looked := g.looked
	switch first, known := looked[to]; {
	case !g.needs: // not all members know that
	case known:
		op.Needs = first
		op.Steps[0].SQL, op.Steps[0].Args = sqlTaskAssignNext, op.Steps[0].Args[:7]
	case looked == nil:
		looked = map[nodeSession]int{to: len(g.ops) + 1}
	default:
		looked[to] = len(g.ops) + 1
	}
	g.Add(op, result)
	g.looked = looked
}

// nodeSession is a node in one of its sessions.
type nodeSession struct{ node, session string }

// DeliverOp marks an assigned task as fetched.
func DeliverOp(h Held, nowMs int64) *Op {
	return &Op{
		Steps:   []Step{{SQL: sqlTaskDeliver, Args: []Value{Int(h.Seq), Int(int64(h.Attempt)), Int(nowMs)}}},
		Journal: event(nil, 'R', h.Seq, h.Attempt, h.NodeID, ""),
	}
}

// EndOp ends a task with what its node reported; reason is for the event.
func EndOp(h Held, status controlplane.TaskStatus, res *controlplane.Result, reason string, nowMs int64) *Op {
	failed := Int(0)
	if status == controlplane.TaskFailed {
		failed = Int(1)
	}
	op := &Op{Journal: event(nil, kindOf(status), h.Seq, h.Attempt, h.NodeID, reason), Ends: h.Seq}
	op.Steps = append(make([]Step, 0, 2), Step{SQL: sqlTaskEnd, Args: []Value{
		Int(h.Seq), Int(int64(h.Attempt)), Str(h.NodeID), Str(string(status)), Int(nowMs), optInt32(res.ExitCode), failed, OptStr(res.Error)}})
	if len(res.Result) > 0 || res.LogTail != "" {
		op.Steps = append(op.Steps, Step{SQL: sqlTaskOutputPut, Args: []Value{Int(h.Seq), Bytes(res.Result), OptStr(res.LogTail)}})
	}
	op.keepLogStart(h, res)
	op.freeGPUs(h)
	return op
}

// Past statuses of an attempt that did not end its task.
const (
	AttemptFailed   = "FAILED"
	AttemptLost     = "LOST"
	AttemptReleased = "RELEASED"
)

// Requeue says how a task goes back to PENDING.
type Requeue struct {
	Attempt string // AttemptFailed, AttemptLost or AttemptReleased
	Reason  string // for the event
	// RetryMs is when it may be placed again, 0 for at once.
	RetryMs int64
	Result  controlplane.Result // what the attempt left
}

// RequeueOp archives the present attempt and puts the task back to PENDING.
func RequeueOp(h Held, r Requeue, nowMs int64) *Op {
	op := archive(h, r, nowMs)
	op.Steps = append(op.Steps, Step{SQL: sqlTaskRequeue, Args: []Value{
		Int(h.Seq), Int(int64(h.Attempt)), OptInt(r.RetryMs), Bool(r.Attempt == AttemptFailed), Bool(r.Attempt == AttemptLost), OptStr(r.Result.Error),
		optInt32(r.Result.ExitCode)}})
	op.keepLogStart(h, &r.Result)
	op.Journal = event(nil, 'Q', h.Seq, h.Attempt, h.NodeID, r.Reason)
	op.freeGPUs(h)
	return op
}

// LoseOp archives the present attempt as lost and ends the task, FAILED (too many
// losses) or CANCELLED (it was to be stopped anyway).
func LoseOp(h Held, status controlplane.TaskStatus, r Requeue, nowMs int64) *Op {
	op := archive(h, r, nowMs)
	op.Steps = append(op.Steps, Step{SQL: sqlTaskEndArchived, Args: []Value{
		Int(h.Seq), Int(int64(h.Attempt)), Str(string(status)), Int(nowMs), Bool(r.Attempt == AttemptLost), OptStr(r.Result.Error)}})
	op.Journal, op.Ends = event(nil, kindOf(status), h.Seq, h.Attempt, h.NodeID, r.Reason), h.Seq
	op.freeGPUs(h)
	return op
}

func archive(h Held, r Requeue, nowMs int64) *Op {
	return &Op{Steps: []Step{{SQL: sqlAttemptArchive, Args: []Value{
		Int(h.Seq), Int(int64(h.Attempt)), Str(h.NodeID), Str(r.Attempt), Int(nowMs),
		optInt32(r.Result.ExitCode), OptStr(r.Result.Error), OptStr(r.Result.LogTail)}}}}
}

// DueOp lets a task that waits for its retry be placed again.
func DueOp(seq int64) *Op {
	return &Op{Steps: []Step{{SQL: sqlTaskDue, Args: []Value{Int(seq)}}}}
}

// QueueTimeoutOp ends a task whose deadline for its first start is at or before a time.
func QueueTimeoutOp(o Overdue, deadlineMs, nowMs int64) *Op {
	why := "QUEUE_TIMEOUT: no node has started it within its queue_timeout of " + o.Timeout.String()
	return &Op{
		Steps:   []Step{{SQL: sqlTaskQueueTimeout, Args: []Value{Int(o.Seq), Int(nowMs), Int(deadlineMs), Str(why)}}},
		Journal: event(nil, 'F', o.Seq, o.Attempt, "", "queue_timeout"),
		Ends:    o.Seq,
	}
}

// CancelWaitingOp ends a task that no node has fetched; h.NodeID is empty if it is
// on none.
func CancelWaitingOp(h Held, nowMs int64) *Op {
	op := &Op{
		Steps:   []Step{{SQL: sqlTaskCancelWaiting, Args: []Value{Str(h.TaskID), Int(nowMs), Int(int64(h.Attempt))}}},
		Journal: event(nil, 'X', h.Seq, h.Attempt, h.NodeID, ""),
		Ends:    h.Seq,
	}
	op.freeGPUs(h)
	return op
}

// CancelRunningOp asks the node of a running task to stop it.
func CancelRunningOp(h Held) *Op {
	return &Op{
		Steps:   []Step{{SQL: sqlTaskCancelRunning, Args: []Value{Str(h.TaskID), Int(int64(h.Attempt))}}},
		Journal: event(nil, 'K', h.Seq, h.Attempt, h.NodeID, "cancel_requested"),
	}
}

// takeGPUs gives devices to a task. That they are free is the scheduler's
// decision; a device that is taken stays with its holder.
func (op *Op) takeGPUs(nodeID string, seq int64, gpus []int32) {
	for _, g := range gpus {
		op.Steps = append(op.Steps, Step{SQL: sqlNodeGPUTake, Args: []Value{Str(nodeID), Int(int64(g)), Int(seq)}})
	}
}

func (op *Op) freeGPUs(h Held) {
	if len(h.GPUs) > 0 {
		op.Steps = append(op.Steps, Step{SQL: sqlNodeGPUsFree, Args: []Value{Str(h.NodeID), Int(h.Seq)}})
	}
}

func optInt32(v *int32) Value {
	if v == nil {
		return Value{}
	}
	return Int(int64(*v))
}
