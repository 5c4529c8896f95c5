package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const watchLong = `Prints each change of a task's state as it happens, until Ctrl-C: from now on, or
with --cursor 0 from the first change that is kept. It goes on at another member
when one is lost, and leaves nothing out. Of tasks that are named it also prints how far
they come, at most once a second each.

With -o json or jsonl each change is one line, which has the cursor to go on from.`

func newTaskWatchCommand(a *app) *cobra.Command {
	req := &v1.WatchTasksRequest{}
	cmd := &cobra.Command{Use: "watch [TASK…]", Short: "Print the changes of tasks as they happen", Long: watchLong, Args: cobra.MaximumNArgs(100)}
	f := cmd.Flags()
	f.StringVar(&req.Queue, "queue", "", "only of this queue")
	f.StringVar(&req.NodeId, "node", "", "only on this node")
	f.StringVar(&req.Cursor, "cursor", "", "go on after this cursor; 0 for all changes that are kept")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req.TaskIds, req.Progress = args, len(args) > 0
		return a.watchTasks(cmd.Context(), req)
	}
	return cmd
}

// watchTasks prints changes until it is interrupted, which is its regular end.
func (a *app) watchTasks(ctx context.Context, req *v1.WatchTasksRequest) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	err = c.WatchTasks(ctx, req, func(m *v1.WatchTasksResponse) error {
		switch {
		case m.GetEvent() == nil && m.GetProgress() == nil:
			return nil
		case a.format() == formatYAML:
			fmt.Fprintln(a.out, "---")
			return a.printYAML(m)
		case a.format() == formatName && m.GetEvent() == nil:
			return nil
		case a.format() == formatName:
			return a.printNames([]proto.Message{m.GetEvent()})
		case a.forPrograms():
			return a.printLines([]proto.Message{m})
		case m.GetEvent() == nil:
			return a.printProgress(m.GetProgress())
		default:
			return a.printChange(m.GetEvent())
		}
	})
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return err
}

// printChange prints a change in columns of fixed width: what follows is not known
// yet.
func (a *app) printChange(e *v1.TaskEvent) error {
	text := fmt.Sprintf("%s  %-36s  %-9s  %2d  %-15s  %s", e.GetTime().AsTime().Local().Format(time.TimeOnly), e.GetTaskId(),
		enum(e.GetStatus(), taskStatusPrefix), e.GetAttempt(), dash(e.GetNodeId()), e.GetTask().GetName())
	if e.GetReason() != "" {
		text += " (" + e.GetReason() + ")"
	}
	_, err := fmt.Fprintln(a.out, strings.TrimRight(oneLine(text), " "))
	return err
}
