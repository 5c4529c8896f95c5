package client

import (
	"context"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/gather"
)

// Submissions that are made while another is under way go together in the next call: one
// call costs client and server more than what is in it. Each caller gets its own answer.

// stuckAfter is how long a call may take before those behind it go by themselves: it may
// be trying one server after the other.
const stuckAfter = 250 * time.Millisecond

// submitting is a submission under way.
type submitting struct {
	ctx  context.Context //nolint:containedctx // it is a call's, on its way through a queue
	req  *v1.SubmitTaskRequest
	done chan struct{}
	res  *v1.SubmitTaskResponse
	err  error
}

func (c *Client) newGathering() *gather.Queue[*submitting] {
	return &gather.Queue[*submitting]{
		Patience: stuckAfter, MaxItems: maxBatch, MaxBytes: maxBatchBytes,
		Size: func(s *submitting) int { return s.req.SizeVT() + 64 },
		Send: c.submitTogether,
	}
}

// submit stores one task, in a call of its own or with others.
func (c *Client) submit(ctx context.Context, req *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
	s := &submitting{ctx: ctx, req: req, done: make(chan struct{})}
	if !c.gathering.Do(ctx, s, s.done, func() { s.res, s.err = c.submitAlone(ctx, req) }) {
		return nil, contextError(ctx)
	}
	return s.res, s.err
}

func (c *Client) submitAlone(ctx context.Context, req *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
	return call(ctx, c, method{name: "SubmitTask", repeatable: true, short: true}, req,
		func(s *server) unary[v1.SubmitTaskRequest, v1.SubmitTaskResponse] { return s.tasks.SubmitTask })
}

// submitTogether stores a batch. One that is refused as a whole for what is wrong with one
// of them, and one that is refused for itself, is sent again by itself: so the caller gets
// the error with all that belongs to it. All have keys, so that is safe.
func (c *Client) submitTogether(batch []*submitting) {
	if len(batch) == 1 {
		batch[0].answer(c.submitAlone(batch[0].ctx, batch[0].req))
		return
	}
	req := &v1.SubmitTasksRequest{}
	var callers []context.Context
	for _, s := range batch {
		req.Requests, callers = append(req.Requests, s.req), append(callers, s.ctx)
	}
	ctx, cancel := gather.Latest(callers, c.options.callTimeout)
	defer cancel()
	res, err := c.sendTasks(withSpanOfOne(ctx, callers), req)
	for i, s := range batch {
		switch task := storedTask(res.GetOutcomes(), i); {
		case connect.CodeOf(err) == connect.CodeInvalidArgument, err == nil && task == nil, err != nil && gather.Outlasts(s.ctx, ctx):
			go func() { s.answer(c.submitAlone(s.ctx, s.req)) }()
		case err != nil:
			s.answer(nil, err)
		default:
			s.answer(&v1.SubmitTaskResponse{Task: task}, nil)
		}
	}
}

// storedTask is the task of the outcome i as SubmitTask answers with it, nil if there is none.
func storedTask(outcomes []*v1.SubmitTaskOutcome, i int) *v1.Task {
	if i >= len(outcomes) {
		return nil
	}
	if id := outcomes[i].GetTaskId(); id != "" {
		return &v1.Task{Id: id}
	}
	return outcomes[i].GetTask()
}

func (s *submitting) answer(res *v1.SubmitTaskResponse, err error) {
	s.res, s.err = res, err
	close(s.done)
}
