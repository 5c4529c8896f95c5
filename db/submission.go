package db

import (
	"encoding/json"
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

	labels   Value
	policy   string  // of retries, as it is stored
	input    []Value // of task_input_insert; the seq comes first, once it is known
	classKey classKey
	class    *interned
	session  string
	err      error
}

// newSubmission encodes what the caller has given: later its goroutine may be gone,
// and the one that makes entries has enough to do.
func newSubmission(t *controlplane.Task) *Submission {
	s := &Submission{Task: t, labels: jsonMap(t.Labels), policy: encodeRetryPolicy(t.Retry), classKey: ClassOf(t).key(), input: make([]Value, 4, 6)}
	if t.Exec != nil {
		s.input[1] = jsonValue(t.Exec)
	}
	if t.Function != nil {
		s.input[2], s.input[3] = Str(t.Function.Name), Bytes(t.Function.Payload)
	}
	return s
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
func (s *Submission) op(nowMs int64, args *arguments) *Op {
	t := s.Task
	t.CreateTime = fromMs(nowMs)
	assign, start, deadline := Value{}, Value{}, OptInt(s.DeadlineMs(nowMs))
	if t.Status.OnNode() {
		t.AssignTime, assign = t.CreateTime, Int(nowMs)
	}
	if t.Status == controlplane.TaskRunning {
		t.StartTime, start, deadline = t.CreateTime, Int(nowMs), Value{}
	}
	op := &Op{Journal: event(nil, 'S', t.Seq, 0, "", ""), Steps: make([]Step, 0, 2)}
	op.Steps = append(op.Steps, Step{SQL: sqlTaskInsert, Args: args.of(
		Int(t.Seq), Str(t.ID), OptStr(t.RequestID), OptStr(t.Name), Str(t.Queue), Int(int64(t.Priority)), s.labels,
		Int(t.ClassID), OptInt(t.Timeout.Milliseconds()), Int(int64(t.MaxAttempts)), Int(int64(t.MaxLostAttempts)),
		Str(string(t.Status)), OptStr(t.NodeID), Int(int64(t.Attempt)), jsonInts(t.GPUDevices), Int(nowMs), assign, start,
		OptInt(optMs(t.RetryTime)), OptInt(optMs(t.EarliestStart)), OptInt(t.QueueTimeout.Milliseconds()), deadline,
		OptStr(s.policy), OptStr(t.ConcurrencyKey), OptInt(int64(t.MaxConcurrency)))}, s.inputStep())
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

// arguments is memory for the parameters of submissions, which have most, from one entry
// to the next: else they are a fifteenth of what a cycle allocates.
type arguments struct{ values []Value }

// of returns a copy of args.
func (a *arguments) of(args ...Value) []Value {
	first := len(a.values)
	a.values = append(a.values, args...) // what was returned before stays where it is, should this move
	return a.values[first:len(a.values):len(a.values)]
}

// reset is called when nothing that was returned is used any more.
func (a *arguments) reset() {
	clear(a.values)
	if a.values = a.values[:0]; cap(a.values) > maxKeptValues {
		a.values = nil
	}
}

// tracedSchema is the version from which on trace contexts are kept. Until all members
// know it, tasks are stored without.
const tracedSchema = 2

func (s *Submission) inputStep() Step {
	s.input[0] = Int(s.Task.Seq)
	if trace := s.Task.Trace; trace.Parent != "" {
		return Step{SQL: sqlTaskInputTraced, Args: append(s.input, Str(trace.Parent), OptStr(trace.State))}
	}
	return Step{SQL: sqlTaskInputInsert, Args: s.input}
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
	} else {
		b = make([]byte, 0, 64) // most fit, also two
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
