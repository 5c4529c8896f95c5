package service

import (
	"context"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// CreateQueue implements QueueService.
func (s *server) CreateQueue(ctx context.Context, req *connect.Request[v1.CreateQueueRequest]) (*connect.Response[v1.CreateQueueResponse], error) {
	return call[v1.CreateQueueResponse]{
		header: req.Header(),
		key:    "queue.name",
		here: func(ctx context.Context) (*v1.CreateQueueResponse, error) {
			q, err := s.Tasks.CreateQueue(ctx, req.Msg.GetQueue().GetName(), queueFromProto(req.Msg.GetQueue()))
			return &v1.CreateQueueResponse{Queue: queueToProto(q)}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.CreateQueueResponse], error) {
			return p.queues.CreateQueue(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// UpdateQueue implements QueueService.
func (s *server) UpdateQueue(ctx context.Context, req *connect.Request[v1.UpdateQueueRequest]) (*connect.Response[v1.UpdateQueueResponse], error) {
	return call[v1.UpdateQueueResponse]{
		header: req.Header(),
		key:    "queue.name",
		here: func(ctx context.Context) (*v1.UpdateQueueResponse, error) {
			q, err := s.Tasks.UpdateQueue(ctx, req.Msg.GetQueue().GetName(), queueFromProto(req.Msg.GetQueue()), queueFieldsFromProto(req.Msg.GetFields()))
			return &v1.UpdateQueueResponse{Queue: queueToProto(q)}, within("queue", err)
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.UpdateQueueResponse], error) {
			return p.queues.UpdateQueue(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// PauseQueue implements QueueService.
func (s *server) PauseQueue(ctx context.Context, req *connect.Request[v1.PauseQueueRequest]) (*connect.Response[v1.PauseQueueResponse], error) {
	return call[v1.PauseQueueResponse]{
		header: req.Header(),
		key:    "name",
		here: func(ctx context.Context) (*v1.PauseQueueResponse, error) {
			q, err := s.Tasks.UpdateQueue(ctx, req.Msg.GetName(), controlplane.QueueSettings{Paused: true}, controlplane.QueuePaused)
			return &v1.PauseQueueResponse{Queue: queueToProto(q)}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.PauseQueueResponse], error) {
			return p.queues.PauseQueue(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// ResumeQueue implements QueueService.
func (s *server) ResumeQueue(ctx context.Context, req *connect.Request[v1.ResumeQueueRequest]) (*connect.Response[v1.ResumeQueueResponse], error) {
	return call[v1.ResumeQueueResponse]{
		header: req.Header(),
		key:    "name",
		here: func(ctx context.Context) (*v1.ResumeQueueResponse, error) {
			q, err := s.Tasks.UpdateQueue(ctx, req.Msg.GetName(), controlplane.QueueSettings{}, controlplane.QueuePaused)
			return &v1.ResumeQueueResponse{Queue: queueToProto(q)}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.ResumeQueueResponse], error) {
			return p.queues.ResumeQueue(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// DeleteQueue implements QueueService.
func (s *server) DeleteQueue(ctx context.Context, req *connect.Request[v1.DeleteQueueRequest]) (*connect.Response[v1.DeleteQueueResponse], error) {
	return call[v1.DeleteQueueResponse]{
		header: req.Header(),
		key:    "name",
		here: func(ctx context.Context) (*v1.DeleteQueueResponse, error) {
			return &v1.DeleteQueueResponse{}, s.Tasks.DeleteQueue(ctx, req.Msg.GetName())
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.DeleteQueueResponse], error) {
			return p.queues.DeleteQueue(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// GetQueue implements QueueService.
func (s *server) GetQueue(ctx context.Context, req *connect.Request[v1.GetQueueRequest]) (*connect.Response[v1.GetQueueResponse], error) {
	res := &v1.GetQueueResponse{}
	err := s.read(ctx, req.Header(), req.Msg, func(ctx context.Context, opts db.ReadOptions) error {
		q, err := s.Tasks.GetQueue(ctx, req.Msg.GetName(), opts)
		res.Queue = queueToProto(q)
		return err
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// ListQueues implements QueueService.
func (s *server) ListQueues(ctx context.Context, req *connect.Request[v1.ListQueuesRequest]) (*connect.Response[v1.ListQueuesResponse], error) {
	after, err := s.tokens.read(req.Msg, req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	limit := pageSize(req.Msg.GetPageSize())
	var queues []*controlplane.Queue
	err = s.read(ctx, req.Header(), req.Msg, func(ctx context.Context, opts db.ReadOptions) (err error) {
		queues, err = s.Tasks.ListQueues(ctx, string(after), limit+1, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	res := &v1.ListQueuesResponse{}
	for _, q := range queues {
		res.Queues = append(res.Queues, queueToProto(q))
	}
	if n := cutPage(res.Queues, limit); n < len(queues) {
		res.Queues = res.Queues[:n]
		res.NextPageToken = s.tokens.make(req.Msg, []byte(queues[n-1].Name))
	}
	return connect.NewResponse(res), nil
}
