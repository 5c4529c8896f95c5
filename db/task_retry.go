package db

import (
	"context"

	"github.com/raft-control-plane/control-plane"
)

// Requeuer is a Planner that is told of tasks which go back to their queue past it,
// while the group that puts them there is prepared.
type Requeuer interface {
	Requeued(t *controlplane.Task)
}

// RetryTask puts a task that has failed or was cancelled back to its queue, and returns
// it. Its attempts so far are kept and counted; if it has used up those that it may
// fail or lose, it may do so once more. A task that has not ended is returned as it
// is, so that a repeat is no error. CodeNotFound if there is none, CodePrecondition if
// it is completed.
func (m *TaskManifest) RetryTask(ctx context.Context, id string) (*controlplane.Task, error) {
	t, err := m.GetTask(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case t.Status == controlplane.TaskCompleted:
		return nil, controlplane.Errorf(controlplane.CodePrecondition, "task %s is completed, which is final: submit another one to do it again", id)
	case !t.Status.Final():
		return t, nil
	}
	number, archived, err := m.retryFacts(ctx, t)
	if err != nil {
		return nil, err
	}
	err = m.do(ctx, 1, 0, func(g *Group) {
		if r, ok := m.batch.planner.(Requeuer); ok {
			r.Requeued(t)
		}
		g.Add(m.retryOp(t, number, archived, g.Now), nil) // 0 rows: another call has done so meanwhile
	})
	if err != nil {
		return nil, err
	}
	return m.GetTask(ctx, id, ReadOptions{Level: Stale}) // this member leads and has applied it
}

func (m *TaskManifest) retryFacts(ctx context.Context, t *controlplane.Task) (number int64, archived bool, err error) {
	err = m.readNow(ctx, func(c Conn) error {
		return each(c, sqlTaskRetryFacts, func(r Cursor) {
			number, archived = r.Int(0), r.Int(1) != 0 || t.Attempt == 0
		}, Int(t.Seq), Int(int64(t.Attempt)), Int(t.EndTime.UnixMilli()))
	})
	return number, archived, err
}

// retryOp is guarded by the attempt and a status that is final: what was read of the
// task holds if the guard does.
func (m *TaskManifest) retryOp(t *controlplane.Task, number int64, archived bool, nowMs int64) *Op {
	op := &Op{Journal: event(nil, 'Q', t.Seq, t.Attempt, t.NodeID, "retry_requested")}
	key := []Value{Int(t.Seq), Int(int64(t.Attempt))}
	if !archived {
		op.Steps = append(op.Steps, Step{SQL: sqlAttemptArchiveEnded, Args: key})
	}
	op.Steps = append(op.Steps,
		Step{SQL: sqlTaskRetry, Args: append(key, Int(nowMs))},
		Step{SQL: sqlTaskOutputDelete, Args: key[:1]},
		Step{SQL: m.ends(sqlTaskEndDelete), Args: []Value{Int(number), Int(t.Seq)}})
	return op
}
