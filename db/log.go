package db

import (
	"context"

	"github.com/raft-control-plane/control-plane"
)

// logStartsVersion is the migration from which on it is stored where a kept log begins.
const logStartsVersion = 5

// AttemptLog is an attempt, for who reads its log.
type AttemptLog struct {
	TaskStatus controlplane.TaskStatus
	// TaskAttempt is the number of the task's present or last attempt, 0 before the first.
	TaskAttempt int32
	// Attempt is that of this one. Status is "" if it has not begun.
	Attempt int32
	Status  string
	NodeID  string
	// Tail is the end of what it printed and Offset where that begins, once it has ended.
	Tail   string
	Offset int64
}

// Ended reports whether the attempt is over.
func (a *AttemptLog) Ended() bool {
	return a.Status != "" && !controlplane.TaskStatus(a.Status).OnNode()
}

// AttemptLog reads an attempt of a task, the present or last one if attempt is 0, from
// this member's state. CodeNotFound if there is no such task.
func (m *TaskManifest) AttemptLog(ctx context.Context, taskID string, attempt int32) (*AttemptLog, error) {
	var a *AttemptLog
	err := m.readNow(ctx, func(c Conn) error {
		var seq int64
		err := each(c, sqlAttemptLog, func(r Cursor) {
			seq = r.Int(0)
			a = &AttemptLog{TaskStatus: controlplane.TaskStatus(r.Text(1)), TaskAttempt: int32(r.Int(2)), Attempt: int32(r.Int(3)),
				Status: r.Text(4), NodeID: r.Text(5), Tail: r.Text(6)}
		}, Str(taskID), Int(int64(attempt)))
		if err != nil || a == nil || a.Tail == "" || !m.keepsLogStarts() {
			return err
		}
		return each(c, sqlLogStartGet, func(r Cursor) { a.Offset = r.Int(0) }, Int(seq), Int(int64(a.Attempt)))
	})
	if err == nil && a == nil {
		err = &controlplane.Error{Code: controlplane.CodeNotFound, Field: "task_id",
			Message: "there is no task " + taskID + ": check the id, or list the tasks"}
	}
	return a, err
}

// keepsLogStarts reports whether the state has the table of logStartsVersion. It is known
// on a member that leads or has led.
func (m *TaskManifest) keepsLogStarts() bool { return m.schema.Load() >= logStartsVersion }

// KeepLog takes from a result what this state's schema has no place for.
func (m *TaskManifest) KeepLog(r *controlplane.Result) {
	if !m.keepsLogStarts() {
		r.LogOffset = 0
	}
}

// keepLogStart notes where a kept log begins, if that is not its beginning.
func (op *Op) keepLogStart(h Held, r *controlplane.Result) {
	if r.LogOffset > 0 && r.LogTail != "" {
		op.Steps = append(op.Steps, Step{SQL: sqlLogStartPut, Args: []Value{Int(h.Seq), Int(int64(h.Attempt)), Int(r.LogOffset)}})
	}
}
