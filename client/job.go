package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tracing"
)

// maxBatch is the number of tasks that one call submits, by the contract.
const maxBatch = 1000

// maxBatchBytes keeps a call below the 4 MiB that a message may have.
const maxBatchBytes = 3 << 20

// Job is a task of a function whose result is a Result.
type Job[Result any] struct {
	client *Client
	id     string
}

// Submit stores a call of a function that workers have registered: see Register. When
// it returns, a majority of the members has it.
//
// The argument travels as JSON, a []byte or json.RawMessage as it is; it has at most
// 1 MiB: pass the address of what is larger. Result is what Wait makes of the result
// in the same way.
func Submit[Args, Result any](ctx context.Context, c *Client, function string, args Args, opts ...TaskOption) (*Job[Result], error) {
	req, err := submission(function, args, opts)
	if err != nil {
		return nil, err
	}
	if b, is := asPayload(args); is && ctx.Done() != nil {
		req.GetTask().GetFunction().Payload = bytes.Clone(b) // see SubmitTask; the rest of the message is nobody else's
	}
	tracing.Fill(ctx, req.GetTask()) // here it need not be copied
	if err := giveKey(req); err != nil {
		return nil, err
	}
	res, err := c.submit(ctx, req)
	if err != nil {
		return nil, err
	}
	return JobOf[Result](c, res.GetTask().GetId()), nil
}

// SubmitAll is Submit for many arguments, up to 1,000 in a call. The options hold for
// each, so WithID and WithRequestID are refused. On an error the jobs of the calls before
// are returned with it; where a call's outcome is not known, its tasks may be stored all
// the same.
func SubmitAll[Args, Result any](ctx context.Context, c *Client, function string, args []Args, opts ...TaskOption) ([]*Job[Result], error) {
	jobs := make([]*Job[Result], 0, len(args))
	for len(jobs) < len(args) {
		batch, err := nextBatch(function, args[len(jobs):], opts)
		if err != nil {
			return jobs, err
		}
		res, err := c.SubmitTasks(ctx, batch)
		if err != nil {
			return jobs, err
		}
		if got, want := len(res.GetOutcomes()), len(batch.GetRequests()); got != want {
			return jobs, fmt.Errorf("%d outcomes of %d submissions came back: which tasks are stored is not known", got, want)
		}
		for _, o := range res.GetOutcomes() {
			if o.GetError() != nil {
				return jobs, fmt.Errorf("argument %d: %s: %s", len(jobs), o.GetError().GetCode(), o.GetError().GetMessage())
			}
			jobs = append(jobs, JobOf[Result](c, cmp.Or(o.GetTaskId(), o.GetTask().GetId())))
		}
	}
	return jobs, nil
}

// nextBatch is what fits into one call, one task at least.
func nextBatch[Args any](function string, args []Args, opts []TaskOption) (*v1.SubmitTasksRequest, error) {
	batch, size := &v1.SubmitTasksRequest{}, 0
	for i := range args[:min(len(args), maxBatch)] {
		req, err := submission(function, args[i], opts)
		switch {
		case err != nil:
			return nil, fmt.Errorf("argument %d: %w", i, err)
		case req.GetTask().GetId() != "" || req.GetRequestId() != "":
			return nil, errors.New("WithID and WithRequestID are for one task: leave them out")
		}
		if err := giveKey(req); err != nil {
			return nil, err
		}
		if size += req.SizeVT() + 64; i > 0 && size > maxBatchBytes {
			break
		}
		batch.Requests = append(batch.Requests, req)
	}
	return batch, nil
}

func submission(function string, args any, opts []TaskOption) (*v1.SubmitTaskRequest, error) {
	payload, err := encode(args)
	if err != nil {
		return nil, fmt.Errorf("argument of %s: %w", function, err)
	}
	req := &v1.SubmitTaskRequest{IdOnly: true, Task: &v1.Task{Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: function, Payload: payload}}}}
	for _, opt := range opts {
		opt(req)
	}
	return req, nil
}

// JobOf is the job of a task that was submitted before, here or elsewhere.
func JobOf[Result any](c *Client, taskID string) *Job[Result] {
	return &Job[Result]{client: c, id: taskID}
}

// ID is the id of its task.
func (j *Job[Result]) ID() string { return j.id }

// Task returns the task as it is now.
func (j *Job[Result]) Task(ctx context.Context) (*v1.Task, error) {
	res, err := j.client.GetTask(ctx, &v1.GetTaskRequest{Id: j.id})
	return res.GetTask(), err
}

// Wait follows the task to its end and returns its result. A task that ended FAILED or
// CANCELLED is a *TaskError. When ctx ends the task goes on: Cancel ends it.
func (j *Job[Result]) Wait(ctx context.Context) (result Result, err error) {
	task, err := j.client.Wait(ctx, j.id)
	if err != nil {
		return result, err
	}
	if task.GetStatus() != v1.TaskStatus_TASK_STATUS_COMPLETED {
		return result, &TaskError{Task: task}
	}
	if err := decode(task.GetResult(), &result); err != nil {
		return result, fmt.Errorf("result of task %s: %w", j.id, err)
	}
	return result, nil
}

