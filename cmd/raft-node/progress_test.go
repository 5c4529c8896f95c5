package main

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestProgressText(t *testing.T) {
	for _, tt := range []struct {
		p    *v1.Progress
		want string
	}{
		{nil, ""},
		{&v1.Progress{Done: 420_000, Total: 1_000_000, Message: "epoch\x1b 3"}, "42% epoch\uFFFD 3"},
		{&v1.Progress{Done: 21, Total: 50}, "42% (21/50)"},
		{&v1.Progress{Done: 60, Total: 50}, "100% (60/50)"},
		{&v1.Progress{Done: 21, Message: "files"}, "21 done files"},
		{&v1.Progress{Message: "loading"}, "loading"},
	} {
		if got := progressText(tt.p); got != tt.want {
			t.Errorf("%v is %q, want %q", tt.p, got, tt.want)
		}
	}
}

func TestProgressIsShown(t *testing.T) {
	p := &v1.Progress{Done: 21, Total: 50, Message: "epoch 3"}
	task := &v1.Task{Id: "t1", Queue: "default", Status: v1.TaskStatus_TASK_STATUS_RUNNING, NodeId: "n1", Attempt: 1, Progress: p, ProgressTime: before(3 * time.Minute),
		NoProgressTimeout: durationpb.New(time.Hour), Traceparent: "00-of-a-span-01"}
	m := (&member{
		get: func(*v1.GetTaskRequest) (*v1.GetTaskResponse, error) { return &v1.GetTaskResponse{Task: task}, nil },
		list: func(*v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
			return &v1.ListTasksResponse{Tasks: []*v1.Task{task}}, nil
		},
		watch: func(_ context.Context, _ *v1.WatchTasksRequest, s *connect.ServerStream[v1.WatchTasksResponse]) error {
			if err := s.Send(&v1.WatchTasksResponse{Cursor: "1-1", Progress: &v1.TaskProgress{TaskId: "t1", Attempt: 1, Progress: p, Time: before(0)}}); err != nil {
				return err
			}
			return refusal(connect.CodeDataLoss, "enough")
		}}).start(t)
	m.at(t, "task", "get", "t1").expect(t, 0, []string{"Traceparent:", "00-of-a-span-01\n", "No progress for:", "1h0m0s stops it\n", "Progress:", "42% (21/50) epoch 3, 3m ago\n"}, nil)
	m.at(t, "task", "list").expect(t, 0, []string{"42% (21/50) epoch 3\n"}, nil)
	m.at(t, "task", "watch", "t1").expect(t, 1, []string{"progress    1  42% (21/50) epoch 3\n"}, []string{"enough"})
	m.at(t, "task", "watch", "t1", "-o", "jsonl").expect(t, 1, []string{`"progress"`, `"epoch 3"`}, []string{"enough"})
	m.at(t, "task", "watch", "t1", "-o", "name").expect(t, 1, nil, []string{"enough"})
}
