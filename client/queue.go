package client

import (
	"context"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// CreateQueue gives settings to a queue.
func (c *Client) CreateQueue(ctx context.Context, req *v1.CreateQueueRequest) (*v1.CreateQueueResponse, error) {
	return call(ctx, c, method{name: "CreateQueue", repeatable: true}, req,
		func(s *server) unary[v1.CreateQueueRequest, v1.CreateQueueResponse] { return s.queues.CreateQueue })
}

// UpdateQueue changes settings of a queue.
func (c *Client) UpdateQueue(ctx context.Context, req *v1.UpdateQueueRequest) (*v1.UpdateQueueResponse, error) {
	return call(ctx, c, method{name: "UpdateQueue", repeatable: true}, req,
		func(s *server) unary[v1.UpdateQueueRequest, v1.UpdateQueueResponse] { return s.queues.UpdateQueue })
}

// PauseQueue stops placements from a queue.
func (c *Client) PauseQueue(ctx context.Context, req *v1.PauseQueueRequest) (*v1.PauseQueueResponse, error) {
	return call(ctx, c, method{name: "PauseQueue", repeatable: true}, req,
		func(s *server) unary[v1.PauseQueueRequest, v1.PauseQueueResponse] { return s.queues.PauseQueue })
}

// ResumeQueue lets a queue have placements again.
func (c *Client) ResumeQueue(ctx context.Context, req *v1.ResumeQueueRequest) (*v1.ResumeQueueResponse, error) {
	return call(ctx, c, method{name: "ResumeQueue", repeatable: true}, req,
		func(s *server) unary[v1.ResumeQueueRequest, v1.ResumeQueueResponse] { return s.queues.ResumeQueue })
}

// DeleteQueue takes the settings of an empty queue away. It is tried again only if
// nothing was changed: a repeat would not find the queue.
func (c *Client) DeleteQueue(ctx context.Context, req *v1.DeleteQueueRequest) (*v1.DeleteQueueResponse, error) {
	return call(ctx, c, method{name: "DeleteQueue"}, req,
		func(s *server) unary[v1.DeleteQueueRequest, v1.DeleteQueueResponse] { return s.queues.DeleteQueue })
}

// GetQueue returns one queue.
func (c *Client) GetQueue(ctx context.Context, req *v1.GetQueueRequest) (*v1.GetQueueResponse, error) {
	return call(ctx, c, method{name: "GetQueue", repeatable: true}, req,
		func(s *server) unary[v1.GetQueueRequest, v1.GetQueueResponse] { return s.queues.GetQueue })
}

// ListQueues returns a page of queues, by name.
func (c *Client) ListQueues(ctx context.Context, req *v1.ListQueuesRequest) (*v1.ListQueuesResponse, error) {
	return call(ctx, c, method{name: "ListQueues", repeatable: true}, req,
		func(s *server) unary[v1.ListQueuesRequest, v1.ListQueuesResponse] { return s.queues.ListQueues })
}
