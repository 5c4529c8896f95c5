package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const taskStatusPrefix = "TASK_STATUS_"

// detailChars is where the list cuts why a task failed.
const detailChars = 60

func newTaskCommand(a *app) *cobra.Command {
	return newGroup("task", "Show, watch, cancel and retry tasks",
		newTaskGetCommand(a), newTaskListCommand(a), newTaskWatchCommand(a), newLogsCommand(a), newTaskCancelCommand(a), newTaskRetryCommand(a), newTaskExplainCommand(a), newTaskSchemaCommand(a), newTaskWaitCommand(a))
}

func newTaskGetCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "get TASK", Short: "Show one task with its result and the end of its output", Args: cobra.ExactArgs(1)}
	addConsistencyFlag(cmd)
	addWatchFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return showView(cmd, a, view[*v1.GetTaskResponse]{
			read: func(ctx context.Context, c *client.Client) (*v1.GetTaskResponse, error) {
				return c.GetTask(ctx, &v1.GetTaskRequest{Id: args[0], Consistency: consistency(cmd)})
			},
			table: func(w io.Writer, res *v1.GetTaskResponse) {
				taskBlock(w, res.GetTask())
				logTail(w, res.GetTask())
			},
			events: &v1.WatchEventsRequest{TaskIds: args},
			ended:  func(res *v1.GetTaskResponse) bool { return client.Final(res.GetTask().GetStatus()) },
		})
	}
	return cmd
}

// taskFilter are the flags by which tasks are listed.
type taskFilter struct {
	statuses          []string
	queue, node, name string
	labels            []string
	pageToken         string
	limit             int
	allowed           []string // statuses that may be given; nil for all
}

func newTaskListCommand(a *app) *cobra.Command {
	var t taskFilter
	cmd := &cobra.Command{
		Use: "list", Short: "List tasks, newest first", Args: cobra.NoArgs,
		Example: `  raft-node task list --status running,pending
  raft-node task list --status failed --label model=resnet --limit 0 -o json | jq -r '.tasks[].id'`,
	}
	words := statusWords(v1.TaskStatus_name, taskStatusPrefix)
	f := cmd.Flags()
	f.StringSliceVar(&t.statuses, "status", nil, "only of these statuses: "+strings.Join(words, ", "))
	f.StringVar(&t.queue, "queue", "", "only of this queue")
	f.StringVar(&t.node, "node", "", "only on this node")
	f.StringVar(&t.name, "task-name", "", "only of this name")
	f.StringArrayVar(&t.labels, "label", nil, "only with this label, as key=value; may be repeated")
	f.IntVar(&t.limit, "limit", defaultLimit, "at most so many; 0 for all")
	f.StringVar(&t.pageToken, "page-token", "", "nextPageToken of an earlier list with -o json, to go on after it")
	addConsistencyFlag(cmd)
	addWatchFlag(cmd)
	must(cmd.RegisterFlagCompletionFunc("status", completions(words...)))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req, err := t.request()
		if err != nil {
			return err
		}
		req.Consistency = consistency(cmd)
		return showView(cmd, a, view[*v1.ListTasksResponse]{
			read: func(ctx context.Context, c *client.Client) (*v1.ListTasksResponse, error) {
				return readTasks(ctx, c, req, t.limit)
			},
			table:  func(w io.Writer, res *v1.ListTasksResponse) { a.taskTable(w, res.GetTasks()) },
			more:   func(res *v1.ListTasksResponse) { a.noteMore(res.GetNextPageToken(), "tasks") },
			events: &v1.WatchEventsRequest{Queue: req.GetQueue()},
		})
	}
	return cmd
}

