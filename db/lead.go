package db

import (
	"context"
	"math"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// What a new leader reads once, and what its planner reads while it plans.

// HeldTask is an attempt that a node holds, with what decides its future.
type HeldTask struct {
	Held
	Stream          // that it came from
	Status          controlplane.TaskStatus
	FailedAttempts  int32
	LostAttempts    int32
	MaxAttempts     int32
	MaxLostAttempts int32
	CancelRequested bool
	RetryPolicy     string // as it is stored: see ParseRetryPolicy
}

// HeldTasks returns all attempts that nodes hold.
func HeldTasks(c Conn) ([]HeldTask, error) {
	return collect(c, func(r Cursor) (HeldTask, error) {
		s := scanner{r: r}
		t := HeldTask{Stream: s.stream()}
		t.Held = Held{Seq: s.int(), TaskID: s.text(), NodeID: s.text(), Attempt: int32(s.int())}
		t.Status = controlplane.TaskStatus(s.text())
		t.FailedAttempts, t.LostAttempts = int32(s.int()), int32(s.int())
		t.MaxAttempts, t.MaxLostAttempts = int32(s.int()), int32(s.int())
		t.CancelRequested = s.int() != 0
		s.json(&t.GPUs)
		t.RetryPolicy = s.text()
		return t, s.err
	}, sqlTaskHeld)
}

// AllNodes returns all nodes.
func AllNodes(c Conn) ([]*controlplane.Node, error) {
	return collect(c, scanNode, sqlNodeList, Str(""), Value{}, Int(1<<31))
}

// AnyPriority stands in a Stream for all priorities.
const AnyPriority = math.MinInt32

// Stream names pending tasks that can be placed in the order of their priority and
// age: those of one queue, class and concurrency.
type Stream struct {
	Queue          string
	ClassID        int64
	Key            string // concurrency key; "" for none
	MaxConcurrency int32  // 0 without a key
	Priority       int32  // AnyPriority for all
}

func (s *scanner) stream() Stream {
	return Stream{Queue: s.text(), ClassID: s.int(), Key: s.text(), MaxConcurrency: int32(s.int()), Priority: int32(s.int())}
}

// StreamOf returns the stream of a task's own priority.
func StreamOf(t *controlplane.Task) Stream {
	return Stream{Queue: t.Queue, ClassID: t.ClassID, Key: t.ConcurrencyKey, MaxConcurrency: t.MaxConcurrency, Priority: t.Priority}
}

// Streams returns the streams that have pending tasks, one for each priority.
func Streams(c Conn) ([]Stream, error) {
	return collect(c, func(r Cursor) (Stream, error) {
		s := scanner{r: r}
		return s.stream(), s.err
	}, sqlTaskStreams)
}

// Head is a pending task near the head of its stream.
type Head struct {
	Seq             int64
	TaskID          string
	Priority        int32
	CreateMs        int64
	Attempt         int32 // the last one
	FailedAttempts  int32
	LostAttempts    int32
	MaxAttempts     int32
	MaxLostAttempts int32
	RetryPolicy     string
}

// Heads returns the next limit pending tasks of a stream after the place
// (priority, seq), by priority and then age.
func Heads(c Conn, s Stream, priority int32, seq int64, limit int) ([]Head, error) {
	if s.Priority != AnyPriority {
		priority = min(priority, s.Priority)
	}
	return collect(c, func(r Cursor) (Head, error) {
		return Head{
			Seq: r.Int(0), TaskID: r.Text(1), Priority: int32(r.Int(2)), CreateMs: r.Int(3), Attempt: int32(r.Int(4)), FailedAttempts: int32(r.Int(5)),
			LostAttempts: int32(r.Int(6)), MaxAttempts: int32(r.Int(7)), MaxLostAttempts: int32(r.Int(8)), RetryPolicy: r.Text(9),
		}, nil
	}, sqlTaskHeads, Str(s.Queue), Int(s.ClassID), Int(int64(priority)), Int(seq), Int(int64(s.Priority)), Int(int64(limit)),
		OptStr(s.Key), OptInt(int64(s.MaxConcurrency)))
}

// Retry is a task that waits for its start or its next attempt.
type Retry struct {
	Seq     int64
	Stream  Stream
	RetryMs int64
	// Failed is set if it waits for a retry.
	Failed bool
}

// Retries returns the tasks that wait for their start or their next attempt, the
// earliest first.
func Retries(c Conn) ([]Retry, error) {
	return collect(c, func(r Cursor) (Retry, error) {
		s := scanner{r: r}
		return Retry{Stream: s.stream(), Seq: s.int(), RetryMs: s.int(), Failed: s.int() != 0}, s.err
	}, sqlTaskRetries)
}

// Overdue is a task that has waited too long for its first start.
type Overdue struct {
	Stream  Stream
	Seq     int64
	Attempt int32
	Timeout time.Duration
}

// OverdueTasks returns at most limit tasks whose deadline is at or before a time, the
// earliest first.
func OverdueTasks(c Conn, ms int64, limit int) ([]Overdue, error) {
	return collect(c, func(r Cursor) (Overdue, error) {
		s := scanner{r: r}
		return Overdue{Stream: s.stream(), Seq: s.int(), Attempt: int32(s.int()), Timeout: time.Duration(s.int()) * time.Millisecond}, s.err
	}, sqlTaskOverdue, Int(ms), Int(int64(limit)))
}

// NextDeadline returns the first deadline after a time, 0 if there is none.
func NextDeadline(c Conn, ms int64) (next int64, err error) {
	err = each(c, sqlTaskNextDeadline, func(r Cursor) { next = r.Int(0) }, Int(ms))
	return next, err
}

// SessionRetired reports whether a session was replaced.
func SessionRetired(c Conn, session string) (retired bool, err error) {
	err = each(c, sqlNodeSessionRetired, func(Cursor) { retired = true }, Str(session))
	return retired, err
}

// AttemptState is an attempt and its task, as a late or repeated report finds
// them. Found is false if there is no such task; Status is "" if there is no such
// attempt.
type AttemptState struct {
	Found       bool
	TaskStatus  controlplane.TaskStatus
	TaskAttempt int32
	TaskNodeID  string
	Status      string
	NodeID      string
}

// AttemptState reads an attempt of a task from this member's state.
func (m *TaskManifest) AttemptState(ctx context.Context, taskID string, attempt int32) (a AttemptState, err error) {
	err = m.readShort(ctx, func(c Conn) error {
		return each(c, sqlAttemptGet, func(r Cursor) {
			a = AttemptState{Found: true, TaskStatus: controlplane.TaskStatus(r.Text(0)), TaskAttempt: int32(r.Int(1)),
				TaskNodeID: r.Text(2), Status: r.Text(3), NodeID: r.Text(4)}
		}, Str(taskID), Int(int64(attempt)))
	})
	return a, err
}
