package client

import (
	"context"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Submissions that are made while another is under way go together in the next call: one
// call costs client and server more than what is in it. Nothing waits that could have
// gone, and each caller gets its own answer.

// stuckAfter is how long a call may take before those behind it go by themselves: it may
// be trying one server after the other.
const stuckAfter = 250 * time.Millisecond

// gathering is the submissions that wait for the one under way.
type gathering struct {
	mu      sync.Mutex
	begun   time.Time // of the call under way; zero if there is none
	waiting []*waiting

	stuckAfter time.Duration
}

// waiting is a submission that waits for its turn, and then for its answer.
type waiting struct {
	ctx  context.Context //nolint:containedctx // it is a call's, on its way through a queue
	req  *v1.SubmitTaskRequest
	done chan struct{}
	res  *v1.SubmitTaskResponse
	err  error
}

// submit stores one task, in a call of its own or with others.
func (c *Client) submit(ctx context.Context, req *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
	w, first := c.gathering.enter(ctx, req)
	if w == nil {
		if first {
			defer c.sendWaiting()
		}
		return c.submitAlone(ctx, req)
	}
	stuck := time.NewTimer(c.gathering.stuckAfter)
	defer stuck.Stop()
	select {
	case <-w.done:
		return w.res, w.err
	case <-ctx.Done():
		c.gathering.leave(w)
		return nil, contextError(ctx)
	case <-stuck.C:
		if c.gathering.leave(w) {
			return c.submitAlone(ctx, req)
		}
	}
	select { // its call is under way
	case <-w.done:
		return w.res, w.err
	case <-ctx.Done():
		return nil, contextError(ctx)
	}
}

func (c *Client) submitAlone(ctx context.Context, req *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
	return call(ctx, c, method{name: "SubmitTask", repeatable: true}, req,
		func(s *server) unary[v1.SubmitTaskRequest, v1.SubmitTaskResponse] { return s.tasks.SubmitTask })
}

// enter queues a submission behind the call under way. It returns nil if the submission
// is to go by itself; first if it is then the call that others wait for.
func (g *gathering) enter(ctx context.Context, req *v1.SubmitTaskRequest) (w *waiting, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.begun.IsZero() {
		g.begun = now
		return nil, true
	}
	if now.Sub(g.begun) > g.stuckAfter {
		return nil, false
	}
	w = &waiting{ctx: ctx, req: req, done: make(chan struct{})}
	g.waiting = append(g.waiting, w)
	return w, false
}

// leave takes a submission back, and reports whether it had not been sent.
func (g *gathering) leave(w *waiting) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return i >= 0
}

// take returns what fits into the next call, which begins now, unless it is empty.
func (g *gathering) take() []*waiting {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, size := 0, 0
	for ; n < min(len(g.waiting), maxBatch); n++ {
		if size += proto.Size(g.waiting[n].req) + 64; n > 0 && size > maxBatchBytes {
			break
		}
	}
	batch := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.begun = time.Time{}
	if n > 0 {
		g.begun = time.Now()
	}
	return batch
}

// sendWaiting sends what has gathered, when a call has ended.
func (c *Client) sendWaiting() {
	batch := c.gathering.take()
	if len(batch) == 0 {
		return
	}
	go func() {
		c.submitTogether(batch)
		c.sendWaiting()
	}()
}

// submitTogether stores a batch. A batch that is refused as a whole for what is wrong
// with one, and one that is refused for itself, is sent again by itself: so the caller
// gets the error with all that belongs to it. All have keys, so that is safe.
func (c *Client) submitTogether(batch []*waiting) {
	if len(batch) == 1 {
		batch[0].answer(c.submitAlone(batch[0].ctx, batch[0].req))
		return
	}
	ctx, cancel := latest(batch, c.options.callTimeout)
	defer cancel()
	req := &v1.SubmitTasksRequest{}
	for _, w := range batch {
		req.Requests = append(req.Requests, w.req)
	}
	res, err := c.SubmitTasks(ctx, req)
	for i, w := range batch {
		switch {
		case connect.CodeOf(err) == connect.CodeInvalidArgument,
			err == nil && (i >= len(res.GetOutcomes()) || res.GetOutcomes()[i].GetTask() == nil):
			go func() { w.answer(c.submitAlone(w.ctx, w.req)) }()
		case err != nil:
			w.answer(nil, err)
		default:
			w.answer(&v1.SubmitTaskResponse{Task: res.GetOutcomes()[i].GetTask()}, nil)
		}
	}
}

func (w *waiting) answer(res *v1.SubmitTaskResponse, err error) {
	w.res, w.err = res, err
	close(w.done)
}

// latest is a context that lasts until the last of the batch gives up.
func latest(batch []*waiting, callTimeout time.Duration) (context.Context, context.CancelFunc) {
	now := time.Now()
	end := now
	for _, w := range batch {
		deadline, ok := w.ctx.Deadline()
		if !ok {
			deadline = now.Add(callTimeout)
		}
		if deadline.After(end) {
			end = deadline
		}
	}
	return context.WithDeadline(context.Background(), end)
}
