package service

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Heartbeat implements NodeService.
func (s *server) Heartbeat(ctx context.Context, req *connect.Request[v1.HeartbeatRequest]) (*connect.Response[v1.HeartbeatResponse], error) {
	if req.Msg.GetSpec() != nil {
		if err := checkNodeSpec(req.Msg.GetSpec()); err != nil {
			return nil, err
		}
	}
	return call[v1.HeartbeatResponse]{
		header: req.Header(),
		key:    "session_id",
		here: func(ctx context.Context) (*v1.HeartbeatResponse, error) {
			work, err := s.Scheduler.Heartbeat(ctx, heartbeatFromProto(req.Msg))
			return &v1.HeartbeatResponse{Lease: durationToProto(work.Lease), Stop: stopsToProto(work.Stop), LogGeneration: s.logGeneration}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.HeartbeatResponse], error) {
			return p.nodes.Heartbeat(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// PollTask implements NodeService.
func (s *server) PollTask(ctx context.Context, req *connect.Request[v1.PollTaskRequest]) (*connect.Response[v1.PollTaskResponse], error) {
	ctx, cancel := untilClosing(ctx)
	defer cancel()
	left := countdown(req.Msg.GetWait())
	res, err := call[v1.PollTaskResponse]{
		header: req.Header(),
		key:    "held_complete",
		poll:   true,
		here: func(ctx context.Context) (*v1.PollTaskResponse, error) {
			work, err := s.Scheduler.Poll(ctx, controlplane.Poll{
				NodeID: req.Msg.GetNodeId(), SessionID: req.Msg.GetSessionId(), MaxTasks: max(int(req.Msg.GetMaxTasks()), 1), Wait: left(),
				Held: heldFromProto(req.Msg.GetHeld()), Progress: progressOfHeld(req.Msg.GetHeld()), HeldComplete: req.Msg.GetHeldComplete()})
			if err != nil {
				return nil, err
			}
			res := &v1.PollTaskResponse{Stop: stopsToProto(work.Stop), Lease: durationToProto(work.Lease)}
			res.Tasks = deliverable(work.Tasks)
			return res, nil
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.PollTaskResponse], error) {
			msg := proto.CloneOf(req.Msg)
			msg.Wait = durationpb.New(left())
			return p.nodes.PollTask(ctx, connect.NewRequest(msg))
		},
	}.do(ctx, s)
	if err != nil && isClosing(ctx) {
		return connect.NewResponse(&v1.PollTaskResponse{}), nil // poll again, elsewhere
	}
	return res, err
}

// ReportTaskResult implements NodeService.
func (s *server) ReportTaskResult(ctx context.Context, req *connect.Request[v1.ReportTaskResultRequest]) (*connect.Response[v1.ReportTaskResultResponse], error) {
	m := req.Msg
	if err := checkOutcome("", m); err != nil {
		return nil, err
	}
	return call[v1.ReportTaskResultResponse]{
		header: req.Header(),
		key:    "attempt",
		here: func(ctx context.Context) (*v1.ReportTaskResultResponse, error) {
			outcomes, err := s.Scheduler.Report(ctx, m.GetNodeId(), m.GetSessionId(), []controlplane.Result{{
				TaskID: m.GetTaskId(), Attempt: m.GetAttempt(), Status: taskStatusFromProto[m.GetStatus()],
				Result: m.GetResult(), Error: m.GetError(), ExitCode: m.ExitCode, LogTail: m.GetLogTail(), LogOffset: m.GetLogOffset(),
				Permanent: m.GetPermanent(), RetryAfter: m.GetRetryAfter().AsDuration(), Progress: progressFromProto(m.GetProgress())}})
			if err != nil {
				return nil, err
			}
			s.logKept(m.GetTaskId(), m.GetAttempt(), outcomes[0].Err)
			return &v1.ReportTaskResultResponse{Status: taskStatusToProto[outcomes[0].Status]}, outcomes[0].Err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.ReportTaskResultResponse], error) {
			return p.nodes.ReportTaskResult(ctx, connect.NewRequest(m))
		},
	}.do(ctx, s)
}

// ReportTaskResults implements NodeService.
func (s *server) ReportTaskResults(ctx context.Context, req *connect.Request[v1.ReportTaskResultsRequest]) (*connect.Response[v1.ReportTaskResultsResponse], error) {
	if err := checkResults(req.Msg.GetResults()); err != nil {
		return nil, err
	}
	left := countdown(req.Msg.GetWait())
	return call[v1.ReportTaskResultsResponse]{
		header: req.Header(),
		key:    "results.attempt",
		here: func(ctx context.Context) (*v1.ReportTaskResultsResponse, error) {
			return s.reportResults(ctx, req.Msg, left())
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.ReportTaskResultsResponse], error) {
			msg := proto.CloneOf(req.Msg)
			msg.Wait = durationpb.New(left())
			return p.nodes.ReportTaskResults(ctx, connect.NewRequest(msg))
		},
	}.do(ctx, s)
}

