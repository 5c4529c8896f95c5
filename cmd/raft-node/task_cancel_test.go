package main

import (
	"context"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func (m *member) CancelTasks(_ context.Context, req *connect.Request[v1.CancelTasksRequest]) (*connect.Response[v1.CancelTasksResponse], error) {
	return reply(m.cancelMany, req)
}

func (m *member) RetryTask(_ context.Context, req *connect.Request[v1.RetryTaskRequest]) (*connect.Response[v1.RetryTaskResponse], error) {
	return reply(m.retry, req)
}

func TestTaskCancelMany(t *testing.T) {
	var asked []*v1.CancelTasksRequest
	m := (&member{cancelMany: func(r *v1.CancelTasksRequest) (*v1.CancelTasksResponse, error) {
		asked = append(asked, proto.CloneOf(r))
		if r.GetPageToken() == "" {
			return &v1.CancelTasksResponse{Cancelled: 1000, NextPageToken: "next"}, nil
		}
		return &v1.CancelTasksResponse{Cancelled: 3, Stopping: 2}, nil
	}}).start(t)
	m.at(t, "task", "cancel", "--queue", "q", "--status", "pending", "--label", "k=v").expect(t, 0, []string{"1003 cancelled, 2 are being stopped by their nodes\n"}, nil)
	want := &v1.CancelTasksRequest{Queue: "q", Statuses: []v1.TaskStatus{v1.TaskStatus_TASK_STATUS_PENDING}, Labels: map[string]string{"k": "v"}}
	if len(asked) != 2 || !proto.Equal(asked[0], want) || asked[1].GetPageToken() != "next" {
		t.Errorf("requests = %v", asked)
	}
	asked = nil
	m.at(t, "task", "cancel").expect(t, 2, nil, []string{"which tasks? name them, or give a filter such as --queue, or --all"})
	m.at(t, "task", "cancel", "t1", "--all").expect(t, 2, nil, []string{"t1 and a filter exclude each other"})
	m.at(t, "task", "cancel", "--status", "sleeping").expect(t, 2, nil, []string{`--status "sleeping"`})
	if len(asked) > 0 {
		t.Errorf("mistakes were sent: %v", asked)
	}
}

func TestTaskRetry(t *testing.T) {
	m := (&member{retry: func(r *v1.RetryTaskRequest) (*v1.RetryTaskResponse, error) {
		if r.GetId() == "done" {
			return nil, connect.NewError(connect.CodeFailedPrecondition, nil)
		}
		return &v1.RetryTaskResponse{Task: &v1.Task{Id: r.GetId(), Status: v1.TaskStatus_TASK_STATUS_PENDING, Attempt: 2}}, nil
	}}).start(t)
	m.at(t, "task", "retry", "t1", "done", "t2").expect(t, 1, []string{"t1: PENDING, attempt 2 so far\n", "t2: PENDING"}, []string{"done: "})
	m.at(t, "task", "retry", "t1", "-o", "json").expect(t, 0, []string{`"status": "TASK_STATUS_PENDING"`}, nil)
}
