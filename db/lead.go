package db

import (
	"context"

	"github.com/raft-control-plane/control-plane"
)

// What a new leader reads once, and what its planner reads while it plans.

// HeldTask is an attempt that a node holds, with what decides its future.
type HeldTask struct {
	Held
	Queue           string
	ClassID         int64
	Status          controlplane.TaskStatus
	FailedAttempts  int32
	LostAttempts    int32
	MaxAttempts     int32
	MaxLostAttempts int32
	CancelRequested bool
}

// HeldTasks returns all attempts that nodes hold.
func HeldTasks(c Conn) ([]HeldTask, error) {
	return collect(c, func(r Cursor) (HeldTask, error) {
		s := scanner{r: r}
		t := HeldTask{Held: Held{Seq: s.int(), TaskID: s.text(), NodeID: s.text(), Attempt: int32(s.int())}}
		t.ClassID, t.Status = s.int(), controlplane.TaskStatus(s.text())
		t.FailedAttempts, t.LostAttempts = int32(s.int()), int32(s.int())
		t.MaxAttempts, t.MaxLostAttempts = int32(s.int()), int32(s.int())
		t.CancelRequested = s.int() != 0
		s.json(&t.GPUs)
		t.Queue = s.text()
		return t, s.err
	}, sqlTaskHeld)
}

// AllNodes returns all nodes.
func AllNodes(c Conn) ([]*controlplane.Node, error) {
	return collect(c, scanNode, sqlNodeList, Str(""), Value{}, Int(1<<31))
}

// Stream names the pending tasks of one queue and class.
type Stream struct {
	Queue   string
	ClassID int64
}

// Streams returns the streams that have pending tasks.
func Streams(c Conn) ([]Stream, error) {
	return collect(c, func(r Cursor) (Stream, error) {
		return Stream{Queue: r.Text(0), ClassID: r.Int(1)}, nil
	}, sqlTaskStreams)
}

// Head is a pending task near the head of its stream.
type Head struct {
	Seq             int64
	TaskID          string
	Priority        int32
	Attempt         int32 // the last one
	FailedAttempts  int32
	LostAttempts    int32
	MaxAttempts     int32
	MaxLostAttempts int32
}

// Heads returns the next limit pending tasks of a stream after the place
// (priority, seq), by priority and then age.
func Heads(c Conn, s Stream, priority int32, seq int64, limit int) ([]Head, error) {
	return collect(c, func(r Cursor) (Head, error) {
		return Head{
			Seq: r.Int(0), TaskID: r.Text(1), Priority: int32(r.Int(2)), Attempt: int32(r.Int(3)), FailedAttempts: int32(r.Int(4)),
			LostAttempts: int32(r.Int(5)), MaxAttempts: int32(r.Int(6)), MaxLostAttempts: int32(r.Int(7)),
		}, nil
	}, sqlTaskHeads, Str(s.Queue), Int(s.ClassID), Int(int64(priority)), Int(seq), Int(int64(limit)))
}

// Retry is a task that waits for its next attempt.
type Retry struct {
	Seq     int64
	Stream  Stream
	RetryMs int64
}

// Retries returns the tasks that wait for their next attempt, the earliest first.
func Retries(c Conn) ([]Retry, error) {
	return collect(c, func(r Cursor) (Retry, error) {
		return Retry{Seq: r.Int(0), Stream: Stream{Queue: r.Text(1), ClassID: r.Int(2)}, RetryMs: r.Int(3)}, nil
	}, sqlTaskRetries)
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
	err = m.readNow(ctx, func(c Conn) error {
		return each(c, sqlAttemptGet, func(r Cursor) {
			a = AttemptState{Found: true, TaskStatus: controlplane.TaskStatus(r.Text(0)), TaskAttempt: int32(r.Int(1)),
				TaskNodeID: r.Text(2), Status: r.Text(3), NodeID: r.Text(4)}
		}, Str(taskID), Int(int64(attempt)))
	})
	return a, err
}
