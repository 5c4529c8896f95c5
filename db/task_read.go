package db

import (
	"context"
	"math"

	"github.com/raft-control-plane/control-plane"
)

// GetTask returns a task with its result and log tail. CodeNotFound if there is
// none.
func (m *TaskManifest) GetTask(ctx context.Context, id string, opts ...ReadOptions) (t *controlplane.Task, err error) {
	o := ReadOptions{}
	if len(opts) > 0 {
		o = opts[0]
	}
	o.Short = true
	_, err = m.engine.Read(ctx, o, func(c Conn) (err error) {
		t, err = m.byID(c, id)
		return err
	})
	if err == nil && t == nil {
		err = TaskNotFound(id)
	}
	return t, err
}

// GetTasks returns tasks with their results and log tails, all of one applied index, in the
// order of their ids; nil for one that there is not. It reads on until what it has read takes
// maxBytes, at least one task: the rest of the ids, with that of the first task that took more, is left out.
func (m *TaskManifest) GetTasks(ctx context.Context, ids []string, maxBytes int, opts ReadOptions) (tasks []*controlplane.Task, err error) {
	opts.Short = len(ids) <= maxShort
	_, err = m.engine.Read(ctx, opts, func(c Conn) error {
		tasks = make([]*controlplane.Task, 0, len(ids))
		size := 0
		for _, id := range ids {
			t, err := m.byID(c, id)
			if err != nil {
				return err
			}
			more := wholeWeight(t)
			if more > 0 && size > 0 && size+more > maxBytes {
				return nil
			}
			size += more
			tasks = append(tasks, t)
		}
		return nil
	})
	return tasks, err
}

// wholeWeight is about how many bytes a task takes in an answer, with its result and log tail.
func wholeWeight(t *controlplane.Task) int {
	if t == nil {
		return 0
	}
	return weight(t) + len(t.Result) + len(t.LogTail) + len(t.Error)
}

// TaskNotFound is the error of a read of a task that there is not.
func TaskNotFound(id string) *controlplane.Error {
	return &controlplane.Error{Code: controlplane.CodeNotFound, Field: "id",
		Message: "there is no task " + id + ": check the id, or list the tasks"}
}

// byID reads a task, nil if there is none.
func (m *TaskManifest) byID(c Conn, id string) (*controlplane.Task, error) {
	if known, err := m.seeProgress(c); !known {
		if err != nil {
			return nil, err
		}
		return m.one(c, sqlTaskGetBefore, id)
	}
	return first(c, scanTaskWhole, sqlTaskGet, Str(id))
}

func (m *TaskManifest) one(c Conn, sql, key string) (*controlplane.Task, error) {
	all, err := m.readTasks(c, sql, Str(key))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// ListTasks returns at most limit tasks that match, newest first, without payload
// and outputs, beginning below the key beforeSeq (0: from the newest).
func (m *TaskManifest) ListTasks(ctx context.Context, f controlplane.TaskFilter, beforeSeq int64, limit int, opts ...ReadOptions) (tasks []*controlplane.Task, err error) {
	if beforeSeq == 0 {
		beforeSeq = math.MaxInt64
	}
	statuses := Value{}
	sql := sqlTaskList
	if len(f.Statuses) > 0 {
		statuses = jsonValue(f.Statuses)
		if onNodeOnly(f.Statuses) {
			sql = sqlTaskListOnNode
		}
	}
	err = m.read(ctx, opts, func(c Conn) (err error) {
		tasks, err = m.readTasks(c, sql, statuses, OptStr(f.Queue), OptStr(f.NodeID), OptStr(f.Name), jsonMap(f.Labels), Int(beforeSeq), Int(int64(limit)))
		return err
	})
	return tasks, err
}

func onNodeOnly(statuses []controlplane.TaskStatus) bool {
	for _, s := range statuses {
		if !s.OnNode() {
			return false
		}
	}
	return true
}

// TasksAhead returns how many pending tasks of the queue of a pending task come before
// it: by priority and then age, where with ageing each such interval that one has waited
// longer makes up for one priority.
func (m *TaskManifest) TasksAhead(ctx context.Context, t *controlplane.Task) (ahead int, err error) {
	err = m.readNow(ctx, func(c Conn) error {
		interval := int64(0)
		if err := each(c, sqlQueueAgeing, func(r Cursor) { interval = r.Int(0) }, Str(t.Queue)); err != nil {
			return err
		}
		count := func(r Cursor) { ahead = int(r.Int(0)) }
		place := []Value{Str(t.Queue), Int(int64(t.Priority)), Int(t.Seq)}
		if interval > 0 {
			return each(c, sqlTaskAheadAgeing, count, append(place, Int(interval), Int(t.CreateTime.UnixMilli()))...)
		}
		return each(c, sqlTaskAhead, count, place...)
	})
	return ahead, err
}

// maxShort is how many tasks a short read reads at most.
const maxShort = 32

// TasksForWork returns the tasks of the given keys with what they do, in that
// order, from this member's state.
func (m *TaskManifest) TasksForWork(ctx context.Context, seqs []int64) (tasks []*controlplane.Task, err error) {
	read := m.readShort
	if len(seqs) > maxShort {
		read = m.readNow
	}
	err = read(ctx, func(c Conn) (err error) {
		tasks, err = m.readTasks(c, sqlTaskGetForWork, seqArray(seqs))
		return err
	})
	return tasks, err
}
