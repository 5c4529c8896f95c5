package db

import (
	"encoding/json"
	"iter"
	"strconv"

	"github.com/raft-control-plane/control-plane"
)

// Submission is a task that enters with a group. The planner may place it: then
// it is stored on its node at once, with its first attempt.
type Submission struct {
	Task *controlplane.Task
	// Stored is whether it took effect; false if its id or request_id was taken.
	Stored bool
	// Done, set by the planner, is called with Stored.
	Done func(stored bool)

	task     controlplane.Task // Task is this one
	named    bool              // its id was given
	labels   Value
	policy   string // of retries, as it is stored
	exec     Value
	classKey classKey
	class    *interned
	session  string
	err      error
}

// newSubmissions copies n tasks, and encodes what has to be: later the caller's goroutine may
// be gone, and the one that makes entries has enough to do. All are in one piece of memory.
func newSubmissions(n int, tasks iter.Seq[*controlplane.Task]) ([]*Submission, error) {
	all, subs := make([]Submission, n), make([]*Submission, 0, n)
	for t := range tasks {
		s := &all[len(subs)]
		if err := normalize(&s.task, t); err != nil {
			return nil, err
		}
		s.Task, s.named = &s.task, t.ID != ""
		s.labels, s.policy, s.classKey = jsonMap(t.Labels), encodeRetryPolicy(s.task.Retry), ClassOf(s.Task).key()
		if t.Exec != nil {
			s.exec = jsonValue(s.task.Exec)
		}
		subs = append(subs, s)
	}
	return subs, nil
}

// begin binds what counts from the submission.
func (s *Submission) begin(nowMs int64) {
	t := s.Task
	if t.StartDelay > 0 {
		t.EarliestStart = fromMs(nowMs + t.StartDelay.Milliseconds())
	}
	if !t.EarliestStart.IsZero() && t.EarliestStart.UnixMilli() > nowMs {
		t.RetryTime = t.EarliestStart
	}
}

// Kept returns a copy of the task, once it is stored, as TasksForWork would read it; not of
// one with a StartDelay. What its fields refer to is shared with whoever has submitted it,
// and not changed by anybody.
func (s *Submission) Kept() *controlplane.Task {
	t := *s.Task
	return &t
}

// Bytes is about how many bytes the task brings with it.
func (s *Submission) Bytes() int { return weight(s.Task) }

// DeadlineMs is until when the task may wait for its first start, 0 for ever.
func (s *Submission) DeadlineMs(nowMs int64) int64 {
	if s.Task.QueueTimeout == 0 {
		return 0
	}
	return max(nowMs, optMs(s.Task.EarliestStart)) + s.Task.QueueTimeout.Milliseconds()
}

// RetryPolicy is the task's, as it is stored.
func (s *Submission) RetryPolicy() string { return s.policy }

// Place puts the task on a node with its first attempt, as ASSIGNED, or as
// RUNNING when the node's poll is waiting for it.
func (s *Submission) Place(nodeID, session string, status controlplane.TaskStatus, gpus []int32) {
	s.Task.Status, s.Task.NodeID, s.Task.Attempt = status, nodeID, 1
	s.Task.GPUDevices = gpus
	s.session = session
}

func (s *Submission) result(r OpResult) {
	s.Stored, s.err = r.Changed > 0, r.Err
	s.class.stored = s.class.stored || s.Stored
	if s.Done != nil {
		s.Done(s.Stored)
	}
}

// op writes the submission down. The id is fresh and the seq and the class's id are
// the leader's, so the steps after the guard cannot fail: no savepoint.
func (s *Submission) op(nowMs int64, mem *memory) *Op {
	t := s.Task
	t.CreateTime = fromMs(nowMs)
	if t.Status.OnNode() {
		t.AssignTime = t.CreateTime
	}
	if t.Status == controlplane.TaskRunning {
		t.StartTime = t.CreateTime
	}
	op := mem.op()
	op.Journal = event(op.Journal, 'S', t.Seq, 0, "", "")
	op.Steps = append(op.Steps, s.insertStep(nowMs, mem), s.inputStep(mem))
	if t.NoProgressTimeout > 0 {
		op.Steps = append(op.Steps, Step{SQL: sqlTaskNoProgressTimeout, Args: []Value{Int(t.Seq), Int(t.NoProgressTimeout.Milliseconds())}})
	}
	if !s.class.stored {
		op.Steps = append(op.Steps, s.classKey.insert(t.ClassID))
	}
	op.takeGPUs(t.NodeID, t.Seq, t.GPUDevices)
	if t.Status.OnNode() {
		op.Journal = event(op.Journal, kindOf(t.Status), t.Seq, 1, t.NodeID, "")
	}
	return op
}

// insertStep writes the task's row. Most tasks only begin to wait and say nothing of how: then
// half of the parameters are left out, which takes a twentieth off what it costs to store one.
func (s *Submission) insertStep(nowMs int64, mem *memory) Step {
	t := s.Task
	if s.onlyWaits() {
		return Step{SQL: sqlTaskInsertWaiting, Args: mem.args(
			Int(t.Seq), Str(t.ID), OptStr(t.Name), Str(t.Queue), Int(int64(t.Priority)), s.labels, Int(t.ClassID),
			OptInt(t.Timeout.Milliseconds()), Int(int64(t.MaxAttempts)), Int(int64(t.MaxLostAttempts)), Int(nowMs))}
	}
	return s.fullInsert(nowMs, mem)
}

