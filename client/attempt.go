package client

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tasklog"
	"github.com/raft-control-plane/control-plane/internal/tracing"
)

// Why a handler's context ended, by context.Cause.
var (
	// ErrTaskCancelled: the task was cancelled, has made no progress for its
	// no_progress_timeout, or is no longer this worker's.
	ErrTaskCancelled = errors.New("the task was stopped")
	// ErrTimeout: the task's time is over.
	ErrTimeout = errors.New("the task's time is over")
	// ErrLeaseLost: the worker could not renew its lease in time, and the task goes to
	// another one.
	ErrLeaseLost = errors.New("the worker could not renew its lease in time")
)

// Attempt is one try of a task, as its handler sees it.
type Attempt struct {
	// Task is what is to be done, with the number of the attempt and the devices that
	// it holds.
	Task *v1.Task
	out  *tasklog.Writer
	// progress is what the handler has said last; nil before.
	progress atomic.Pointer[v1.Progress]
}

type attemptKey struct{}

// AttemptOf returns the attempt that a handler's context belongs to; nil elsewhere.
func AttemptOf(ctx context.Context) *Attempt {
	at, _ := ctx.Value(attemptKey{}).(*Attempt)
	return at
}

// Output is the log of a handler's attempt. What is written to it can be read within a
// second, by Client.FollowLogs for instance, while the handler runs; the last 64 KiB are
// kept with the attempt. Writing waits for nothing and never fails. Outside of a handler
// it discards.
func Output(ctx context.Context) io.Writer {
	if at := AttemptOf(ctx); at != nil {
		return at.out
	}
	return io.Discard
}

// Logger is a logger whose lines go to Output, and say task, attempt and, if the task was
// submitted within a trace, trace_id.
func Logger(ctx context.Context) *slog.Logger {
	log := slog.New(slog.NewTextHandler(Output(ctx), nil))
	if at := AttemptOf(ctx); at != nil {
		log = log.With(tracing.LogAttrs(at.Task)...)
	}
	return log
}

// Permanent says of an error that trying again is of no use: the task fails at once.
func Permanent(err error) error { return &failure{err: err, permanent: true} }

// RetryAfter says of an error how long to wait before the next attempt, 1 ms to 24 h; what
// is beyond counts as the limit.
func RetryAfter(err error, d time.Duration) error {
	return &failure{err: err, after: min(max(d, time.Millisecond), 24*time.Hour)}
}

type failure struct {
	err       error
	permanent bool
	after     time.Duration
}

// Error implements error.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns what was wrapped.
func (f *failure) Unwrap() error { return f.err }
