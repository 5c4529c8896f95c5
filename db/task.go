package db

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/raft-control-plane/control-plane"
)

// AddOutcome is the stored task or why it was not stored.
type AddOutcome struct {
	Task *controlplane.Task
	Err  error
}

// AddTask stores a task durably and returns it as stored, with its id (a UUIDv7
// if it has none) and, if a node was waiting for it, its first attempt.
//
// It is idempotent by ID and by RequestID: a repeat of the same submission
// returns the task as it is by then. An id or key that belongs to another task,
// or to one that was submitted with other content, gives CodeExists.
//
// What the task refers to, such as its payload, must not be changed any more: it is kept in
// memory until the task is handed out.
func (m *TaskManifest) AddTask(ctx context.Context, task *controlplane.Task) (*controlplane.Task, error) {
	outcomes, err := m.AddTasks(ctx, []*controlplane.Task{task})
	if err != nil {
		return nil, err
	}
	return outcomes[0].Task, outcomes[0].Err
}

// AddTasks stores tasks, each on its own: one that cannot be stored leaves its
// neighbours alone. The outcomes are in the order of the tasks.
func (m *TaskManifest) AddTasks(ctx context.Context, tasks []*controlplane.Task) ([]AddOutcome, error) {
	return m.AddEach(ctx, len(tasks), slices.Values(tasks))
}

// AddEach is AddTasks for n tasks that are made one by one: each is copied before the next
// is asked for, so all can be made in the same memory.
func (m *TaskManifest) AddEach(ctx context.Context, n int, tasks iter.Seq[*controlplane.Task]) ([]AddOutcome, error) {
	if err := m.batch.refusesNewWork(0); err != nil { // before anything is made of them
		return nil, err
	}
	subs, err := newSubmissions(n, tasks)
	if err != nil {
		return nil, err
	}
	if why := cmp.Or(m.refusesWork(), m.refusesTimeouts(ctx, subs)); why != nil {
		return m.repeats(ctx, subs, why)
	}
	var parts []*simple
	for left := subs; len(left) > 0; {
		n, size := together(left)
		part := left[:n]
		parts = append(parts, newSimple(n, size, func(g *Group) { m.enter(g, part) }))
		left = left[n:]
	}
	if err := m.doNew(ctx, parts); err != nil {
		return nil, err
	}
	return m.outcomes(ctx, subs), nil
}

// RefusesNewWork is the error that AddTasks returns at present for tasks of so many bytes because too much
// waits to be written at this member; nil if they fit, or if this member does not lead.
func (m *TaskManifest) RefusesNewWork(size int) error { return m.batch.refusesNewWork(size) }

// together is how many of the first submissions stay together, and their bytes.
func together(subs []*Submission) (n, size int) {
	for ; n < min(len(subs), newWorkOps); n++ {
		more := subs[n].Bytes()
		if n > 0 && size+more > newWorkBytes {
			break
		}
		size += more
	}
	return n, size
}

// enter makes submissions part of an entry.
func (m *TaskManifest) enter(g *Group, subs []*Submission) {
	for _, s := range subs {
		s.Task.Seq = m.nextSeq
		m.nextSeq++
		s.class = m.classes.intern(s.classKey, ClassOf(s.Task), s.Task.Seq)
		s.begin(g.Now)
		s.Task.ClassID = s.class.id
		if m.schema.Load() < tracedSchema {
			s.Task.Trace = controlplane.TraceContext{}
		}
		g.Submissions = append(g.Submissions, s)
	}
}

func (m *TaskManifest) outcomes(ctx context.Context, subs []*Submission) []AddOutcome {
	out := make([]AddOutcome, len(subs))
	for i, s := range subs {
		switch {
		case s.err != nil:
			out[i].Err = s.err
		case s.Stored:
			out[i].Task = s.Task
		default:
			out[i].Task, out[i].Err = m.repeated(ctx, s)
		}
	}
	return out
}

