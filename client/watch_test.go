package client_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

type stream = connect.ServerStream[v1.WatchTasksResponse]

func change(cursor string, status v1.TaskStatus) *v1.WatchTasksResponse {
	return &v1.WatchTasksResponse{Cursor: cursor, Event: &v1.TaskEvent{TaskId: "t", Status: status}}
}

func send(t *testing.T, s *stream, messages ...*v1.WatchTasksResponse) {
	for _, m := range messages {
		if err := s.Send(m); err != nil {
			t.Errorf("send: %v", err)
		}
	}
}

func TestWatchResumesAfterTheLastMessage(t *testing.T) {
	ends := map[string]func() error{
		"no leader":       func() error { return failure(connect.CodeUnavailable) },
		"connection lost": func() error { panic(http.ErrAbortHandler) },
		"stream ended":    func() error { return nil },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			one := &fake{watch: func(_ context.Context, r *v1.WatchTasksRequest, s *stream) error {
				send(t, s, change("1", v1.TaskStatus_TASK_STATUS_PENDING), change("2", v1.TaskStatus_TASK_STATUS_RUNNING))
				return end()
			}}
			var resumedAt string
			two := &fake{watch: func(ctx context.Context, r *v1.WatchTasksRequest, s *stream) error {
				resumedAt = r.GetCursor()
				if r.GetQueue() != "q" {
					t.Errorf("queue = %q, want q", r.GetQueue())
				}
				send(t, s, change("3", v1.TaskStatus_TASK_STATUS_COMPLETED))
				<-ctx.Done()
				return ctx.Err()
			}}
			c := newClient(t, []string{start(t, one), start(t, two)})
			var got []string
			done := errors.New("enough")
			req := &v1.WatchTasksRequest{Cursor: "0", Queue: "q"}
			err := c.WatchTasks(testContext(t, 20*time.Second), req, func(m *v1.WatchTasksResponse) error {
				if got = append(got, m.GetCursor()); len(got) == 3 {
					return done
				}
				return nil
			})
			if !errors.Is(err, done) {
				t.Fatalf("err = %v, want that of the callback", err)
			}
			if !slices.Equal(got, []string{"1", "2", "3"}) || resumedAt != "2" {
				t.Errorf("got %q, resumed at %q", got, resumedAt)
			}
			if req.GetCursor() != "0" {
				t.Error("the caller's message was changed")
			}
		})
	}
}

func TestWatchEndsWhenRefused(t *testing.T) {
	f := &fake{watch: func(context.Context, *v1.WatchTasksRequest, *stream) error {
		return failure(connect.CodeInvalidArgument)
	}}
	c := newClient(t, []string{start(t, f), nobody(t)})
	err := c.WatchTasks(testContext(t, 20*time.Second), &v1.WatchTasksRequest{Cursor: "x"}, func(*v1.WatchTasksResponse) error { return nil })
	if connect.CodeOf(err) != connect.CodeInvalidArgument || f.calls.Load() != 1 {
		t.Errorf("err = %v after %d calls", err, f.calls.Load())
	}
}

func TestWatchOfNobodyEndsByPatience(t *testing.T) {
	c := newClient(t, []string{nobody(t)}, client.WithPatience(100*time.Millisecond))
	err := c.WatchTasks(testContext(t, 20*time.Second), &v1.WatchTasksRequest{}, func(*v1.WatchTasksResponse) error { return nil })
	if _, ok := errors.AsType[*client.UnreachableError](err); !ok {
		t.Errorf("err = %v, want an UnreachableError", err)
	}
}

// running answers GetTask with RUNNING until ended is set.
func running(ended *atomic.Bool) func(context.Context, *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
	return func(_ context.Context, r *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		task := &v1.Task{Id: r.GetId(), Status: v1.TaskStatus_TASK_STATUS_RUNNING}
		if ended.Load() {
			task.Status, task.Result = v1.TaskStatus_TASK_STATUS_COMPLETED, []byte("42")
		}
		return &v1.GetTaskResponse{Task: task}, nil
	}
}

func TestWait(t *testing.T) {
	var ended atomic.Bool
	watches := map[string]func(context.Context, *v1.WatchTasksRequest, *stream) error{
		"told by the watch": func(ctx context.Context, r *v1.WatchTasksRequest, s *stream) error {
			if !slices.Equal(r.GetTaskIds(), []string{"t"}) {
				t.Errorf("task_ids = %q", r.GetTaskIds())
			}
			send(t, s, change("1", v1.TaskStatus_TASK_STATUS_RUNNING))
			ended.Store(true)
			send(t, s, change("2", v1.TaskStatus_TASK_STATUS_COMPLETED))
			<-ctx.Done()
			return ctx.Err()
		},
		"without a watch": func(context.Context, *v1.WatchTasksRequest, *stream) error {
			ended.Store(true)
			return failure(connect.CodeUnimplemented)
		},
	}
	for name, watch := range watches {
		t.Run(name, func(t *testing.T) {
			ended.Store(false)
			f := &fake{get: running(&ended), watch: watch}
			task, err := newClient(t, []string{start(t, f)}).Wait(testContext(t, 20*time.Second), "t")
			if err != nil || string(task.GetResult()) != "42" {
				t.Errorf("Wait = %v, %v", task, err)
			}
		})
	}
}

func TestWaitIsTold(t *testing.T) {
	// The task ends while nobody would ask for seconds: only the watch can tell.
	var ended atomic.Bool
	asked := make(chan struct{}, 100)
	get := running(&ended)
	f := &fake{
		get: func(ctx context.Context, r *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
			asked <- struct{}{}
			return get(ctx, r)
		},
		watch: func(ctx context.Context, _ *v1.WatchTasksRequest, s *stream) error {
			for range 5 { // looks at 0, 0.25, 0.75, 1.75 and 3.75 s; the next is 4 s later
				<-asked
			}
			ended.Store(true)
			send(t, s, change("1", v1.TaskStatus_TASK_STATUS_COMPLETED))
			<-ctx.Done()
			return ctx.Err()
		},
	}
	if _, err := newClient(t, []string{start(t, f)}).Wait(testContext(t, 7*time.Second), "t"); err != nil {
		t.Errorf("Wait: %v", err)
	}
}

func TestWaitEndsWithItsContextAndWithRefusals(t *testing.T) {
	f := &fake{get: running(new(atomic.Bool))}
	c := newClient(t, []string{start(t, f)})
	if _, err := c.Wait(testContext(t, 400*time.Millisecond), "t"); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("err = %v, want deadline_exceeded", err)
	}
	f.get = func(context.Context, *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		return nil, failure(connect.CodeNotFound)
	}
	if _, err := c.Wait(testContext(t, 20*time.Second), "t"); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("err = %v, want not_found", err)
	}
}
