package client

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// SubmitTask stores one task. If the request has neither task.id nor request_id
// the task is given an id here, so that trying again cannot store it twice, and the
// span of ctx if it names none; the caller's message is not changed. Calls that are
// made at the same time go to the control plane together.
func (c *Client) SubmitTask(ctx context.Context, req *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
	own, err := withKey(withSpan(ctx, req))
	if err != nil {
		return nil, err
	}
	if own == req && ctx.Done() != nil {
		own = proto.CloneOf(req) // it may be under way yet, with others, when a caller who has left uses it again
	}
	return c.submit(ctx, own)
}

// SubmitTasks stores up to 1,000 tasks, each as SubmitTask does. Each has its
// own outcome: look at all of them.
func (c *Client) SubmitTasks(ctx context.Context, req *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
	keyed := &v1.SubmitTasksRequest{Requests: make([]*v1.SubmitTaskRequest, len(req.GetRequests()))}
	for i, r := range req.GetRequests() {
		var err error
		if keyed.Requests[i], err = withKey(withSpan(ctx, r)); err != nil {
			return nil, err
		}
	}
	return c.sendTasks(ctx, keyed)
}

// sendTasks submits tasks that have their keys and their spans.
func (c *Client) sendTasks(ctx context.Context, req *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
	return call(ctx, c, method{name: "SubmitTasks", repeatable: true, short: true}, req,
		func(s *server) unary[v1.SubmitTasksRequest, v1.SubmitTasksResponse] { return s.tasks.SubmitTasks })
}

// withKey returns req with a key that makes a retry safe.
func withKey(req *v1.SubmitTaskRequest) (*v1.SubmitTaskRequest, error) {
	if hasKey(req) {
		return req, nil
	}
	req = proto.CloneOf(req)
	return req, giveKey(req)
}

func hasKey(req *v1.SubmitTaskRequest) bool {
	return req.GetRequestId() != "" || req.GetTask().GetId() != ""
}

// giveKey makes a retry safe if nothing does. The key is the task's id: a request_id would
// be kept and indexed beside the id that the task gets anyway, 88 bytes and a tenth of what
// it takes to apply a submission. It is a UUIDv7 like the control plane's own, ordered by
// time, which keeps the index compact.
func giveKey(req *v1.SubmitTaskRequest) error {
	if hasKey(req) || req.GetTask() == nil { // a request without a task is refused
		return nil
	}
	id, err := uuid.NewV7FromReader(random{})
	if err != nil {
		return connect.NewError(connect.CodeInternal, fmt.Errorf("make a task id: %w", err))
	}
	req.Task.Id = id.String()
	return nil
}

// random reads the generator of math/rand/v2, which the operating system seeds and which is
// hard to guess, ChaCha8. To ask the system for each id took 5 % of a submission's CPU at its
// caller.
type random struct{}

// Read implements io.Reader.
func (random) Read(b []byte) (int, error) {
	var word [8]byte
	for rest := b; len(rest) > 0; rest = rest[copy(rest, word[:]):] {
		binary.LittleEndian.PutUint64(word[:], rand.Uint64())
	}
	return len(b), nil
}

// ListTasks returns a page of tasks, newest first.
func (c *Client) ListTasks(ctx context.Context, req *v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
	return call(ctx, c, method{name: "ListTasks", repeatable: true}, req,
		func(s *server) unary[v1.ListTasksRequest, v1.ListTasksResponse] { return s.tasks.ListTasks })
}

// CancelTasks cancels the tasks that match, a page in a call.
func (c *Client) CancelTasks(ctx context.Context, req *v1.CancelTasksRequest) (*v1.CancelTasksResponse, error) {
	return call(ctx, c, method{name: "CancelTasks", repeatable: true}, req,
		func(s *server) unary[v1.CancelTasksRequest, v1.CancelTasksResponse] { return s.tasks.CancelTasks })
}

// RetryTask puts a task that failed or was cancelled back to its queue.
func (c *Client) RetryTask(ctx context.Context, req *v1.RetryTaskRequest) (*v1.RetryTaskResponse, error) {
	return call(ctx, c, method{name: "RetryTask", repeatable: true}, req,
		func(s *server) unary[v1.RetryTaskRequest, v1.RetryTaskResponse] { return s.tasks.RetryTask })
}

// CancelTask ends a task, or asks its node to stop it.
func (c *Client) CancelTask(ctx context.Context, req *v1.CancelTaskRequest) (*v1.CancelTaskResponse, error) {
	return call(ctx, c, method{name: "CancelTask", repeatable: true, short: true}, req,
		func(s *server) unary[v1.CancelTaskRequest, v1.CancelTaskResponse] { return s.tasks.CancelTask })
}
