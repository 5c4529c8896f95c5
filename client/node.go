package client

import (
	"context"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Heartbeat registers a node or renews its lease. The lease counts from when
// this was called, although a later attempt may have been the one that renewed
// it.
func (c *Client) Heartbeat(ctx context.Context, req *v1.HeartbeatRequest) (*v1.HeartbeatResponse, error) {
	return call(ctx, c, method{name: "Heartbeat", repeatable: true, short: true}, req,
		func(s *server) unary[v1.HeartbeatRequest, v1.HeartbeatResponse] { return s.nodes.Heartbeat })
}

// PollTask waits for work. After an error the answer may be lost: set
// held_complete in the next poll.
func (c *Client) PollTask(ctx context.Context, req *v1.PollTaskRequest) (*v1.PollTaskResponse, error) {
	return call(ctx, c, method{name: "PollTask", wait: req.GetWait().AsDuration()}, req,
		func(s *server) unary[v1.PollTaskRequest, v1.PollTaskResponse] { return s.nodes.PollTask })
}

// ReportTaskResult records how an attempt ended.
func (c *Client) ReportTaskResult(ctx context.Context, req *v1.ReportTaskResultRequest) (*v1.ReportTaskResultResponse, error) {
	return call(ctx, c, method{name: "ReportTaskResult", repeatable: true, short: true}, req,
		func(s *server) unary[v1.ReportTaskResultRequest, v1.ReportTaskResultResponse] {
			return s.nodes.ReportTaskResult
		})
}

// ReportTaskResults records several results and, with max_tasks, polls in the
// same call. With a poll it is tried again only as PollTask is: after an error,
// report the same results again and set held_complete in the next poll.
func (c *Client) ReportTaskResults(ctx context.Context, req *v1.ReportTaskResultsRequest) (*v1.ReportTaskResultsResponse, error) {
	m := method{name: "ReportTaskResults", repeatable: req.GetMaxTasks() == 0, short: true}
	if req.GetMaxTasks() > 0 {
		m.wait = req.GetWait().AsDuration()
	}
	return call(ctx, c, m, req,
		func(s *server) unary[v1.ReportTaskResultsRequest, v1.ReportTaskResultsResponse] {
			return s.nodes.ReportTaskResults
		})
}

// ListNodes returns a page of nodes, by id.
func (c *Client) ListNodes(ctx context.Context, req *v1.ListNodesRequest) (*v1.ListNodesResponse, error) {
	return call(ctx, c, method{name: "ListNodes", repeatable: true}, req,
		func(s *server) unary[v1.ListNodesRequest, v1.ListNodesResponse] { return s.nodes.ListNodes })
}

// GetNode returns one node.
func (c *Client) GetNode(ctx context.Context, req *v1.GetNodeRequest) (*v1.GetNodeResponse, error) {
	return call(ctx, c, method{name: "GetNode", repeatable: true}, req,
		func(s *server) unary[v1.GetNodeRequest, v1.GetNodeResponse] { return s.nodes.GetNode })
}
