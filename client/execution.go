package client

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/session"
	"github.com/raft-control-plane/control-plane/internal/tracing"
)

const (
	maxResultBytes = 1 << 20
	// watchTick is how often deadlines are looked at.
	watchTick = 50 * time.Millisecond
)

// run runs one attempt to its end, or until it is no longer waited for.
func (w *Worker) run(sat *session.Attempt) *v1.TaskResult {
	task := sat.Task()
	h := w.handlers[task.GetFunction().GetName()]
	if h == nil {
		return sat.Failed(fmt.Sprintf("this worker has no function %q", task.GetFunction().GetName()))
	}
	for _, m := range slices.Backward(w.middleware) {
		h = m(h)
	}
	h = w.traced(h)
	at := &Attempt{Task: task, out: sat.Log().Writer()}
	c := newExecution(w.base, at, w.opts.StopGrace)
	defer c.cancel(nil)
	begun, err := sat.Start(func(lease session.Deadlines) (session.Running, error) {
		c.Extend(lease)
		w.executions.add(c)
		return c, nil
	})
	if err != nil || !begun {
		return sat.Unfinished("it was stopped before it began")
	}
	defer w.executions.remove(c)
	done := make(chan ending, 1)
	go func() { done <- invoke(c.ctx, h, at) }()
	select {
	case e := <-done:
		return w.outcome(sat, at, c, e)
	case <-c.abandoned:
		w.opts.Logger.Warn("a function did not return although its context has ended: it is left to itself",
			append(tracing.LogAttrs(task), "function", task.GetFunction().GetName())...)
		return w.outcome(sat, at, c, ending{err: context.Cause(c.ctx)})
	}
}

// ending is how a handler ended.
type ending struct {
	result []byte
	err    error
}

// invoke calls a handler and catches its panic.
func invoke(ctx context.Context, h Handler, at *Attempt) (e ending) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(at.out, "panic: %v\n\n%s", p, debug.Stack())
			e = ending{err: fmt.Errorf("panic: %v", p)}
		}
	}()
	result, err := h(ctx, at)
	return ending{result, err}
}

// outcome says what to report. What ended well counts as ended, whatever was ordered
// meanwhile; what failed after its context had ended was stopped.
func (w *Worker) outcome(sat *session.Attempt, at *Attempt, c *execution, e ending) *v1.TaskResult {
	var res *v1.TaskResult
	switch cause := context.Cause(c.ctx); {
	case e.err == nil && len(e.result) > maxResultBytes:
		res = sat.Failed(fmt.Sprintf("the result has %d bytes, at most %d are allowed: store it elsewhere and return its address", len(e.result), maxResultBytes))
		res.Permanent = true
	case e.err == nil:
		res = sat.Result(v1.TaskStatus_TASK_STATUS_COMPLETED, "")
		res.Result = e.result
	case errors.Is(cause, ErrLeaseLost):
		res = sat.Unfinished("stopped because its worker could not renew its lease in time")
	case errors.Is(cause, ErrTaskCancelled):
		res = sat.Unfinished("stopped by its worker")
	case errors.Is(cause, ErrTimeout):
		res = sat.Failed(fmt.Sprintf("timed out after %v", at.Task.GetTimeout().AsDuration()))
	default:
		res = failed(sat, e.err)
	}
	return res
}

func failed(sat *session.Attempt, err error) *v1.TaskResult {
	res := sat.Failed(err.Error())
	if f := (*failure)(nil); errors.As(err, &f) {
		res.Permanent = f.permanent
		if f.after > 0 {
			res.RetryAfter = durationpb.New(f.after)
		}
	}
	return res
}

// execution is a handler that runs.
type execution struct {
	at     *Attempt
	ctx    context.Context
	cancel context.CancelCauseFunc
	grace  time.Duration // after its time is over
	// abandoned is closed when it is no longer waited for.
	abandoned chan struct{}

	mu      sync.Mutex
	lease   session.Deadlines
	timeout time.Duration // on BootClock; 0 for none
	giveUp  time.Duration // on BootClock; 0 for not yet
	given   bool
}

func newExecution(base context.Context, at *Attempt, grace time.Duration) *execution {
	c := &execution{at: at, grace: grace, abandoned: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(context.WithValue(tracing.Submitter(base, at.Task), attemptKey{}, at))
	c.ctx, c.cancel = ctx, cancel
	if d := at.Task.GetTimeout().AsDuration(); d > 0 { // handlers and what they call see the deadline
		c.timeout = session.BootClock() + d
		var release context.CancelFunc
		c.ctx, release = context.WithTimeoutCause(ctx, d, ErrTimeout)
		context.AfterFunc(ctx, release)
	}
	return c
}

// Stop implements session.Running.
func (c *execution) Stop(grace time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop(ErrTaskCancelled, session.BootClock()+grace)
}

// Extend implements session.Running.
func (c *execution) Extend(d session.Deadlines) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lease = d
}

// stop ends the context, and the waiting at a time, or at the earliest of several. mu is
// held.
func (c *execution) stop(cause error, giveUp time.Duration) {
	c.cancel(cause)
	if c.giveUp == 0 || giveUp < c.giveUp {
		c.giveUp = giveUp
	}
}

// check acts on what is due.
func (c *execution) check(now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now >= c.lease.Stop {
		c.stop(ErrLeaseLost, c.lease.Kill)
	}
	if c.timeout > 0 && now >= c.timeout {
		c.stop(ErrTimeout, c.timeout+c.grace)
	}
	if c.giveUp > 0 && now >= c.giveUp && !c.given {
		c.given = true
		close(c.abandoned)
	}
}

// executions are the handlers that run. Their deadlines are looked at all the time rather than
// waited for: the timers of Go stand still while a machine is suspended, and leases do not.
type executions struct {
	mu  sync.Mutex
	set map[*execution]struct{}
}

func (s *executions) add(c *execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = map[*execution]struct{}{}
	}
	s.set[c] = struct{}{}
}

func (s *executions) remove(c *execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, c)
}

func (s *executions) watch(ctx context.Context) {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := session.BootClock()
		s.mu.Lock()
		for c := range s.set {
			c.check(now)
		}
		s.mu.Unlock()
	}
}