// normalize makes s a copy of a task without output fields, and fills in defaults.
func normalize(s, t *controlplane.Task) error {
	if (t.Exec == nil) == (t.Function == nil) {
		return controlplane.FieldErrorf("task.work", "needs exactly one of exec and function")
	}
	if t.Exec != nil && len(t.Exec.Command) == 0 {
		return controlplane.FieldErrorf("task.exec.command", "is empty: give a program and its arguments")
	}
	if t.Function != nil && t.Function.Name == "" {
		return controlplane.FieldErrorf("task.function.name", "is empty: give the name that a worker has registered")
	}
	*s = controlplane.Task{
		ID: t.ID, RequestID: t.RequestID, Name: t.Name, Queue: t.Queue, Priority: t.Priority, Labels: t.Labels,
		Exec: t.Exec, Function: t.Function, Resources: t.Resources,
		Constraints:       t.Constraints.Sorted(),
		Timeout:           wholeMs(t.Timeout), // as it is stored
		NoProgressTimeout: wholeMs(t.NoProgressTimeout),
		MaxAttempts:       t.MaxAttempts, MaxLostAttempts: t.MaxLostAttempts, Status: controlplane.TaskPending,
		StartDelay: wholeMs(t.StartDelay), QueueTimeout: wholeMs(t.QueueTimeout), Retry: normalizeRetry(t.Retry),
		ConcurrencyKey: t.ConcurrencyKey, MaxConcurrency: t.MaxConcurrency, Trace: t.Trace,
	}
	leaveOutEmpty(s)
	if !t.EarliestStart.IsZero() {
		s.EarliestStart = fromMs(t.EarliestStart.UnixMilli())
	}
	if s.ConcurrencyKey != "" && s.MaxConcurrency == 0 {
		s.MaxConcurrency = 1
	}
	if s.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		s.ID = id.String()
	}
	if s.Queue == "" {
		s.Queue = controlplane.DefaultQueue
	}
	if s.MaxAttempts == 0 {
		s.MaxAttempts = controlplane.DefaultMaxAttempts
	}
	if s.MaxLostAttempts == 0 {
		s.MaxLostAttempts = controlplane.DefaultMaxLostAttempts
	}
	return nil
}

// leaveOutEmpty makes a task what is read back of it: nothing is stored for what is empty.
func leaveOutEmpty(t *controlplane.Task) {
	if len(t.Labels) == 0 {
		t.Labels = nil
	}
	if len(t.Resources.Custom) == 0 {
		t.Resources.Custom = nil
	}
	if t.Exec != nil && len(t.Exec.Env) == 0 && t.Exec.Env != nil {
		t.Exec = &controlplane.Exec{Command: t.Exec.Command, WorkingDir: t.Exec.WorkingDir}
	}
	if t.Trace.Parent == "" {
		t.Trace = controlplane.TraceContext{}
	}
}

