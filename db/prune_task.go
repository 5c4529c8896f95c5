package db

import (
	"context"
	"time"
)

const (
	// pruneTasks and pruneTaskBytes bound what one operation deletes, up to the tasks that ended
	// together with the last: others wait for its entry, and SQLite reads what it frees.
	pruneTasks     = 100
	pruneTaskBytes = 4 << 20
)

// endGroupsVersion is the migration from which on the ends of an entry's tasks share a row,
// which the entry writes; before, a trigger writes one for each.
const endGroupsVersion = 6

// endsBefore are statements on ends as they were before that.
var endsBefore = map[string]string{
	sqlTaskEndPrune:  "DELETE FROM task_ends WHERE number <= ?1",
	sqlTaskEndDelete: "DELETE FROM task_ends WHERE number = ?1 AND seq = ?2",
}

// groupsEnds reports whether the state has the table of endGroupsVersion. It is known on a
// member that leads or has led.
func (m *TaskManifest) groupsEnds() bool { return m.schema.Load() >= endGroupsVersion }

// ends returns the form of a statement that the state's schema knows.
func (m *TaskManifest) ends(sql string) string {
	if m.groupsEnds() {
		return sql
	}
	return endsBefore[sql]
}

// TaskRetention says which tasks are kept once they have ended; those beyond either
// bound are deleted with all that they left. No bound if 0.
type TaskRetention struct {
	// Tasks keeps this many of those that ended last, and up to 31 that ended together with the
	// first of them.
	Tasks int64
	// Age keeps those that ended not longer ago.
	Age time.Duration
}

// DefaultTaskRetention is what is kept if nothing else is set.
var DefaultTaskRetention = TaskRetention{Tasks: 10_000_000, Age: 7 * 24 * time.Hour}

// SetTaskRetention replaces DefaultTaskRetention. Call it before Run.
func (m *TaskManifest) SetTaskRetention(r TaskRetention) { m.keepTasks = r }

// PruneTasks deletes the tasks that are no longer kept, the first that ended first,
// and returns how many. The leader does so by itself. Each step goes through the log
// in an entry that others share.
//
// A deleted task is not found, and its id and request_id may be used anew. Changes
// that are kept still tell its id and queue.
func (m *TaskManifest) PruneTasks(ctx context.Context, keep TaskRetention) (pruned int64, err error) {
	// Tasks whose number is at most the first or that ended before the second are not kept.
	var number, timeMs int64
	if keep.Age > 0 {
		timeMs = time.Now().Add(-keep.Age).UnixMilli()
	}
	if keep.Tasks > 0 {
		if number, err = m.lastEnd(ctx); err != nil {
			return 0, err
		}
		number -= keep.Tasks
	}
	for more := true; more; {
		var upTo, tasks int64
		upTo, tasks, more, err = m.prunableTasks(ctx, number, timeMs)
		if err != nil {
			return pruned, err
		}
		if tasks == 0 {
			break
		}
		if err := m.Do(ctx, 0, func(g *Group) { g.Add(m.pruneTasksOp(upTo), nil) }); err != nil {
			return pruned, err
		}
		pruned += tasks
	}
	return pruned, m.forgetPruned(ctx) // also if none was: it is changes that were
}

func (m *TaskManifest) lastEnd(ctx context.Context) (number int64, err error) {
	err = m.readNow(ctx, func(c Conn) error {
		return each(c, sqlTaskLastEnd, func(r Cursor) { number = r.Int(0) })
	})
	return number, err
}

// prunableTasks returns the end of the next step, how many tasks it deletes, and
// whether another may follow.
func (m *TaskManifest) prunableTasks(ctx context.Context, number, timeMs int64) (upTo, tasks int64, more bool, err error) {
	var size int64
	ended := false
	err = m.readNow(ctx, func(c Conn) error {
		return each(c, sqlTaskPrunable, func(r Cursor) {
			count, bytes, prunable := r.Int(1), r.Int(2), r.Int(3) != 0
			full := tasks > 0 && size+bytes > pruneTaskBytes
			more, ended = more || !ended && prunable && full, ended || !prunable || full
			if !ended {
				upTo, tasks, size = r.Int(0), tasks+count, size+bytes
			}
		}, Int(number), Int(timeMs), Int(pruneTasks))
	})
	return upTo, tasks, more || tasks >= pruneTasks, err
}

// pruneTasksOp deletes the tasks that ended with a number of at most upTo.
func (m *TaskManifest) pruneTasksOp(upTo int64) *Op {
	op := &Op{Savepoint: true}
	steps := []string{sqlTaskFloorRaise, sqlPrunedTaskInsert, sqlTaskPrune, sqlTaskInputPrune, sqlTaskOutputPrune, sqlPastAttemptPrune}
	if m.KeepsProgress() {
		steps = append(steps, sqlProgressPrune)
	}
	if m.keepsLogStarts() {
		steps = append(steps, sqlLogStartPrune)
	}
	for _, sql := range append(steps, m.ends(sqlTaskEndPrune)) { // which the others go by: last
		op.Steps = append(op.Steps, Step{SQL: sql, Args: []Value{Int(upTo)}})
	}
	return op
}

// forgetPruned deletes the names of deleted tasks of which no change tells any more.
func (m *TaskManifest) forgetPruned(ctx context.Context) error {
	limit := []Value{Int(pruneStep)}
	for rows := int64(pruneStep); rows == pruneStep; {
		err := m.readNow(ctx, func(c Conn) error {
			return each(c, sqlPrunedTaskPrunable, func(r Cursor) { rows = r.Int(0) }, limit...)
		})
		if err != nil || rows == 0 {
			return err
		}
		err = m.Do(ctx, 0, func(g *Group) { g.Add(&Op{Steps: []Step{{SQL: sqlPrunedTaskPrune, Args: limit}}}, nil) })
		if err != nil {
			return err
		}
	}
	return nil
}
