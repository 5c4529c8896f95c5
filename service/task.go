package service

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// defaultCancelTasks is how many tasks CancelTasks cancels in one call.
const defaultCancelTasks = 1000

// SubmitTask implements TaskService.
func (s *server) SubmitTask(ctx context.Context, req *connect.Request[v1.SubmitTaskRequest]) (*connect.Response[v1.SubmitTaskResponse], error) {
	if err := checkTask(req.Msg.GetTask()); err != nil {
		return nil, within("task", err)
	}
	return call[v1.SubmitTaskResponse]{
		header: req.Header(),
		key:    submitKey(req.Msg),
		here: func(ctx context.Context) (*v1.SubmitTaskResponse, error) {
			task := &controlplane.Task{}
			taskFromProto(task, req.Msg)
			t, err := s.Tasks.AddTask(ctx, task)
			if err == nil && req.Msg.GetIdOnly() {
				return &v1.SubmitTaskResponse{Task: &v1.Task{Id: t.ID}}, nil
			}
			return &v1.SubmitTaskResponse{Task: taskToProto(t)}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.SubmitTaskResponse], error) {
			return p.tasks.SubmitTask(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// SubmitTasks implements TaskService.
func (s *server) SubmitTasks(ctx context.Context, req *connect.Request[v1.SubmitTasksRequest]) (*connect.Response[v1.SubmitTasksResponse], error) {
	for i, r := range req.Msg.GetRequests() {
		if err := checkTask(r.GetTask()); err != nil {
			return nil, within(fmt.Sprintf("requests[%d].task", i), err)
		}
	}
	return call[v1.SubmitTasksResponse]{
		header: req.Header(),
		key:    submitKey(req.Msg.GetRequests()...),
		here: func(ctx context.Context) (*v1.SubmitTasksResponse, error) {
			return s.addTasks(ctx, req.Msg.GetRequests())
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.SubmitTasksResponse], error) {
			return p.tasks.SubmitTasks(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// submitKey names what makes a repeat of submissions safe; "" if one has no key.
func submitKey(requests ...*v1.SubmitTaskRequest) string {
	byID, byRequest := false, false
	for _, r := range requests {
		switch {
		case r.GetTask().GetId() != "":
			byID = true
		case r.GetRequestId() != "":
			byRequest = true
		default:
			return ""
		}
	}
	switch {
	case byID && byRequest:
		return "task.id, request_id"
	case byID:
		return "task.id"
	}
	return "request_id"
}

func (s *server) addTasks(ctx context.Context, requests []*v1.SubmitTaskRequest) (*v1.SubmitTasksResponse, error) {
	outcomes, err := s.Tasks.AddEach(ctx, len(requests), tasksFromProto(requests))
	if err != nil {
		return nil, err
	}
	res := &v1.SubmitTasksResponse{Outcomes: make([]*v1.SubmitTaskOutcome, len(outcomes))}
	for i, o := range outcomes {
		res.Outcomes[i] = s.submitOutcome(i, o, requests[i])
	}
	return res, nil
}

func (s *server) submitOutcome(i int, o db.AddOutcome, req *v1.SubmitTaskRequest) *v1.SubmitTaskOutcome {
	switch {
	case o.Err == nil && req.GetIdOnly():
		return &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_TaskId{TaskId: o.Task.ID}}
	case o.Err == nil:
		return &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_Task{Task: taskToProto(o.Task)}}
	}
	item := s.itemError("SubmitTasks", within(fmt.Sprintf("requests[%d]", i), o.Err))
	return &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_Error{Error: item}}
}

// CancelTask implements TaskService.
func (s *server) CancelTask(ctx context.Context, req *connect.Request[v1.CancelTaskRequest]) (*connect.Response[v1.CancelTaskResponse], error) {
	return call[v1.CancelTaskResponse]{
		header: req.Header(),
		key:    "id",
		here: func(ctx context.Context) (*v1.CancelTaskResponse, error) {
			t, err := s.Tasks.CancelTask(ctx, req.Msg.GetId())
			return &v1.CancelTaskResponse{Task: taskToProto(t)}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.CancelTaskResponse], error) {
			return p.tasks.CancelTask(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// CancelTasks implements TaskService.
func (s *server) CancelTasks(ctx context.Context, req *connect.Request[v1.CancelTasksRequest]) (*connect.Response[v1.CancelTasksResponse], error) {
	if err := checkCancelTasks(req.Msg); err != nil {
		return nil, err
	}
	place, err := s.tokens.read(req.Msg, req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	limit := int(req.Msg.GetPageSize())
	if limit == 0 {
		limit = defaultCancelTasks
	}
	return call[v1.CancelTasksResponse]{
		header: req.Header(),
		key:    "page_token",
		here: func(ctx context.Context) (*v1.CancelTasksResponse, error) {
			counts, err := s.Tasks.CancelTasks(ctx, cancelFilterFromProto(req.Msg), placeSeq(place), limit)
			res := &v1.CancelTasksResponse{Cancelled: int32(counts.Cancelled), Stopping: int32(counts.Stopping)}
			if counts.Next > 0 {
				res.NextPageToken = s.tokens.make(req.Msg, seqPlace(counts.Next))
			}
			return res, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.CancelTasksResponse], error) {
			return p.tasks.CancelTasks(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// RetryTask implements TaskService.
func (s *server) RetryTask(ctx context.Context, req *connect.Request[v1.RetryTaskRequest]) (*connect.Response[v1.RetryTaskResponse], error) {
	return call[v1.RetryTaskResponse]{
		header: req.Header(),
		key:    "id",
		here: func(ctx context.Context) (*v1.RetryTaskResponse, error) {
			t, err := s.Tasks.RetryTask(ctx, req.Msg.GetId())
			return &v1.RetryTaskResponse{Task: taskToProto(t)}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.RetryTaskResponse], error) {
			return p.tasks.RetryTask(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// GetTask implements TaskService.
func (s *server) GetTask(ctx context.Context, req *connect.Request[v1.GetTaskRequest]) (*connect.Response[v1.GetTaskResponse], error) {
	res := &v1.GetTaskResponse{}
	err := s.read(ctx, req.Header(), req.Msg, func(ctx context.Context, opts db.ReadOptions) error {
		t, err := s.Tasks.GetTask(ctx, req.Msg.GetId(), opts)
		res.Task = taskToProto(t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// maxTasksBytes is about how many bytes of tasks GetTasks answers with: in JSON, where a byte
// of text may take six, they stay below maxSendBytes.
const maxTasksBytes = 2 << 20

// GetTasks implements TaskService.
func (s *server) GetTasks(ctx context.Context, req *connect.Request[v1.GetTasksRequest]) (*connect.Response[v1.GetTasksResponse], error) {
	ids := req.Msg.GetIds()
	var tasks []*controlplane.Task
	err := s.read(ctx, req.Header(), req.Msg, func(ctx context.Context, opts db.ReadOptions) (err error) {
		tasks, err = s.Tasks.GetTasks(ctx, ids, maxTasksBytes, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	res := &v1.GetTasksResponse{Outcomes: make([]*v1.GetTaskOutcome, len(ids))}
	for i, id := range ids {
		res.Outcomes[i] = s.getOutcome(i, id, tasks)
	}
	return connect.NewResponse(res), nil
}

// getOutcome is the outcome of the id at a place, of tasks that have been read up to some place.
func (s *server) getOutcome(i int, id string, tasks []*controlplane.Task) *v1.GetTaskOutcome {
	var err *controlplane.Error
	switch {
	case i >= len(tasks):
		err = controlplane.Errorf(controlplane.CodeExhausted, "the tasks before this one fill the answer, which has some %d MiB: ask again for the ids from here on", maxTasksBytes>>20)
	case tasks[i] == nil:
		err = db.TaskNotFound(id)
	default:
		return &v1.GetTaskOutcome{Outcome: &v1.GetTaskOutcome_Task{Task: taskToProto(tasks[i])}}
	}
	err.Field = fmt.Sprintf("ids[%d]", i)
	return &v1.GetTaskOutcome{Outcome: &v1.GetTaskOutcome_Error{Error: s.itemError("GetTasks", err)}}
}

// ListTasks implements TaskService.
func (s *server) ListTasks(ctx context.Context, req *connect.Request[v1.ListTasksRequest]) (*connect.Response[v1.ListTasksResponse], error) {
	place, err := s.tokens.read(req.Msg, req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	limit := pageSize(req.Msg.GetPageSize())
	var tasks []*controlplane.Task
	err = s.read(ctx, req.Header(), req.Msg, func(ctx context.Context, opts db.ReadOptions) (err error) {
		tasks, err = s.Tasks.ListTasks(ctx, filterFromProto(req.Msg), placeSeq(place), limit+1, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	res := &v1.ListTasksResponse{Tasks: tasksToProto(tasks)}
	if n := cutPage(res.Tasks, limit); n < len(tasks) {
		res.Tasks = res.Tasks[:n]
		res.NextPageToken = s.tokens.make(req.Msg, seqPlace(tasks[n-1].Seq))
	}
	return connect.NewResponse(res), nil
}
