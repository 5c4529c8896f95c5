package service

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// ExplainTask implements TaskService.
func (s *server) ExplainTask(ctx context.Context, req *connect.Request[v1.ExplainTaskRequest]) (*connect.Response[v1.ExplainTaskResponse], error) {
	return call[v1.ExplainTaskResponse]{
		header: req.Header(),
		key:    "id",
		here: func(ctx context.Context) (*v1.ExplainTaskResponse, error) {
			e, err := s.Scheduler.Explain(ctx, req.Msg.GetId())
			if err != nil {
				return nil, err
			}
			return explanationToProto(e), nil
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.ExplainTaskResponse], error) {
			return p.tasks.ExplainTask(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

func explanationToProto(e *controlplane.Explanation) *v1.ExplainTaskResponse {
	out := &v1.ExplainTaskResponse{
		Status: taskStatusToProto[e.Status], Summary: e.Summary, Placeable: e.Placeable, NodeId: e.NodeID, Hold: e.Hold,
		TasksAhead: int32(e.TasksAhead), Nodes: int32(e.Nodes), //nolint:gosec // fewer than keys and what is in memory
	}
	for _, r := range e.Rejections {
		out.Rejections = append(out.Rejections, &v1.NodeRejection{Reason: r.Reason, Message: r.Message, Nodes: int32(r.Nodes), NodeIds: r.NodeIDs}) //nolint:gosec // nodes are in memory
	}
	if e.NearestNode != "" {
		out.NearestMiss = &v1.NearestMiss{NodeId: e.NearestNode, Message: e.NearestMiss}
	}
	return out
}

// optDuration is nil for one that is not set.
func optDuration(d *durationpb.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	v := d.AsDuration()
	return &v
}