// fullInsert writes the row with all that a submission can say.
func (s *Submission) fullInsert(nowMs int64, mem *memory) Step {
	t := s.Task
	deadline := OptInt(s.DeadlineMs(nowMs))
	if t.Status == controlplane.TaskRunning {
		deadline = Value{}
	}
	return Step{SQL: sqlTaskInsert, Args: mem.args(
		Int(t.Seq), Str(t.ID), OptStr(t.RequestID), OptStr(t.Name), Str(t.Queue), Int(int64(t.Priority)), s.labels,
		Int(t.ClassID), OptInt(t.Timeout.Milliseconds()), Int(int64(t.MaxAttempts)), Int(int64(t.MaxLostAttempts)),
		Str(string(t.Status)), OptStr(t.NodeID), Int(int64(t.Attempt)), jsonInts(t.GPUDevices), Int(nowMs),
		OptInt(optMs(t.AssignTime)), OptInt(optMs(t.StartTime)), OptInt(optMs(t.RetryTime)), OptInt(optMs(t.EarliestStart)),
		OptInt(t.QueueTimeout.Milliseconds()), deadline, OptStr(s.policy), OptStr(t.ConcurrencyKey), OptInt(int64(t.MaxConcurrency)))}
}

// onlyWaits reports whether all of the task's columns that task_insert_waiting leaves out are
// empty, or what it puts there.
func (s *Submission) onlyWaits() bool {
	t := s.Task
	return t.Status == controlplane.TaskPending && t.RequestID == "" && t.RetryTime.IsZero() && t.EarliestStart.IsZero() &&
		t.QueueTimeout == 0 && s.policy == "" && t.ConcurrencyKey == "" && t.MaxConcurrency == 0
}

// tracedSchema is the version from which on trace contexts are kept. Until all members
// know it, tasks are stored without.
const tracedSchema = 2

func (s *Submission) inputStep(mem *memory) Step {
	name, payload := Value{}, Value{}
	if f := s.Task.Function; f != nil {
		name, payload = Str(f.Name), Bytes(f.Payload)
	}
	if trace := s.Task.Trace; trace.Parent != "" {
		return Step{SQL: sqlTaskInputTraced, Args: mem.args(Int(s.Task.Seq), s.exec, name, payload, Str(trace.Parent), OptStr(trace.State))}
	}
	return Step{SQL: sqlTaskInputInsert, Args: mem.args(Int(s.Task.Seq), s.exec, name, payload)}
}

// weight is about how many bytes the task takes in an entry.
func weight(t *controlplane.Task) int {
	n := 256 + len(t.ID) + len(t.Name) + len(t.ConcurrencyKey) + len(t.Trace.Parent) + len(t.Trace.State)
	for k, v := range t.Labels {
		n += len(k) + len(v) + 8
	}
	if t.Function != nil {
		n += len(t.Function.Payload)
	}
	if t.Exec != nil {
		for _, a := range t.Exec.Command {
			n += len(a) + 4
		}
		for k, v := range t.Exec.Env {
			n += len(k) + len(v) + 8
		}
	}
	return n
}

func kindOf(s controlplane.TaskStatus) byte {
	switch s {
	case controlplane.TaskAssigned:
		return 'A'
	case controlplane.TaskRunning:
		return 'R'
	case controlplane.TaskCompleted:
		return 'C'
	case controlplane.TaskFailed:
		return 'F'
	case controlplane.TaskCancelled:
		return 'X'
	}
	return 'Q'
}

// event appends one change to a journal: [kind, seq, attempt, node, reason],
// trailing empties left out. The view events spells the kinds out.
func event(b []byte, kind byte, seq int64, attempt int32, node, reason string) []byte {
	if len(b) > 0 {
		b = append(b, ',')
	} else if b == nil {
		b = make([]byte, 0, opJournal)
	}
	b = append(b, '[', '"', kind, '"', ',')
	b = strconv.AppendInt(b, seq, 10)
	if attempt > 0 || node != "" || reason != "" {
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(attempt), 10)
	}
	if node != "" || reason != "" {
		b = appendQuoted(append(b, ','), node)
	}
	if reason != "" {
		b = appendQuoted(append(b, ','), reason)
	}
	return append(b, ']')
}

// appendQuoted appends a JSON string. Node ids are letters, digits and ._- by the
// public contract, and reasons our own words; should another get in all the same,
// it must not spoil the journal that every watcher reads.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(b, jsonValue(s).Bytes...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func jsonMap(m map[string]string) Value {
	if len(m) == 0 {
		return Value{}
	}
	return jsonValue(m) // keys are sorted
}

func jsonInts(v []int32) Value {
	if len(v) == 0 {
		return Value{}
	}
	return jsonValue(v)
}

func jsonValue(v any) Value {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps and slices of strings and integers always marshal
	}
	return Value{Kind: Text, Bytes: b}
}