func (t *taskFilter) request() (*v1.ListTasksRequest, error) {
	req := &v1.ListTasksRequest{Queue: t.queue, NodeId: t.node, Name: t.name, PageToken: t.pageToken}
	for _, given := range t.statuses {
		if t.allowed != nil && !slices.Contains(t.allowed, strings.ToLower(strings.TrimSpace(given))) {
			return nil, usageErrorf("--status %q: give %s", given, strings.Join(t.allowed, ", "))
		}
	}
	values, err := parseStatuses(t.statuses, v1.TaskStatus_value, taskStatusPrefix)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		req.Statuses = append(req.Statuses, v1.TaskStatus(v))
	}
	if req.Labels, err = parsePairs(t.labels); err != nil {
		return nil, usageErrorf("--label: %w", err)
	}
	return req, nil
}

func readTasks(ctx context.Context, c *client.Client, req *v1.ListTasksRequest, limit int) (*v1.ListTasksResponse, error) {
	req = proto.CloneOf(req)
	all := &v1.ListTasksResponse{}
	err := pages(limit, func(size int32) (int, bool, error) {
		req.PageSize = size
		res, err := c.ListTasks(ctx, req)
		if err != nil {
			return 0, false, err
		}
		all.Tasks = append(all.Tasks, res.GetTasks()...)
		all.NextPageToken, req.PageToken = res.GetNextPageToken(), res.GetNextPageToken()
		return len(res.GetTasks()), res.GetNextPageToken() != "", nil
	})
	return all, err
}

// taskColumn is one more column of a table of tasks.
type taskColumn struct {
	head string
	cell func(t *v1.Task) string
}

// taskTable writes tasks as rows; more columns come first.
func (a *app) taskTable(w io.Writer, tasks []*v1.Task, more ...taskColumn) {
	var head []string
	for _, c := range more {
		head = append(head, c.head)
	}
	head = append(head, "TASK", "NAME", "STATUS", "QUEUE", "NODE", "ATTEMPT", "CREATED")
	if a.wide() {
		head = append(head, "PRIORITY", "RESERVES", "LABELS", "RUNS")
	}
	row(w, append(head, "DETAIL")...)
	for _, t := range tasks {
		var cells []string
		for _, c := range more {
			cells = append(cells, c.cell(t))
		}
		cells = append(cells, t.GetId(), dash(short(t.GetName(), 40)), enum(t.GetStatus(), taskStatusPrefix), dash(t.GetQueue()), dash(t.GetNodeId()),
			fmt.Sprint(t.GetAttempt()), ago(t.GetCreateTime()))
		if a.wide() {
			cells = append(cells, fmt.Sprint(t.GetPriority()), resources(t.GetResources()), dash(pairs(t.GetLabels())), runs(t))
		}
		row(w, append(cells, detail(t))...)
	}
}

// runs is what a task in a list runs. Commands are left out of lists, which they can make
// very long: 'task get' has them.
func runs(t *v1.Task) string {
	if text := workText(t); text != "" {
		return short(text, 60)
	}
	return "a command"
}

// detail is the most telling thing about a task that its status does not say.
func detail(t *v1.Task) string {
	switch {
	case t.GetCancelRequested():
		return "its node is stopping it"
	case t.GetStatus() == v1.TaskStatus_TASK_STATUS_RUNNING && t.GetProgress() != nil:
		return short(progressText(t.GetProgress()), detailChars)
	case t.GetStatus() == v1.TaskStatus_TASK_STATUS_PENDING && t.GetRetryTime() != nil:
		return "next attempt " + ago(t.GetRetryTime())
	case t.GetStatus() == v1.TaskStatus_TASK_STATUS_FAILED && t.GetError() == "" && t.ExitCode != nil:
		return fmt.Sprintf("exit code %d", t.GetExitCode())
	case t.GetStatus() == v1.TaskStatus_TASK_STATUS_FAILED:
		return short(t.GetError(), detailChars)
	case client.Final(t.GetStatus()) && t.GetStartTime() != nil && t.GetEndTime() != nil:
		return "took " + coarse(t.GetEndTime().AsTime().Sub(t.GetStartTime().AsTime()))
	}
	return ""
}
