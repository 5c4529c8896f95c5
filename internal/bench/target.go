package bench

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Target is a system that keeps tasks until workers have done them. What it answers is
// durable: it is on the disks that the system promises it to be on.
type Target interface {
	// Open prepares a queue, before anything else is done with it.
	Open(ctx context.Context, queue string) error
	// Submit stores one task.
	Submit(ctx context.Context, queue string, payload []byte) error
	// SubmitBatch stores many, in the way that the system is best at.
	SubmitBatch(ctx context.Context, queue string, payloads [][]byte) error
	// Work calls run for each task of a queue, up to slots at a time, and records that it is
	// done. It returns once tasks are taken. stop returns when what runs is recorded.
	Work(ctx context.Context, queue string, slots int, run func(payload []byte)) (stop func() error, err error)
	// Recorded is how many tasks of a queue are recorded as done.
	Recorded(ctx context.Context, queue string) (int64, error)
}

// controlPlane is this project's own, through the Go client.
type controlPlane struct {
	client *client.Client
}

// Open implements Target: a queue need not be made.
func (controlPlane) Open(context.Context, string) error { return nil }

// Submit implements Target. The function is called as the queue is.
func (t controlPlane) Submit(ctx context.Context, queue string, payload []byte) error {
	_, err := client.Submit[[]byte, []byte](ctx, t.client, queue, payload, client.WithQueue(queue))
	return err
}

// SubmitBatch implements Target.
func (t controlPlane) SubmitBatch(ctx context.Context, queue string, payloads [][]byte) error {
	_, err := client.SubmitAll[[]byte, []byte](ctx, t.client, queue, payloads, client.WithQueue(queue))
	return err
}

// Work implements Target: it starts a worker with one function.
func (t controlPlane) Work(ctx context.Context, queue string, slots int, run func([]byte)) (stop func() error, err error) {
	w := client.NewWorker(t.client, client.WorkerOptions{Name: "worker-" + queue, Concurrency: slots, Logger: slog.New(slog.DiscardHandler)})
	w.Handle(queue, func(_ context.Context, at *client.Attempt) ([]byte, error) {
		run(at.Task.GetFunction().GetPayload())
		return []byte("true"), nil
	})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	select {
	case <-w.Ready():
		return stop, nil
	case err := <-done:
		cancel()
		return nil, err
	}
}

// Recorded implements Target.
func (t controlPlane) Recorded(ctx context.Context, queue string) (int64, error) {
	return t.count(ctx, "SELECT count(*) FROM tasks WHERE queue = '"+queue+"' AND status = 'COMPLETED'")
}

// count returns the one number that a statement gives.
func (t controlPlane) count(ctx context.Context, sql string) (int64, error) {
	answer, err := t.client.Query(ctx, &v1.QueryRequest{Sql: sql})
	if err != nil {
		return 0, err
	}
	if len(answer.GetRows()) != 1 {
		return 0, fmt.Errorf("%d rows of one count", len(answer.GetRows()))
	}
	return int64(answer.GetRows()[0].GetValues()[0].GetNumberValue()), nil
}
