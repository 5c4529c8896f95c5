package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func newTaskExplainCommand(a *app) *cobra.Command {
	return limitFormats(&cobra.Command{
		Use: "explain TASK", Short: "Tell why a task waits, or where it would go", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			res, err := c.ExplainTask(cmd.Context(), &v1.ExplainTaskRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) { explanationBlock(w, args[0], res) })
		},
	}, nameless)
}

func explanationBlock(w io.Writer, id string, e *v1.ExplainTaskResponse) {
	field(w, "Task", id)
	field(w, "Status", enum(e.GetStatus(), taskStatusPrefix))
	field(w, "Why", e.GetSummary())
	if e.GetStatus() != v1.TaskStatus_TASK_STATUS_PENDING {
		return
	}
	field(w, "Before it", fmt.Sprintf("%d in its queue", e.GetTasksAhead()))
	field(w, "Nodes", fmt.Sprint(e.GetNodes()))
	for _, r := range e.GetRejections() {
		names := strings.Join(r.GetNodeIds(), ", ")
		if int(r.GetNodes()) > len(r.GetNodeIds()) {
			names += ", …"
		}
		field(w, "  "+r.GetReason(), fmt.Sprintf("%d %s (%s)", r.GetNodes(), r.GetMessage(), names))
	}
	if m := e.GetNearestMiss(); m != nil {
		field(w, "Nearest", m.GetNodeId()+" "+m.GetMessage())
	}
}
