package client

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/gather"
)

// Reads of tasks that are made while another is under way go together in the next call, as
// submissions do. Each must see all that was acknowledged before its caller asked, so a call
// that has begun never answers a caller who came later, also if it reads the same task:
// gather.Queue takes what waits at the moment at which the next call begins.

const (
	// maxIDBytes is the longest id of a task, by the contract.
	maxIDBytes = 64
	// lacksFor is how long a member that does not know GetTasks is asked for one task at a
	// time: by then it may have been upgraded.
	lacksFor = time.Minute
	// largeFor is how long all go by themselves after an answer that most of a batch did not
	// fit into: such tasks cost more than their calls, and to read them twice more than that.
	largeFor = time.Second
)

var errLacksGetTasks = connect.NewError(connect.CodeUnimplemented, errors.New("the member is of a release without GetTasks"))

// getting is a read under way.
type getting struct {
	ctx  context.Context //nolint:containedctx // it is a call's, on its way through a queue
	id   string
	done chan struct{}
	res  *v1.GetTaskResponse
	err  error
}

// gettings are queues of reads. Each has one call under way, which keeps about one processor of
// a member busy: so there is one for each 4 processors, up to 4, as a member has short reads.
type gettings struct {
	queues []*gather.Queue[*getting]
	turn   atomic.Uint32
	// large is when most of a batch did not fit.
	large moment
}

func (c *Client) newGettings() *gettings {
	g := &gettings{}
	for range max(1, min(4, runtime.GOMAXPROCS(0)/4)) {
		g.queues = append(g.queues, &gather.Queue[*getting]{
			Patience: stuckAfter, MaxItems: maxBatch, MaxBytes: maxBatchBytes,
			Size: func(g *getting) int { return len(g.id) + 2 },
			Send: c.getTogether,
		})
	}
	return g
}

func (g *gettings) next() *gather.Queue[*getting] {
	return g.queues[int(g.turn.Add(1))%len(g.queues)]
}

// GetTask returns one task with its result. Calls that are made at the same time go to the
// control plane together, but for those that say how fresh the answer must be.
func (c *Client) GetTask(ctx context.Context, req *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
	if _, s := c.pick(); !gathers(req) || s.lackedGetTasks.within(lacksFor) || c.gettings.large.within(largeFor) {
		return c.getAlone(ctx, req)
	}
	g := &getting{ctx: ctx, id: req.GetId(), done: make(chan struct{})}
	if !c.gettings.next().Do(ctx, g, g.done, func() { g.res, g.err = c.getAlone(ctx, req) }) {
		return nil, contextError(ctx)
	}
	return g.res, g.err
}

// GetTasks returns up to 1,000 tasks with their results, as of one moment. Each id has its
// own outcome: look at all of them, since what does not fit into the answer, some 2 MiB, is
// to be asked for again. Members of a release without it answer UNIMPLEMENTED.
func (c *Client) GetTasks(ctx context.Context, req *v1.GetTasksRequest) (*v1.GetTasksResponse, error) {
	return call(ctx, c, method{name: "GetTasks", repeatable: true, short: true}, req,
		func(s *server) unary[v1.GetTasksRequest, v1.GetTasksResponse] { return s.tasks.GetTasks })
}

// gathers reports whether a read may go with others: it asks for no more than its task, as it
// is now, by an id for which no member refuses the whole call.
func gathers(req *v1.GetTaskRequest) bool {
	id := req.GetId()
	switch {
	case id == "" || len(id) > maxIDBytes || !utf8.ValidString(id):
		return false
	case req.GetConsistency() > v1.Consistency_CONSISTENCY_LINEARIZABLE || req.GetConsistency() < 0:
		return false
	}
	return req.GetMinIndex() == 0 && req.GetMaxStaleness() == nil
}

func (c *Client) getAlone(ctx context.Context, req *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
	return call(ctx, c, method{name: "GetTask", repeatable: true, short: true}, req,
		func(s *server) unary[v1.GetTaskRequest, v1.GetTaskResponse] { return s.tasks.GetTask })
}

// getTogether reads a batch. What is not in the answer, as it is not there or does not fit, is
// read again by itself: so its caller gets the task, or the error with all that belongs to it.
// So does everybody if the whole call is refused.
func (c *Client) getTogether(batch []*getting) {
	if len(batch) == 1 {
		batch[0].answer(c.getAlone(batch[0].ctx, &v1.GetTaskRequest{Id: batch[0].id}))
		return
	}
	req := &v1.GetTasksRequest{Ids: make([]string, len(batch))}
	callers := make([]context.Context, len(batch))
	for i, g := range batch {
		req.Ids[i], callers[i] = g.id, g.ctx
	}
	ctx, cancel := gather.Latest(callers, c.options.callTimeout)
	defer cancel()
	res, err := call(withSpanOfOne(ctx, callers), c, method{name: "GetTasks", repeatable: true, short: true}, req, getTasksIfKnown)
	if tooLarge(res.GetOutcomes()) > len(batch)/2 {
		c.gettings.large.note()
	}
	code := connect.CodeOf(err)
	for i, g := range batch {
		switch task := foundTask(res.GetOutcomes(), i); {
		case task != nil:
			g.answer(&v1.GetTaskResponse{Task: task}, nil)
		case err == nil, code == connect.CodeInvalidArgument, code == connect.CodeUnimplemented, gather.Outlasts(g.ctx, ctx):
			go func() { g.answer(c.getAlone(g.ctx, &v1.GetTaskRequest{Id: g.id})) }()
		default:
			g.answer(nil, err)
		}
	}
}

// foundTask is the task of the outcome i, nil if there is none.
func foundTask(outcomes []*v1.GetTaskOutcome, i int) *v1.Task {
	if i >= len(outcomes) {
		return nil
	}
	return outcomes[i].GetTask()
}

// tooLarge is how many tasks did not fit into an answer.
func tooLarge(outcomes []*v1.GetTaskOutcome) (n int) {
	for _, o := range outcomes {
		if o.GetError().GetCode() == connect.CodeResourceExhausted.String() {
			n++
		}
	}
	return n
}

func (g *getting) answer(res *v1.GetTaskResponse, err error) {
	g.res, g.err = res, err
	close(g.done)
}

// getTasksIfKnown is GetTasks of a member, which may be of a release without it: that is
// remembered for a while, in which callers need not wait for each other in vain.
func getTasksIfKnown(s *server) unary[v1.GetTasksRequest, v1.GetTasksResponse] {
	return func(ctx context.Context, req *connect.Request[v1.GetTasksRequest]) (*connect.Response[v1.GetTasksResponse], error) {
		if s.lackedGetTasks.within(lacksFor) {
			return nil, errLacksGetTasks
		}
		res, err := s.tasks.GetTasks(ctx, req)
		if connect.CodeOf(err) == connect.CodeUnimplemented {
			s.lackedGetTasks.note()
		}
		return res, err
	}
}
