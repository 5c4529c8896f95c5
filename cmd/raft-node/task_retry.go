package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const taskRetryLong = `Puts tasks that have failed or were cancelled back to their queues: the tasks named, or
all that match the filters given, those that have failed unless --status says otherwise.
Their attempts so far are kept. One that has not ended stays as it is.

With filters it says how many there were. The same command goes on after it was
interrupted.`

// retryWords are the statuses out of which a task can be tried again.
var retryWords = []string{"failed", "cancelled"}

func newTaskRetryCommand(a *app) *cobra.Command {
	t := taskFilter{allowed: retryWords}
	cmd := &cobra.Command{
		Use: "retry [TASK…]", Short: "Try tasks again that have failed or were cancelled", Long: taskRetryLong,
		Example: `  raft-node task retry 0198f2c4-7a10-7c3e-9d52-6b1f0e8a4c11
  raft-node task retry --label array=0198f2c4-7a10-7c3e-9d52-6b1f0e8a4c11
  raft-node task retry --queue sweep --status failed,cancelled`,
	}
	f := cmd.Flags()
	f.StringSliceVar(&t.statuses, "status", []string{"failed"}, "all of these statuses: "+strings.Join(retryWords, ", "))
	f.StringVar(&t.queue, "queue", "", "all of this queue")
	f.StringVar(&t.node, "node", "", "all whose last attempt was on this node")
	f.StringVar(&t.name, "task-name", "", "all of this name")
	f.StringArrayVar(&t.labels, "label", nil, "all with this label, as key=value; may be repeated")
	must(cmd.RegisterFlagCompletionFunc("status", completions(retryWords...)))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := t.request()
		if err != nil {
			return err
		}
		many := anyChanged(cmd, "status", "queue", "node", "task-name", "label")
		if err := namedOrFiltered(args, many, "--label, or --status failed"); err != nil {
			return err
		}
		if !many {
			return a.retryTasks(cmd.Context(), args)
		}
		return a.retryMatching(cmd.Context(), filter)
	}
	return cmd
}

// retryTasks tries each task again, also after one that cannot be.
func (a *app) retryTasks(ctx context.Context, ids []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		res, err := c.RetryTask(ctx, &v1.RetryTaskRequest{Id: id})
		if err == nil {
			t := res.GetTask()
			err = a.say(res, "%s: %s, attempt %d so far", t.GetId(), enum(t.GetStatus(), taskStatusPrefix), t.GetAttempt())
		} else if len(ids) > 1 {
			err = fmt.Errorf("%s: %s", id, a.explain(err))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// retryMatching tries all tasks again that match now, and prints how many there were.
func (a *app) retryMatching(ctx context.Context, filter *v1.ListTasksRequest) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	found, err := readTasks(ctx, c, filter, 0)
	if err != nil {
		return err
	}
	ids := make([]string, 0, len(found.GetTasks()))
	for _, t := range found.GetTasks() {
		ids = append(ids, t.GetId())
	}
	slices.Reverse(ids) // the oldest first, as they were submitted
	r := &retrying{app: a, client: c, bar: progressOf(a.err, func(done, total int64) string { return fmt.Sprintf("%d of %d tasks tried again", done, total) })}
	r.bar.total = int64(len(ids))
	again := r.all(ctx, ids)
	r.bar.end()
	err = a.print(again, func(w io.Writer) { fmt.Fprintf(w, "%d tried again\n", len(again.GetTasks())) })
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.Join(err, exitError{exitInterrupted, fmt.Errorf("interrupted, %d of %d tasks are known to be tried again: the same command goes on", len(again.GetTasks()), len(ids))})
	}
	return errors.Join(err, r.result(len(ids)))
}

// retrying tries tasks again, some at a time.
type retrying struct {
	app    *app
	client *client.Client
	bar    *progress

	mu     sync.Mutex
	failed []error
}

// all returns the tasks that are tried again, in their order. One that cannot be does not
// stop the others.
func (r *retrying) all(ctx context.Context, ids []string) *v1.ListTasksResponse {
	tasks := make([]*v1.Task, len(ids))
	next := make(chan int)
	var calls sync.WaitGroup
	for range waiterCalls {
		calls.Go(func() {
			for i := range next {
				tasks[i] = r.one(ctx, ids[i])
			}
		})
	}
	for i := range ids {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	calls.Wait()
	return &v1.ListTasksResponse{Tasks: slices.DeleteFunc(tasks, func(t *v1.Task) bool { return t == nil })}
}

func (r *retrying) one(ctx context.Context, id string) *v1.Task {
	res, err := r.client.RetryTask(ctx, &v1.RetryTaskRequest{Id: id})
	r.bar.add(1)
	if err == nil {
		return res.GetTask()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Errorf("%s: %s", id, r.app.explain(err)))
	return nil
}

// result is an error if a task could not be tried again.
func (r *retrying) result(count int) error {
	if len(r.failed) == 0 {
		return nil
	}
	return firstOf(r.failed, fmt.Errorf("%d of %d tasks could not be tried again: the same command tries those that are left", len(r.failed), count))
}