// wholeMs rounds up to what is stored.
func wholeMs(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// CancelTask ends a task that is not running at once, asks the node of a running
// one to stop it, and leaves a final one as it is. It returns the task after that.
func (m *TaskManifest) CancelTask(ctx context.Context, id string) (*controlplane.Task, error) {
	t, err := m.GetTask(ctx, id)
	for err == nil && !t.Status.Final() && !t.CancelRequested {
		var planned bool
		if planned, err = m.cancel(ctx, t); err != nil {
			return nil, err
		}
		t, err = m.GetTask(ctx, id, ReadOptions{Level: Stale}) // this member leads and has applied it
		if planned {
			break
		}
		// Else it went on to another attempt since it was read, if it is not cancelled.
	}
	return t, err
}

// cancel cancels a task at the attempt at which it was read, or lets the planner
// do so.
func (m *TaskManifest) cancel(ctx context.Context, t *controlplane.Task) (planned bool, err error) {
	err = m.do(ctx, 2, 0, func(g *Group) { planned = m.cancelIn(g, t) })
	if err != nil {
		return false, err // planned may be written yet
	}
	return planned, nil
}

func (m *TaskManifest) cancelIn(g *Group, t *controlplane.Task) (planned bool) {
	if c, ok := m.batch.planner.(Canceller); ok && c.Cancel(g, t) {
		return true
	}
	h := Held{Seq: t.Seq, TaskID: t.ID, Attempt: t.Attempt}
	if t.Status.OnNode() {
		h.NodeID, h.GPUs = t.NodeID, t.GPUDevices
	}
	g.Add(CancelWaitingOp(h, g.Now), nil)
	g.Add(CancelRunningOp(h), nil)
	return false
}

// Canceller is a Planner that cancels what it knows of by itself. Cancel reports
// whether it did. The task is as it was read, which may be a while ago.
type Canceller interface {
	Cancel(g *Group, t *controlplane.Task) bool
}

// AssignTask gives a pending task to a healthy node that has room for it, as
// ASSIGNED; the node fetches it with its next poll. CodeNotFound if there is no
// such task or node, CodePrecondition if the task is not pending, the node cannot take
// it, or its queue or concurrency key is at a limit. GPU tasks are placed by the scheduler only.
func (m *TaskManifest) AssignTask(ctx context.Context, taskID, nodeID string) error {
	t, err := m.GetTask(ctx, taskID)
	if err != nil {
		return err
	}
	if _, err := m.GetNode(ctx, nodeID); err != nil {
		return err
	}
	limits, err := m.knowsQueueLimits(ctx)
	if err != nil {
		return err
	}
	err = m.past(ctx, func(g *Group) *Op {
		return &Op{
			Steps:   []Step{{SQL: sqlTaskAssignByID.of(limits), Args: []Value{Str(taskID), Str(nodeID), Int(g.Now), Int(int64(t.Attempt))}}},
			Journal: event(nil, 'A', t.Seq, t.Attempt+1, nodeID, ""),
		}
	})
	if controlplane.CodeOf(err) == controlplane.CodePrecondition {
		return controlplane.Errorf(controlplane.CodePrecondition,
			"task %s is not pending, or its queue or concurrency key does not allow it, or node %s is not healthy and schedulable with room for it and its kind of work", taskID, nodeID)
	}
	return err
}

// CompleteTask records the result of a task that is on a node, at whatever
// attempt it is. Workers report with their attempt instead, which fences off the
// late ones. CodePrecondition if the task is on no node.
func (m *TaskManifest) CompleteTask(ctx context.Context, taskID string, result []byte) error {
	if len(result) > controlplane.MaxPayloadBytes {
		return controlplane.FieldErrorf("result", "has %d bytes, at most %d are kept: store it elsewhere and return its address", len(result), controlplane.MaxPayloadBytes)
	}
	for {
		t, err := m.GetTask(ctx, taskID)
		if err != nil {
			return err
		}
		if !t.Status.OnNode() {
			return controlplane.Errorf(controlplane.CodePrecondition, "task %s is %s, not on a node: assign it first", taskID, t.Status)
		}
		err = m.past(ctx, func(g *Group) *Op { return completeOp(t, result, g.Now) })
		if controlplane.CodeOf(err) != controlplane.CodePrecondition {
			return err
		}
		// It went on to another attempt, or to its end, since it was read.
	}
}

func completeOp(t *controlplane.Task, result []byte, nowMs int64) *Op {
	op := &Op{Journal: event(nil, 'C', t.Seq, t.Attempt, t.NodeID, ""), Ends: t.Seq}
	op.Steps = append(op.Steps,
		Step{SQL: sqlTaskCompleteByID, Args: []Value{Str(t.ID), Int(nowMs), Int(int64(t.Attempt))}},
		Step{SQL: sqlTaskOutputPutByID, Args: []Value{Str(t.ID), Bytes(result)}})
	op.freeGPUs(Held{Seq: t.Seq, NodeID: t.NodeID, GPUs: t.GPUDevices})
	return op
}

// past commits one operation past the planner. CodePrecondition if its guard did
// not hold.
func (m *TaskManifest) past(ctx context.Context, op func(g *Group) *Op) error {
	return m.pastPlanner(ctx, op, Planner.Disturbed)
}

// pastPlanner is past for a planner that is told in another way.
func (m *TaskManifest) pastPlanner(ctx context.Context, op func(g *Group) *Op, tell func(Planner)) error {
	var outcome OpResult
	err := m.Do(ctx, 0, func(g *Group) {
		g.Add(op(g), func(r OpResult) {
			outcome = r
			if p := m.batch.planner; p != nil {
				tell(p)
			}
		})
	})
	switch {
	case err != nil:
		return err
	case outcome.Err != nil:
		return outcome.Err
	case outcome.Changed == 0:
		return controlplane.Errorf(controlplane.CodePrecondition, "the state does not allow it")
	}
	return nil
}
