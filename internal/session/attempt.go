package session

import (
	"fmt"
	"strings"
	"sync"
	"time"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tasklog"
)

// maxErrorBytes bounds the text of an error, by the contract.
const maxErrorBytes = 4 << 10

// Fate is what is to become of an attempt that is stopped. A later one counts only
// if it is greater.
type Fate int

// Fates.
const (
	Unstopped  Fate = iota
	HandedBack      // the worker is going away: report it unfinished
	Stuck           // it makes no progress: report FAILED
	Cancelled       // report CANCELLED
	Dropped         // it is no longer this node's: report nothing
)

// Running is what runs for an attempt: a process or a function.
type Running interface {
	// Stop tells it to end, and ends it after the grace period as far as that can be
	// done. It may be called again with a shorter one.
	Stop(grace time.Duration)
	// Extend moves the deadlines by which it must end by itself.
	Extend(d Deadlines)
}

// Attempt is one try of a task on this node.
type Attempt struct {
	key     attemptKey
	task    *controlplanev1.Task
	older   *Attempt      // of the same task; must end before this one begins
	ended   chan struct{} // closed when nothing of it runs
	lease   *lease
	log     *tasklog.Log
	relayed relayed

	mu      sync.Mutex
	fate    Fate
	running Running // nil before it runs
	// said is the progress that the control plane knows of.
	said *controlplanev1.Progress
}

func keyOf(t *controlplanev1.Task) attemptKey {
	return attemptKey{task: t.GetId(), number: t.GetAttempt()}
}

func newAttempt(t *controlplanev1.Task, older *Attempt, l *lease, r *relay) *Attempt {
	at := &Attempt{key: keyOf(t), task: t, older: older, ended: make(chan struct{}), lease: l}
	at.log = tasklog.New(func() { r.note(at) })
	return at
}

// Task is what is to be run.
func (at *Attempt) Task() *controlplanev1.Task { return at.task }

// Log is where what runs prints: it can be read while it does, and its end is kept.
func (at *Attempt) Log() *tasklog.Log { return at.log }

// Start calls start, unless the attempt was stopped meanwhile: then it does nothing
// and returns false. What start returns misses neither a stop nor a longer lease.
func (at *Attempt) Start(start func(Deadlines) (Running, error)) (begun bool, err error) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.fate != Unstopped {
		return false, nil
	}
	r, err := start(at.lease.deadlines())
	if err != nil {
		return false, err
	}
	at.running = r
	return true, nil
}

// stop ends the attempt.
func (at *Attempt) stop(f Fate, grace time.Duration) {
	at.mu.Lock()
	defer at.mu.Unlock()
	at.fate = max(at.fate, f)
	if at.running != nil {
		at.running.Stop(grace)
	}
}

// Fate is what is to become of it.
func (at *Attempt) Fate() Fate {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.fate
}

// IsDropped tells that it is no longer this node's.
func (at *Attempt) IsDropped() bool { return at.Fate() == Dropped }

// extend moves the deadline by which what runs must end.
func (at *Attempt) extend(lease Deadlines) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.running != nil {
		at.running.Extend(lease)
	}
}

// Unfinished is the outcome of an attempt that was stopped on purpose.
func (at *Attempt) Unfinished(why string) *controlplanev1.TaskResult {
	switch at.Fate() {
	case Cancelled:
		return at.Result(controlplanev1.TaskStatus_TASK_STATUS_CANCELLED, "")
	case Stuck:
		return at.Failed(fmt.Sprintf("stopped: it has reported no progress for %v", at.task.GetNoProgressTimeout().AsDuration()))
	}
	return at.Result(controlplanev1.TaskStatus_TASK_STATUS_PENDING, why)
}

// Failed is the outcome of an attempt that failed.
func (at *Attempt) Failed(why string) *controlplanev1.TaskResult {
	return at.Result(controlplanev1.TaskStatus_TASK_STATUS_FAILED, why)
}

// Result is an outcome with an error's text, which is cut to the contract's limit.
func (at *Attempt) Result(status controlplanev1.TaskStatus, why string) *controlplanev1.TaskResult {
	return &controlplanev1.TaskResult{TaskId: at.key.task, Attempt: at.key.number, Status: status, Error: CutString(why, maxErrorBytes)}
}

// CutString cuts s to at most n bytes, between characters, and drops what is no
// UTF-8.
func CutString(s string, n int) string {
	return strings.ToValidUTF8(s[:min(n, len(s))], "")
}