func (s *server) reportResults(ctx context.Context, m *v1.ReportTaskResultsRequest, wait time.Duration) (*v1.ReportTaskResultsResponse, error) {
	results := make([]controlplane.Result, len(m.GetResults()))
	for i, r := range m.GetResults() {
		results[i] = resultFromProto(r)
	}
	var outcomes []controlplane.ReportOutcome
	var work controlplane.Work
	var err error
	if m.GetMaxTasks() > 0 {
		ctx, cancel := untilClosing(ctx)
		defer cancel()
		outcomes, work, err = s.Scheduler.ReportAndPoll(ctx, controlplane.Poll{
			NodeID: m.GetNodeId(), SessionID: m.GetSessionId(), MaxTasks: int(m.GetMaxTasks()), Wait: wait}, results)
	} else if len(results) > 0 {
		outcomes, err = s.Scheduler.Report(ctx, m.GetNodeId(), m.GetSessionId(), results)
	}
	if err != nil {
		return nil, err
	}
	res := &v1.ReportTaskResultsResponse{Stop: stopsToProto(work.Stop), Lease: durationToProto(work.Lease), Tasks: deliverable(work.Tasks)}
	for i, o := range outcomes {
		s.logKept(results[i].TaskID, results[i].Attempt, o.Err)
		res.Outcomes = append(res.Outcomes, s.reportOutcome(i, o))
	}
	return res, nil
}

func (s *server) reportOutcome(i int, o controlplane.ReportOutcome) *v1.ReportOutcome {
	if o.Err == nil {
		return &v1.ReportOutcome{Outcome: &v1.ReportOutcome_Status{Status: taskStatusToProto[o.Status]}}
	}
	item := s.itemError("ReportTaskResults", within(fmt.Sprintf("results[%d]", i), o.Err))
	return &v1.ReportOutcome{Outcome: &v1.ReportOutcome_Error{Error: item}}
}

// deliverable are the first tasks that fit into a response. The others count as
// lost on the way: the node does not list them, so they are handed out again.
func deliverable(tasks []*controlplane.Task) []*v1.Task {
	out := tasksToProto(tasks)
	return out[:cutPage(out, len(out))]
}

// countdown returns a function that tells how much of a wait is left.
func countdown(wait *durationpb.Duration) func() time.Duration {
	end := time.Now().Add(wait.AsDuration())
	return func() time.Duration { return max(time.Until(end), 0) }
}

// GetNode implements NodeService.
func (s *server) GetNode(ctx context.Context, req *connect.Request[v1.GetNodeRequest]) (*connect.Response[v1.GetNodeResponse], error) {
	var node *controlplane.Node
	err := s.read(ctx, req.Header(), req.Msg, func(ctx context.Context, opts db.ReadOptions) (err error) {
		node, err = s.Tasks.GetNode(ctx, req.Msg.GetId(), opts)
		if controlplane.CodeOf(err) == controlplane.CodeNotFound { // what workers are told, to register, is not for those who look
			err = &controlplane.Error{Code: controlplane.CodeNotFound, Field: "id", Message: "there is no node " + req.Msg.GetId() + ": check the id, or list the nodes"}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&v1.GetNodeResponse{Node: nodeToProto(node)}), nil
}

// ListNodes implements NodeService.
func (s *server) ListNodes(ctx context.Context, req *connect.Request[v1.ListNodesRequest]) (*connect.Response[v1.ListNodesResponse], error) {
	after, err := s.tokens.read(req.Msg, req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	limit := pageSize(req.Msg.GetPageSize())
	statuses := mapped(req.Msg.GetStatuses(), nodeStatusFromProto)
	var nodes []*controlplane.Node
	err = s.read(ctx, req.Header(), req.Msg, func(ctx context.Context, opts db.ReadOptions) (err error) {
		nodes, err = s.Tasks.ListNodes(ctx, statuses, string(after), limit+1, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	res := &v1.ListNodesResponse{}
	for _, n := range nodes {
		res.Nodes = append(res.Nodes, nodeToProto(n))
	}
	if n := cutPage(res.Nodes, limit); n < len(nodes) {
		res.Nodes = res.Nodes[:n]
		res.NextPageToken = s.tokens.make(req.Msg, []byte(nodes[n-1].ID))
	}
	return connect.NewResponse(res), nil
}
