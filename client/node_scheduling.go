package client

import (
	"context"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// CordonNode keeps new tasks from a node.
func (c *Client) CordonNode(ctx context.Context, req *v1.CordonNodeRequest) (*v1.CordonNodeResponse, error) {
	return call(ctx, c, method{name: "CordonNode", repeatable: true}, req,
		func(s *server) unary[v1.CordonNodeRequest, v1.CordonNodeResponse] { return s.nodes.CordonNode })
}

// UncordonNode lets a node have new tasks again.
func (c *Client) UncordonNode(ctx context.Context, req *v1.UncordonNodeRequest) (*v1.UncordonNodeResponse, error) {
	return call(ctx, c, method{name: "UncordonNode", repeatable: true}, req,
		func(s *server) unary[v1.UncordonNodeRequest, v1.UncordonNodeResponse] { return s.nodes.UncordonNode })
}

// DrainNode takes the work off a node. Repeated, it moves the deadline.
func (c *Client) DrainNode(ctx context.Context, req *v1.DrainNodeRequest) (*v1.DrainNodeResponse, error) {
	return call(ctx, c, method{name: "DrainNode", repeatable: true}, req,
		func(s *server) unary[v1.DrainNodeRequest, v1.DrainNodeResponse] { return s.nodes.DrainNode })
}

// RemoveNode forgets a node that is gone. It is tried again only if nothing was changed: a
// repeat would not find the node.
func (c *Client) RemoveNode(ctx context.Context, req *v1.RemoveNodeRequest) (*v1.RemoveNodeResponse, error) {
	return call(ctx, c, method{name: "RemoveNode"}, req,
		func(s *server) unary[v1.RemoveNodeRequest, v1.RemoveNodeResponse] { return s.nodes.RemoveNode })
}

// ExplainTask tells why a task is where it is.
func (c *Client) ExplainTask(ctx context.Context, req *v1.ExplainTaskRequest) (*v1.ExplainTaskResponse, error) {
	return call(ctx, c, method{name: "ExplainTask", repeatable: true}, req,
		func(s *server) unary[v1.ExplainTaskRequest, v1.ExplainTaskResponse] { return s.tasks.ExplainTask })
}
