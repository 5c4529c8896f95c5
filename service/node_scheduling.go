package service

import (
	"context"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// nodeAfter returns a node as it stands after a change that this member has made.
func (s *server) nodeAfter(ctx context.Context, id string, err error) (*v1.Node, error) {
	if err != nil {
		return nil, err
	}
	n, err := s.Tasks.GetNode(ctx, id, db.ReadOptions{Level: db.Stale})
	if err != nil {
		return nil, err
	}
	return nodeToProto(n), nil
}

// CordonNode implements NodeService.
func (s *server) CordonNode(ctx context.Context, req *connect.Request[v1.CordonNodeRequest]) (*connect.Response[v1.CordonNodeResponse], error) {
	return call[v1.CordonNodeResponse]{
		header: req.Header(),
		key:    "id",
		here: func(ctx context.Context) (*v1.CordonNodeResponse, error) {
			n, err := s.nodeAfter(ctx, req.Msg.GetId(), s.Scheduler.Cordon(ctx, req.Msg.GetId()))
			return &v1.CordonNodeResponse{Node: n}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.CordonNodeResponse], error) {
			return p.nodes.CordonNode(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// UncordonNode implements NodeService.
func (s *server) UncordonNode(ctx context.Context, req *connect.Request[v1.UncordonNodeRequest]) (*connect.Response[v1.UncordonNodeResponse], error) {
	return call[v1.UncordonNodeResponse]{
		header: req.Header(),
		key:    "id",
		here: func(ctx context.Context) (*v1.UncordonNodeResponse, error) {
			n, err := s.nodeAfter(ctx, req.Msg.GetId(), s.Scheduler.Uncordon(ctx, req.Msg.GetId()))
			return &v1.UncordonNodeResponse{Node: n}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.UncordonNodeResponse], error) {
			return p.nodes.UncordonNode(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// DrainNode implements NodeService.
func (s *server) DrainNode(ctx context.Context, req *connect.Request[v1.DrainNodeRequest]) (*connect.Response[v1.DrainNodeResponse], error) {
	return call[v1.DrainNodeResponse]{
		header: req.Header(),
		key:    "id",
		here: func(ctx context.Context) (*v1.DrainNodeResponse, error) {
			n, err := s.nodeAfter(ctx, req.Msg.GetId(), s.Scheduler.Drain(ctx, req.Msg.GetId(), optDuration(req.Msg.GetDeadline())))
			return &v1.DrainNodeResponse{Node: n}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.DrainNodeResponse], error) {
			return p.nodes.DrainNode(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// RemoveNode implements NodeService.
func (s *server) RemoveNode(ctx context.Context, req *connect.Request[v1.RemoveNodeRequest]) (*connect.Response[v1.RemoveNodeResponse], error) {
	return call[v1.RemoveNodeResponse]{
		header: req.Header(),
		key:    "id",
		here: func(ctx context.Context) (*v1.RemoveNodeResponse, error) {
			return &v1.RemoveNodeResponse{}, s.Scheduler.Remove(ctx, req.Msg.GetId())
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.RemoveNodeResponse], error) {
			return p.nodes.RemoveNode(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}
