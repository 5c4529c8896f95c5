package scheduler

import (
	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

const (
	// workBytes bounds what is kept of tasks that wait.
	workBytes = 16 << 20
	// taskBytes is about what a task takes beside its texts and its payload.
	taskBytes = 1 << 10
)

// works is what tasks do that wait for their first start, as the state says it, so that
// they need not be read when they are handed out: reading one costs a twelfth of all that
// its life does. Kept are those that this leader has stored and that have their turn
// soon. Nothing changes such a task but its placement, its delivery, and what ends it:
// those change the copy with it, or forget it. So does whatever goes past the
// scheduler. All others are read: after a retry, after a change of the leader, and
// those that have many before them.
type works struct {
	bySeq map[int64]work
	// order are the keys as they came, also some that are no longer kept.
	order []int64
	bytes int
}

type work struct {
	task  *controlplane.Task // nobody else has it
	bytes int
}

func newWorks() works { return works{bySeq: map[int64]work{}} }

// keep takes in a task that is stored, and forgets the oldest if there are too many.
func (w *works) keep(sub *db.Submission) {
	bytes := taskBytes + sub.Bytes()
	for w.bytes+bytes > workBytes && len(w.order) > 0 {
		w.forget(w.order[0])
		w.order = w.order[1:]
	}
	w.bySeq[sub.Task.Seq] = work{task: sub.Kept(), bytes: bytes}
	w.order = append(w.order, sub.Task.Seq)
	w.bytes += bytes
	w.tidy()
}

// tidy shortens order: most tasks leave in the order in which they came, and the rest
// must not make it grow for ever.
func (w *works) tidy() {
	for len(w.order) > 0 && !w.has(w.order[0]) {
		w.order = w.order[1:]
	}
	if len(w.order) < 2*len(w.bySeq)+1024 {
		return
	}
	kept := make([]int64, 0, len(w.bySeq))
	for _, seq := range w.order {
		if w.has(seq) {
			kept = append(kept, seq)
		}
	}
	w.order = kept
}

func (w *works) has(seq int64) bool {
	_, ok := w.bySeq[seq]
	return ok
}

// get returns the task at an attempt, nil if it is not kept.
func (w *works) get(seq int64, attempt int32) *controlplane.Task {
	if t := w.bySeq[seq].task; t != nil && t.Attempt == attempt {
		return t
	}
	return nil
}

func (w *works) forget(seq int64) {
	w.bytes -= w.bySeq[seq].bytes
	delete(w.bySeq, seq)
}

// assigned has the copy of a task follow its assignment.
func (w *works) assigned(a *attempt, nowMs int64) {
	t := w.get(a.Seq, a.Attempt-1)
	if t == nil {
		return
	}
	t.Status, t.NodeID, t.Attempt, t.GPUDevices = controlplane.TaskAssigned, a.NodeID, a.Attempt, a.GPUs
	t.AssignTime = db.Time(nowMs)
}

// handOut returns the copy of an assigned task as it is when its node gets it, nil if
// there is none. It is kept no longer.
func (w *works) handOut(a *attempt, nowMs int64) *controlplane.Task {
	t := w.get(a.Seq, a.Attempt)
	if t == nil {
		return nil
	}
	t.Status, t.StartTime, t.CancelRequested = controlplane.TaskRunning, db.Time(nowMs), a.CancelRequested
	w.forget(a.Seq)
	return t
}
