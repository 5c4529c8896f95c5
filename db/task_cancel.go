package db

import (
	"context"
	"slices"

	"github.com/raft-control-plane/control-plane"
)

// cancelAtOnce is how many tasks one entry cancels.
const cancelAtOnce = 256

// CancelCounts says what a cancellation of many tasks has done.
type CancelCounts struct {
	// Cancelled have ended, Stopping are to be stopped by their nodes.
	Cancelled, Stopping int
	// Next is the key below which to go on, 0 at the end.
	Next int64
}

// CancelTasks cancels at most limit tasks that match and have not ended, newest first,
// beginning below the key beforeSeq (0: from the newest). It goes step by step: others
// write in between. After an error what was counted is cancelled.
func (m *TaskManifest) CancelTasks(ctx context.Context, f controlplane.TaskFilter, beforeSeq int64, limit int) (counts CancelCounts, err error) {
	if f.Statuses = liveStatuses(f.Statuses); len(f.Statuses) == 0 {
		return counts, nil
	}
	for left := limit; ; {
		tasks, err := m.ListTasks(ctx, f, beforeSeq, min(left, cancelAtOnce)+1)
		if err != nil {
			return counts, err
		}
		more := len(tasks) > min(left, cancelAtOnce)
		if more {
			tasks = tasks[:len(tasks)-1]
		}
		if err := m.cancelStep(ctx, tasks, &counts); err != nil {
			return counts, err
		}
		left -= len(tasks)
		if !more {
			return counts, nil
		}
		if beforeSeq = tasks[len(tasks)-1].Seq; left == 0 {
			counts.Next = beforeSeq
			return counts, nil
		}
	}
}

// liveStatuses are those of the given statuses, or of all if none are given, in which a
// task can be cancelled.
func liveStatuses(given []controlplane.TaskStatus) (live []controlplane.TaskStatus) {
	for _, s := range []controlplane.TaskStatus{controlplane.TaskPending, controlplane.TaskAssigned, controlplane.TaskRunning} {
		if len(given) == 0 || slices.Contains(given, s) {
			live = append(live, s)
		}
	}
	return live
}

func (m *TaskManifest) cancelStep(ctx context.Context, tasks []*controlplane.Task, counts *CancelCounts) error {
	tasks = slices.DeleteFunc(slices.Clone(tasks), func(t *controlplane.Task) bool {
		if t.CancelRequested {
			counts.Stopping++
		}
		return t.CancelRequested
	})
	if len(tasks) == 0 {
		return nil
	}
	err := m.do(ctx, 2*len(tasks), 0, func(g *Group) {
		for _, t := range tasks {
			m.cancelIn(g, t)
		}
	})
	if err != nil {
		return err
	}
	return m.countCancelled(ctx, tasks, counts)
}

// countCancelled counts what became of tasks that were to be cancelled. One that went
// on to another attempt meanwhile is cancelled by itself.
func (m *TaskManifest) countCancelled(ctx context.Context, tasks []*controlplane.Task, counts *CancelCounts) error {
	seqs := make([]int64, len(tasks))
	for i, t := range tasks {
		seqs[i] = t.Seq
	}
	var missed []string
	err := m.readNow(ctx, func(c Conn) error {
		return each(c, sqlTaskCancelled, func(r Cursor) {
			switch status := controlplane.TaskStatus(r.Text(1)); {
			case status == controlplane.TaskCancelled:
				counts.Cancelled++
			case status.Final():
			case r.Int(2) != 0:
				counts.Stopping++
			default:
				missed = append(missed, r.Text(0))
			}
		}, jsonValue(seqs))
	})
	for _, id := range missed {
		if err != nil {
			return err
		}
		var t *controlplane.Task
		if t, err = m.CancelTask(ctx, id); err == nil && t.Status == controlplane.TaskCancelled {
			counts.Cancelled++
		} else if err == nil && t.CancelRequested {
			counts.Stopping++
		}
	}
	return err
}
