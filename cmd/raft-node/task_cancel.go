package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const taskCancelLong = `Cancels the tasks named, or all that match the filters given. One that runs is
stopped by its node; it keeps its status until then. One that has ended stays as it
is.`

func newTaskCancelCommand(a *app) *cobra.Command {
	t := taskFilter{allowed: []string{"pending", "assigned", "running"}}
	var all bool
	cmd := &cobra.Command{
		Use: "cancel [TASK…]", Short: "Cancel tasks", Long: taskCancelLong,
		Example: `  raft-node task cancel 0198f2c4-7a10-7c3e-9d52-6b1f0e8a4c11
  raft-node task cancel --queue sweep --status pending
  raft-node task cancel --label experiment=7`,
	}
	f := cmd.Flags()
	f.StringSliceVar(&t.statuses, "status", nil, "all of these statuses: "+strings.Join(t.allowed, ", "))
	f.StringVar(&t.queue, "queue", "", "all of this queue")
	f.StringVar(&t.node, "node", "", "all on this node")
	f.StringVar(&t.name, "task-name", "", "all of this name")
	f.StringArrayVar(&t.labels, "label", nil, "all with this label, as key=value; may be repeated")
	f.BoolVar(&all, "all", false, "all that have not ended")
	must(cmd.RegisterFlagCompletionFunc("status", completions(t.allowed...)))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := t.request()
		if err != nil {
			return err
		}
		many := anyChanged(cmd, "status", "queue", "node", "task-name", "label", "all")
		if err := namedOrFiltered(args, many, "--queue, or --all"); err != nil {
			return err
		}
		if !many {
			return a.cancelTasks(cmd.Context(), args)
		}
		if a.format() == formatName {
			return usageErrorf("-o name: which tasks a filter cancels is not told: list them first, or leave it out")
		}
		return a.cancelMatching(cmd.Context(), &v1.CancelTasksRequest{Statuses: filter.GetStatuses(), Queue: filter.GetQueue(), NodeId: filter.GetNodeId(),
			Name: filter.GetName(), Labels: filter.GetLabels(), All: all})
	}
	return cmd
}

// namedOrFiltered refuses a command that is to work on tasks named and on those that match filters at
// the same time, or on none.
func namedOrFiltered(args []string, filtered bool, example string) error {
	switch {
	case filtered && len(args) > 0:
		return usageErrorf("%s and a filter exclude each other: name tasks, or give filters", args[0])
	case !filtered && len(args) == 0:
		return usageErrorf("which tasks? name them, or give a filter such as %s", example)
	}
	return nil
}

func anyChanged(cmd *cobra.Command, flags ...string) bool {
	for _, f := range flags {
		if cmd.Flags().Changed(f) {
			return true
		}
	}
	return false
}

// cancelTasks cancels each task, also after one that could not be.
func (a *app) cancelTasks(ctx context.Context, ids []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		res, err := c.CancelTask(ctx, &v1.CancelTaskRequest{Id: id})
		if err == nil {
			err = a.printCancelled(res)
		} else if len(ids) > 1 {
			err = fmt.Errorf("%s: %s", id, a.explain(err))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// cancelMatching cancels all tasks that match, call by call, and prints the sum.
func (a *app) cancelMatching(ctx context.Context, req *v1.CancelTasksRequest) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	sum := &v1.CancelTasksResponse{}
	for {
		res, err := c.CancelTasks(ctx, req)
		if err != nil {
			if sum.GetCancelled()+sum.GetStopping() > 0 {
				fmt.Fprintf(a.err, "raft-node: %d tasks were cancelled before, nodes are stopping %d\n", sum.GetCancelled(), sum.GetStopping())
			}
			return err
		}
		sum.Cancelled += res.GetCancelled()
		sum.Stopping += res.GetStopping()
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			return a.say(sum, "%d cancelled, %d are being stopped by their nodes", sum.GetCancelled(), sum.GetStopping())
		}
	}
}

func (a *app) printCancelled(res *v1.CancelTaskResponse) error {
	if a.forPrograms() {
		return a.print(res, nil)
	}
	t := res.GetTask()
	text := "had ended already: " + enum(t.GetStatus(), taskStatusPrefix)
	switch {
	case t.GetCancelRequested() && !client.Final(t.GetStatus()):
		text = fmt.Sprintf("its node %s is stopping it", t.GetNodeId())
	case t.GetStatus() == v1.TaskStatus_TASK_STATUS_CANCELLED:
		text = "cancelled"
	}
	_, err := fmt.Fprintf(a.out, "%s: %s\n", t.GetId(), oneLine(text))
	return err
}
