package db

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/raft-control-plane/control-plane"
)

var (
	sqlProgressPut           = query("progress_put")
	sqlProgressGet           = query("progress_get")
	sqlProgressGetOne        = query("progress_get_one")
	sqlProgressOfIDs         = query("progress_of_ids")
	sqlProgressPresent       = query("progress_present")
	sqlProgressPrune         = query("progress_prune")
	sqlTaskNoProgressTimeout = query("task_no_progress_timeout")
)

// errNoProgressYet refuses a task with a NoProgressTimeout while the state cannot keep
// it: a cluster is upgraded member by member.
var errNoProgressYet = &controlplane.Error{Code: controlplane.CodePrecondition, Field: "task.no_progress_timeout",
	Message: "members of an older release are in the cluster, which do not know it: upgrade them, or leave it out"}

// KeepsProgress reports whether the state can hold progress, as far as it was looked
// at: not before all members know the migration for it. Once it does, it always will.
func (m *TaskManifest) KeepsProgress() bool { return m.keepsProgress.Load() }

// seeProgress is KeepsProgress that looks.
func (m *TaskManifest) seeProgress(c Conn) (bool, error) {
	if m.keepsProgress.Load() {
		return true, nil
	}
	err := each(c, sqlProgressPresent, func(Cursor) { m.keepsProgress.Store(true) })
	return m.keepsProgress.Load(), err
}

// refusesTimeouts returns why these tasks cannot be stored yet, if one has a
// NoProgressTimeout and the state cannot keep it.
func (m *TaskManifest) refusesTimeouts(ctx context.Context, subs []*Submission) error {
	if !slices.ContainsFunc(subs, func(s *Submission) bool { return s.Task.NoProgressTimeout > 0 }) {
		return nil
	}
	known := false
	err := m.readNow(ctx, func(c Conn) (err error) {
		known, err = m.seeProgress(c)
		return err
	})
	if err == nil && !known {
		err = errNoProgressYet
	}
	return err
}

// ProgressOp notes how far an attempt has come.
func ProgressOp(h Held, p controlplane.Progress, nowMs int64) *Op {
	return &Op{Steps: []Step{{SQL: sqlProgressPut, Args: []Value{
		Int(h.Seq), Int(int64(h.Attempt)), Int(p.Done), Int(p.Total), OptStr(p.Message), Int(nowMs)}}}}
}

// AttemptProgress is how far the present or last attempt of a task has come, and what
// is demanded of it.
type AttemptProgress struct {
	Seq      int64
	Attempt  int32
	StartMs  int64         // when it was handed out; 0 if it was not
	Timeout  time.Duration // how long it may go without progress; for ever if 0
	TimeMs   int64         // of Progress
	Progress *controlplane.Progress
}

// Progress returns what is known of the progress of tasks, for those of which anything
// is, in no order.
func (m *TaskManifest) Progress(c Conn, seqs []int64) ([]AttemptProgress, error) {
	if known, err := m.seeProgress(c); !known || len(seqs) == 0 {
		return nil, err
	}
	if len(seqs) == 1 {
		return collect(c, scanProgress, sqlProgressGetOne, Int(seqs[0]))
	}
	return collect(c, scanProgress, sqlProgressGet, seqArray(seqs))
}

// seqArray is a JSON array, as it is written for each read of a task.
func seqArray(seqs []int64) Value {
	b := []byte{'['}
	for i, seq := range seqs {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, seq, 10)
	}
	return Value{Kind: Text, Bytes: append(b, ']')}
}

func scanProgress(r Cursor) (AttemptProgress, error) {
	a := AttemptProgress{Seq: r.Int(0), Attempt: int32(r.Int(1)), StartMs: r.Int(2), Timeout: time.Duration(r.Int(3)) * time.Millisecond}
	if !r.IsNull(4) {
		a.TimeMs = r.Int(4)
		a.Progress = &controlplane.Progress{Done: r.Int(5), Total: r.Int(6), Message: r.Text(7)}
	}
	return a, nil
}

// attachProgress gives tasks that were just read what is known of their progress.
func (m *TaskManifest) attachProgress(c Conn, tasks []*controlplane.Task) error {
	seqs := make([]int64, len(tasks))
	for i, t := range tasks {
		seqs[i] = t.Seq
	}
	all, err := m.Progress(c, seqs)
	if len(all) == 0 { // as for most tasks
		return err
	}
	bySeq := make(map[int64]*controlplane.Task, len(tasks))
	for _, t := range tasks {
		bySeq[t.Seq] = t
	}
	for _, a := range all {
		t := bySeq[a.Seq]
		t.NoProgressTimeout = a.Timeout
		if a.Progress != nil {
			t.Progress, t.ProgressTime = a.Progress, fromMs(a.TimeMs)
		}
	}
	return err
}

// readTasks reads tasks by a query of scanTask's columns, with their progress.
func (m *TaskManifest) readTasks(c Conn, sql string, args ...Value) ([]*controlplane.Task, error) {
	tasks, err := collect(c, scanTask, sql, args...)
	if err != nil || len(tasks) == 0 {
		return nil, err
	}
	return tasks, m.attachProgress(c, tasks)
}

// TaskProgress is how far the present or last attempt of a task has come.
type TaskProgress struct {
	TaskID   string
	Attempt  int32
	Time     time.Time // when that became known
	Progress controlplane.Progress
}

// TaskProgress returns how far tasks have come, those that say so, from this member's
// state.
func (m *TaskManifest) TaskProgress(ctx context.Context, ids []string) (all []TaskProgress, err error) {
	err = m.readNow(ctx, func(c Conn) error {
		known, err := m.seeProgress(c)
		if !known {
			return err
		}
		all, err = collect(c, func(r Cursor) (TaskProgress, error) {
			return TaskProgress{TaskID: r.Text(0), Attempt: int32(r.Int(1)), Time: fromMs(r.Int(2)),
				Progress: controlplane.Progress{Done: r.Int(3), Total: r.Int(4), Message: r.Text(5)}}, nil
		}, sqlProgressOfIDs, jsonValue(ids))
		return err
	})
	return all, err
}
