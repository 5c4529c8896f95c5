package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// completionTimeout bounds how long a shell is held up.
	completionTimeout = 2 * time.Second
	// completionMax is how many ids are offered.
	completionMax = 200
)

// candidate is what a shell may complete, and what it is.
type candidate struct{ id, about string }

// lister asks a control plane for what a command may be given.
type lister func(ctx context.Context, c *client.Client, cmd *cobra.Command) ([]candidate, error)

// listers are found by the word that stands for the argument in a command's usage, and
// by the names of flags.
var (
	argumentListers = map[string]lister{"TASK": listTaskIDs, "NODE": listNodeIDs, "QUEUE": listQueueNames, "MEMBER": listMemberNames}
	flagListers     = map[string]lister{"node": listNodeIDs, "queue": listQueueNames}
)

// argumentWord is the first argument in a usage, and whether there may be several.
var argumentWord = regexp.MustCompile(`^\S+ \[?([A-Z]+)(…?)`)

// completeLive gives a command completion with what there is.
func (a *app) completeLive(cmd *cobra.Command) {
	if m := argumentWord.FindStringSubmatch(cmd.Use); m != nil && cmd.ValidArgsFunction == nil {
		if list := argumentListers[m[1]]; list != nil && cmd.Name() != "create" { // its queue is a new one
			cmd.ValidArgsFunction = a.completer(list, m[2] != "")
		}
	}
	for flag, list := range flagListers {
		if _, taken := cmd.GetFlagCompletionFunc(flag); !taken && cmd.LocalFlags().Lookup(flag) != nil {
			must(cmd.RegisterFlagCompletionFunc(flag, a.completer(list, true)))
		}
	}
}

// completer asks the control plane that the command would ask. Whatever goes wrong, there
// is nothing to complete.
func (a *app) completer(list lister, several bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		a.noted = true // nobody reads it here
		if err := a.configure(cmd); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := a.client(client.WithPatience(completionTimeout / 2))
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
		defer cancel()
		found, err := list(ctx, c, cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, f := range found {
			if strings.HasPrefix(f.id, typed) && !slices.Contains(args, f.id) {
				out = append(out, f.id+"\t"+oneLine(f.about))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// taskStatuses are those of the tasks to which a command can do something.
var taskStatuses = map[string][]v1.TaskStatus{
	"cancel": {v1.TaskStatus_TASK_STATUS_PENDING, v1.TaskStatus_TASK_STATUS_ASSIGNED, v1.TaskStatus_TASK_STATUS_RUNNING},
	"retry":  {v1.TaskStatus_TASK_STATUS_FAILED, v1.TaskStatus_TASK_STATUS_CANCELLED},
}

// listTaskIDs are the newest tasks.
func listTaskIDs(ctx context.Context, c *client.Client, cmd *cobra.Command) ([]candidate, error) {
	res, err := c.ListTasks(ctx, &v1.ListTasksRequest{PageSize: completionMax, Statuses: taskStatuses[cmd.Name()], Consistency: v1.Consistency_CONSISTENCY_STALE})
	var out []candidate
	for _, t := range res.GetTasks() {
		out = append(out, candidate{t.GetId(), strings.TrimSpace(t.GetName() + " " + enum(t.GetStatus(), taskStatusPrefix))})
	}
	return out, err
}

// nodeStatuses are those of the nodes to which a command can do something.
var nodeStatuses = map[string][]v1.NodeStatus{
	"remove": {v1.NodeStatus_NODE_STATUS_UNHEALTHY, v1.NodeStatus_NODE_STATUS_UNKNOWN},
}

func listNodeIDs(ctx context.Context, c *client.Client, cmd *cobra.Command) ([]candidate, error) {
	res, err := c.ListNodes(ctx, &v1.ListNodesRequest{PageSize: completionMax, Statuses: nodeStatuses[cmd.Name()], Consistency: v1.Consistency_CONSISTENCY_STALE})
	var out []candidate
	for _, n := range res.GetNodes() {
		out = append(out, candidate{n.GetId(), nodeStatus(n)})
	}
	return out, err
}

func listQueueNames(ctx context.Context, c *client.Client, _ *cobra.Command) ([]candidate, error) {
	res, err := c.ListQueues(ctx, &v1.ListQueuesRequest{PageSize: completionMax, Consistency: v1.Consistency_CONSISTENCY_STALE})
	var out []candidate
	for _, q := range res.GetQueues() {
		out = append(out, candidate{q.GetName(), fmt.Sprintf("%d wait, %d run", q.GetPendingTasks(), q.GetRunningTasks())})
	}
	return out, err
}

func listMemberNames(ctx context.Context, c *client.Client, _ *cobra.Command) ([]candidate, error) {
	res, err := c.GetCluster(ctx, &v1.GetClusterRequest{})
	var out []candidate
	for _, m := range res.GetMembers() {
		out = append(out, candidate{m.GetName(), enum(m.GetRole(), "MEMBER_ROLE_") + " " + m.GetAddress()})
	}
	return out, err
}
