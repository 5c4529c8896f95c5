package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
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

// maxLogTailBytes is what the contract takes of an attempt's output.
const maxLogTailBytes = 64 << 10

// Attempt is one try of a task, as its handler sees it.
type Attempt struct {
	// Task is what is to be done, with the number of the attempt and the devices that
	// it holds.
	Task *v1.Task
	tail tail
	// progress is what the handler has said last; nil before.
	progress atomic.Pointer[v1.Progress]
}

type attemptKey struct{}

// AttemptOf returns the attempt that a handler's context belongs to; nil elsewhere.
func AttemptOf(ctx context.Context) *Attempt {
	at, _ := ctx.Value(attemptKey{}).(*Attempt)
	return at
}

// Output is where a handler writes what is to be kept with its attempt: the last 64 KiB
// of it are the task's log tail. Outside of a handler it discards.
func Output(ctx context.Context) io.Writer {
	if at := AttemptOf(ctx); at != nil {
		return &at.tail
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

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*maxLogTailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-maxLogTailBytes:]...)
	}
	return len(p), nil
}

// String is the last 64 KiB, from the beginning of a character.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buf[max(0, len(t.buf)-maxLogTailBytes):]
	for len(b) > 0 && !utf8.RuneStart(b[0]) {
		b = b[1:]
	}
	b = bytes.ToValidUTF8(b, []byte("?"))
	return string(b)
}
