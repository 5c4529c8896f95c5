package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const taskWaitLong = `Waits until tasks are where they should be, and shows them. Tasks are named, or chosen
by filters: all that match when the waiting begins. It goes on at another member when
one is lost.

--for tells what to wait for:
  ended      any end (the default)
  completed  a good end
  failed     a bad end
  running    that a node has begun to run it, also if it has ended since

Exit codes: 0 all tasks are there; 1 one has ended otherwise, or cannot be asked for;
124 --timeout was over before; 130 Ctrl-C. The tasks go on in any case.`

// waitTargets are the words of --for, and whether a task is there.
var waitTargets = map[string]func(t *v1.Task) bool{
	"ended":     func(t *v1.Task) bool { return client.Final(t.GetStatus()) },
	"completed": func(t *v1.Task) bool { return t.GetStatus() == v1.TaskStatus_TASK_STATUS_COMPLETED },
	"failed":    func(t *v1.Task) bool { return t.GetStatus() == v1.TaskStatus_TASK_STATUS_FAILED },
	"running": func(t *v1.Task) bool {
		return t.GetStatus() == v1.TaskStatus_TASK_STATUS_RUNNING || t.GetStartTime() != nil
	},
}

var waitWords = []string{"ended", "completed", "failed", "running"}

func newTaskWaitCommand(a *app) *cobra.Command {
	var t taskFilter
	var timeout time.Duration
	target := newChoice("ended", waitWords...)
	cmd := &cobra.Command{Use: "wait [TASK…]", Short: "Wait until tasks have ended, or run", Long: taskWaitLong,
		Example: `  raft-node task wait 0198f2c4-7a10-7c3e-9d52-6b1f0e8a4c11 --for completed --timeout 1h
  raft-node task wait --label array=0198f2c4-7a10-7c3e-9d52-6b1f0e8a4c11`}
	f := cmd.Flags()
	f.Var(target, "for", "what to wait for")
	f.DurationVar(&timeout, "timeout", 0, "longest time to wait, such as 30m (default: as long as it takes)")
	f.StringVar(&t.queue, "queue", "", "all of this queue")
	f.StringVar(&t.name, "task-name", "", "all of this name")
	f.StringArrayVar(&t.labels, "label", nil, "all with this label, as key=value; may be repeated")
	must(cmd.RegisterFlagCompletionFunc("for", completions(waitWords...)))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := t.request()
		if err != nil {
			return err
		}
		if err := namedOrFiltered(args, anyChanged(cmd, "queue", "task-name", "label"), "--label"); err != nil {
			return err
		}
		if cmd.Flags().Changed("timeout") && timeout <= 0 {
			return usageErrorf("--timeout %v: give more than 0", timeout)
		}
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, errWaitTimeout)
			defer cancel()
		}
		return a.waitTasks(ctx, args, filter, target.value)
	}
	return cmd
}

var errWaitTimeout = errors.New("the time to wait is over")

// waitTasks waits for the tasks named, or for those that match.
func (a *app) waitTasks(ctx context.Context, ids []string, filter *v1.ListTasksRequest, target string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		if ids, err = matching(ctx, c, filter); err != nil {
			return err
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	bar := progressOf(a.err, func(done, total int64) string { return fmt.Sprintf("%d of %d tasks %s", done, total, target) })
	bar.total = int64(len(ids))
	defer bar.end()
	reached := waitTargets[target]
	found := map[string]*v1.Task{}
	w := newWaiter(c)
	w.enough = func(t *v1.Task) bool { return client.Final(t.GetStatus()) || reached(t) }
	w.tell = func(t *v1.Task) { found[t.GetId()] = t; bar.add(1) }
	w.began = func(context.Context) error {
		for _, id := range ids {
			w.add(id)
		}
		return nil
	}
	err = w.run(ctx, waitEvents(ids, target))
	bar.end()
	return errors.Join(a.printWaited(ids, found), waitResult(ctx, ids, found, reached, target, err))
}

// matching are the ids of the tasks that match now.
func matching(ctx context.Context, c *client.Client, filter *v1.ListTasksRequest) ([]string, error) {
	res, err := readTasks(ctx, c, filter, 0)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, t := range res.GetTasks() {
		ids = append(ids, t.GetId())
	}
	if len(ids) == 0 {
		return nil, errors.New("no task matches: 'raft-node task list' with the same filters shows what does")
	}
	return ids, nil
}

// waitEvents asks for the changes that matter.
func waitEvents(ids []string, target string) *v1.WatchEventsRequest {
	req := &v1.WatchEventsRequest{Types: slices.Clone(finalEvents)}
	if target == "running" {
		req.Types = append(req.Types, v1.EventType_EVENT_TYPE_TASK_STARTED)
	}
	if len(ids) <= watchIDs {
		req.TaskIds = ids
	}
	return req
}

func (a *app) printWaited(ids []string, found map[string]*v1.Task) error {
	all := &v1.ListTasksResponse{}
	for _, id := range ids {
		if t := found[id]; t != nil {
			all.Tasks = append(all.Tasks, t)
		}
	}
	if len(all.GetTasks()) == 0 && !a.forPrograms() {
		return nil
	}
	return a.print(all, func(w io.Writer) { a.taskTable(w, all.GetTasks()) })
}

// missingShown is how many of the tasks that are not there are named.
const missingShown = 3

// missing says how many of the tasks are not there, and which.
func missing(ids []string, found map[string]*v1.Task) string {
	var left []string
	for _, id := range ids {
		if found[id] == nil {
			left = append(left, id)
		}
	}
	text := fmt.Sprintf("%d of %d tasks are not there: %s", len(left), len(ids), strings.Join(left[:min(len(left), missingShown)], ", "))
	if more := len(left) - missingShown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// waitResult is the exit code, and the error that says why.
func waitResult(ctx context.Context, ids []string, found map[string]*v1.Task, reached func(*v1.Task) bool, target string, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errWaitTimeout):
		return exitError{exitTimeout, fmt.Errorf("%w: %s. They go on", errWaitTimeout, missing(ids, found))}
	case ctx.Err() != nil:
		return exitError{exitInterrupted, fmt.Errorf("no longer waiting: %s. They go on", missing(ids, found))}
	case err != nil:
		return err
	}
	var others []string
	for _, id := range ids {
		if t := found[id]; !reached(t) {
			others = append(others, fmt.Sprintf("%s is %s", id, enum(t.GetStatus(), taskStatusPrefix)))
		}
	}
	if len(others) == 0 {
		return nil
	}
	text := strings.Join(others[:min(len(others), refusedShown)], ", ")
	if more := len(others) - refusedShown; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return fmt.Errorf("%d of %d tasks have ended without being %s: %s", len(others), len(ids), target, text)
}
