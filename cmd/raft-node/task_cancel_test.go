package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	for _, status := range []string{"sleeping", "completed"} {
		m.at(t, "task", "cancel", "--status", status).expect(t, 2, nil, []string{fmt.Sprintf("--status %q: give pending, assigned, running\n", status)})
	}
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

// retried is a member with three tasks that match whatever is asked for.
func retried(t *testing.T, retry func(id string) error) (m *member, asked *[]string, filter func() *v1.ListTasksRequest) {
	t.Helper()
	var mu sync.Mutex
	var ids []string
	var last *v1.ListTasksRequest
	m = &member{
		list: func(r *v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
			last = proto.CloneOf(r)
			return &v1.ListTasksResponse{Tasks: []*v1.Task{{Id: "t3"}, {Id: "t2"}, {Id: "t1"}}}, nil
		},
		retry: func(r *v1.RetryTaskRequest) (*v1.RetryTaskResponse, error) {
			if err := retry(r.GetId()); err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, r.GetId())
			return &v1.RetryTaskResponse{Task: &v1.Task{Id: r.GetId(), Status: v1.TaskStatus_TASK_STATUS_PENDING}}, nil
		},
	}
	return m.start(t), &ids, func() *v1.ListTasksRequest { return last }
}

func TestTaskRetryMatching(t *testing.T) {
	m, asked, filter := retried(t, func(string) error { return nil })
	m.at(t, "task", "retry", "--label", "array=k", "--queue", "q").expect(t, 0, []string{"3 tried again\n"}, nil)
	want := &v1.ListTasksRequest{Queue: "q", Labels: map[string]string{"array": "k"}, Statuses: []v1.TaskStatus{v1.TaskStatus_TASK_STATUS_FAILED}, PageSize: pageMax}
	slices.Sort(*asked)
	if !proto.Equal(filter(), want) || strings.Join(*asked, " ") != "t1 t2 t3" {
		t.Errorf("listed by %v, tried again %v", filter(), *asked)
	}
	m.at(t, "task", "retry", "--status", "cancelled", "-o", "name").expect(t, 0, []string{"t1\nt2\nt3\n"}, nil)
	if s := filter().GetStatuses(); len(s) != 1 || s[0] != v1.TaskStatus_TASK_STATUS_CANCELLED {
		t.Errorf("listed by the statuses %v", s)
	}
	*asked = nil
	m.at(t, "task", "retry").expect(t, 2, nil, []string{"which tasks? name them, or give a filter such as --label"})
	m.at(t, "task", "retry", "t1", "--queue", "q").expect(t, 2, nil, []string{"t1 and a filter exclude each other"})
	m.at(t, "task", "retry", "--status", "running").expect(t, 2, nil, []string{`--status "running": give failed, cancelled`})
	if len(*asked) > 0 {
		t.Errorf("mistakes were sent: %v", *asked)
	}
}

func TestTaskRetryMatchingGoesOnAfterARefusal(t *testing.T) {
	m, _, _ := retried(t, func(id string) error {
		if id == "t2" {
			return refusal(connect.CodeFailedPrecondition, "it is completed")
		}
		return nil
	})
	m.at(t, "task", "retry", "--label", "array=k").expect(t, 1, []string{"2 tried again\n"}, []string{"t2: it is completed\n1 of 3 tasks could not be tried again"})
}

func TestInterruptedTaskRetrySaysHowFarItIs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m, _, _ := retried(t, func(string) error {
		cancel()
		return refusal(connect.CodeUnavailable, "the command is gone")
	})
	cliWith(ctx, "", "--server", m.url, "task", "retry", "--label", "array=k").
		expect(t, exitInterrupted, []string{"0 tried again\n"}, []string{"interrupted, 0 of 3 tasks are known to be tried again: the same command goes on"})
}
