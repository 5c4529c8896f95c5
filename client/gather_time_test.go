package client_test

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// TestABatchAllowsEachCallerItsOwnTime: of a member that does not answer what goes together, who
// has set no deadline hears after the client's timeout, and who has more time than that goes on.
func TestABatchAllowsEachCallerItsOwnTime(t *testing.T) {
	arrived, letGo := make(chan struct{}), make(chan struct{})
	hang := make(chan struct{})
	first := func(id string) {
		if id == "first" {
			close(arrived)
			<-letGo
		}
	}
	f := &fake{
		get: func(_ context.Context, r *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
			first(r.GetId())
			return &v1.GetTaskResponse{Task: &v1.Task{Id: r.GetId()}}, nil
		},
		gets: func(*v1.GetTasksRequest) (*v1.GetTasksResponse, error) { <-hang; return nil, context.Canceled },
		submit: func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
			first(r.GetTask().GetId())
			return &v1.SubmitTaskResponse{Task: r.GetTask()}, nil
		},
		submits: func(*v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) { <-hang; return nil, context.Canceled },
	}
	c := newClient(t, []string{start(t, f)}, client.WithCallTimeout(500*time.Millisecond))
	t.Cleanup(func() { close(hang) })
	client.PatientReads(c)
	client.Patient(c)
	for what, call := range map[string]func(ctx context.Context, id string) error{
		"reads": func(ctx context.Context, id string) error {
			_, err := c.GetTask(ctx, &v1.GetTaskRequest{Id: id})
			return err
		},
		"submissions": func(ctx context.Context, id string) error {
			_, err := c.SubmitTask(ctx, &v1.SubmitTaskRequest{Task: &v1.Task{Id: id}})
			return err
		},
	} {
		arrived, letGo = make(chan struct{}), make(chan struct{})
		go func() { _ = call(testContext(t, time.Minute), "first") }()
		<-arrived
		hasNone, hasMore := make(chan error, 1), make(chan error, 1)
		go func() { hasNone <- call(t.Context(), "without a deadline") }()
		go func() { hasMore <- call(testContext(t, 24*time.Hour), "with more time") }()
		if what == "reads" {
			client.AwaitReads(c, 2)
		} else {
			client.AwaitWaiting(c, 2)
		}
		close(letGo)
		for end := testContext(t, time.Minute); hasNone != nil || hasMore != nil; {
			select {
			case err := <-hasNone:
				if hasNone = nil; connect.CodeOf(err) != connect.CodeDeadlineExceeded {
					t.Errorf("%s, without a deadline: %v", what, err)
				}
			case err := <-hasMore:
				if hasMore = nil; err != nil {
					t.Errorf("%s, with more time: %v", what, err)
				}
			case <-end.Done():
				t.Fatalf("%s: no answer", what)
			}
		}
	}
}