// Watch calls f for each change of the task until its end, ctx or an error of f; the
// first call tells what it is now.
func (j *Job[Result]) Watch(ctx context.Context, f func(*v1.Task) error) error {
	return j.follow(ctx, &v1.WatchTasksRequest{}, func(_ *v1.TaskProgress, task *v1.Task) error { return f(task) })
}

// follow calls f for each change of the task and for each progress, if the request asks
// for it, until the task's end.
func (j *Job[Result]) follow(ctx context.Context, req *v1.WatchTasksRequest, f func(*v1.TaskProgress, *v1.Task) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	task, err := j.Task(ctx)
	if err != nil {
		return err
	}
	begun := false
	req.TaskIds = []string{j.id}
	err = j.client.WatchTasks(ctx, req, func(m *v1.WatchTasksResponse) error {
		switch {
		case m.GetProgress() != nil:
			return f(m.GetProgress(), task)
		case m.GetEvent() != nil:
			task = m.GetEvent().GetTask()
		case begun: // a sign of life
			return nil
		default: // what happened before the watch was in place
			if task, err = j.Task(ctx); err != nil {
				return err
			}
		}
		begun = true
		if err := f(nil, task); err != nil {
			return err
		}
		if Final(task.GetStatus()) {
			return errWatchedToEnd
		}
		return nil
	})
	if errors.Is(err, errWatchedToEnd) {
		return nil
	}
	return err
}

// Cancel ends the task, or asks the worker that runs it to stop.
func (j *Job[Result]) Cancel(ctx context.Context) error {
	_, err := j.client.CancelTask(ctx, &v1.CancelTaskRequest{Id: j.id})
	return err
}

// Results waits for all jobs and returns their results in order. It ends with the first
// error, in that order; the other tasks go on.
func Results[Result any](ctx context.Context, jobs []*Job[Result]) ([]Result, error) {
	results := make([]Result, len(jobs))
	for i, j := range jobs {
		var err error
		if results[i], err = j.Wait(ctx); err != nil {
			return results[:i], err
		}
	}
	return results, nil
}

// TaskError is the end of a task that did not complete.
type TaskError struct {
	Task *v1.Task
}

// Error implements error.
func (e *TaskError) Error() string {
	t := e.Task
	switch {
	case t.GetStatus() == v1.TaskStatus_TASK_STATUS_CANCELLED:
		return fmt.Sprintf("task %s was cancelled", t.GetId())
	case t.GetError() == "":
		return fmt.Sprintf("task %s failed at attempt %d", t.GetId(), t.GetAttempt())
	}
	return fmt.Sprintf("task %s failed at attempt %d: %s", t.GetId(), t.GetAttempt(), t.GetError())
}

// encode makes a payload of a value.
func encode(v any) ([]byte, error) {
	if b, is := asPayload(v); is {
		return b, nil
	}
	return json.Marshal(v)
}

// asPayload returns a value that is a payload as it is: its bytes are the caller's.
func asPayload(v any) (b []byte, is bool) {
	switch v := v.(type) {
	case []byte:
		return v, true
	case json.RawMessage:
		return v, true
	}
	return nil, false
}

// decode makes a value of a payload; nothing at all is the zero value.
func decode(b []byte, into any) error {
	switch into := into.(type) {
	case *[]byte:
		*into = b
		return nil
	case *json.RawMessage:
		*into = b
		return nil
	}
	if len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, into)
}

// TaskOption changes how a function's task is stored.
type TaskOption func(*v1.SubmitTaskRequest)

// WithTask changes any field of the task; what Submit sets, its function, stands already.
func WithTask(change func(*v1.Task)) TaskOption {
	return func(r *v1.SubmitTaskRequest) { change(r.Task) }
}

// WithID names the task. The same submission again gives the first task again; another one with
// that id is refused with connect.CodeAlreadyExists.
func WithID(id string) TaskOption {
	return func(r *v1.SubmitTaskRequest) { r.Task.Id = id }
}

// WithRequestID is the key by which a submission that is repeated, perhaps by another
// process, counts once; another one with that key is refused with connect.CodeAlreadyExists.
func WithRequestID(key string) TaskOption {
	return func(r *v1.SubmitTaskRequest) { r.RequestId = key }
}

// WithNoProgressTimeout stops an attempt that has reported no progress for so long, 1 s to
// 365 days: it fails, and is tried again if its attempts allow it. See ReportProgress.
func WithNoProgressTimeout(d time.Duration) TaskOption {
	return func(r *v1.SubmitTaskRequest) { r.Task.NoProgressTimeout = durationpb.New(d) }
}

// WithQueue is the queue to wait in.
func WithQueue(name string) TaskOption {
	return func(r *v1.SubmitTaskRequest) { r.Task.Queue = name }
}

// WithPriority is -1000 to 1000; higher runs first.
func WithPriority(p int32) TaskOption {
	return func(r *v1.SubmitTaskRequest) { r.Task.Priority = p }
}

// WithAttempts is how often the function may fail before the task has failed, 1 to 100.
func WithAttempts(n int32) TaskOption {
	return func(r *v1.SubmitTaskRequest) { r.Task.MaxAttempts = n }
}

// WithResources is what the task reserves on its worker.
func WithResources(res *v1.Resources) TaskOption {
	return func(r *v1.SubmitTaskRequest) { r.Task.Resources = res }
}

var errWatchedToEnd = errors.New("the task has ended")
