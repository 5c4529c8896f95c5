package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const placementPrefix = "PLACEMENT_"

const queueLong = `Queues share the nodes by weight: the next task is taken from the queue that has
the least of the fleet for its weight, and within a queue the highest priority goes
first, then the oldest. A task may name a queue that has no settings: the defaults
hold for it.`

func newQueueCommand(a *app) *cobra.Command {
	cmd := newGroup("queue", "Show queues and set how they share the nodes",
		newQueueSetCommand("create QUEUE", "Give settings to a queue", a.createQueue),
		newQueueSetCommand("update QUEUE", "Change settings of a queue, those whose flags are given", a.updateQueue),
		newQueueListCommand(a), newQueueShowCommand(a), newQueuePauseCommand(a), newQueueResumeCommand(a), newQueueDeleteCommand(a))
	cmd.Long = queueLong
	return cmd
}

func newQueueListCommand(a *app) *cobra.Command {
	var limit int
	cmd := &cobra.Command{Use: "list", Short: "List the queues that have settings, or tasks that wait or run", Args: cobra.NoArgs}
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "at most so many; 0 for all")
	addConsistencyFlag(cmd)
	addWatchFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return showView(cmd, a, view[*v1.ListQueuesResponse]{
			read: func(ctx context.Context, c *client.Client) (*v1.ListQueuesResponse, error) {
				return readQueues(ctx, c, &v1.ListQueuesRequest{Consistency: consistency(cmd)}, limit)
			},
			table:  func(w io.Writer, res *v1.ListQueuesResponse) { a.queueTable(w, res.GetQueues()) },
			more:   func(res *v1.ListQueuesResponse) { a.noteMore(res.GetNextPageToken(), "queues") },
			events: &v1.WatchEventsRequest{},
		})
	}
	return cmd
}

func readQueues(ctx context.Context, c *client.Client, req *v1.ListQueuesRequest, limit int) (*v1.ListQueuesResponse, error) {
	all := &v1.ListQueuesResponse{}
	err := pages(limit, func(size int32) (int, bool, error) {
		req.PageSize = size
		res, err := c.ListQueues(ctx, req)
		if err != nil {
			return 0, false, err
		}
		all.Queues = append(all.Queues, res.GetQueues()...)
		all.NextPageToken, req.PageToken = res.GetNextPageToken(), res.GetNextPageToken()
		return len(res.GetQueues()), res.GetNextPageToken() != "", nil
	})
	return all, err
}

func (a *app) queueTable(w io.Writer, queues []*v1.Queue) {
	head := []string{"QUEUE", "WEIGHT", "SHARE", "WAITING", "RUNNING", "CPU", "MEMORY", "GPUS", "PLACEMENT"}
	if a.wide() {
		head = append(head, "AGEING", "CREATED", "CHANGED")
	}
	row(w, append(head, "DETAIL")...)
	for _, q := range queues {
		l, used := limitsOf(q), q.GetUsed()
		cells := []string{q.GetName(), fmt.Sprint(q.GetWeight()), queueShare(q), fmt.Sprint(q.GetPendingTasks()),
			fmt.Sprint(q.GetRunningTasks()) + ofLimit(l.Tasks, count), cores(used.GetCpuMillis()) + ofLimit(l.CpuMillis, cores),
			memory(used.GetMemoryBytes()) + ofLimit(l.MemoryBytes, memory), fmt.Sprint(used.GetGpus()) + ofLimit(l.Gpus, count),
			enum(q.GetPlacement(), placementPrefix)}
		if a.wide() {
			ageing := ""
			if d := q.GetAgeingInterval(); d != nil {
				ageing = d.AsDuration().String()
			}
			cells = append(cells, dash(ageing), dash(ago(q.GetCreateTime())), dash(ago(q.GetUpdateTime())))
		}
		row(w, append(cells, queueDetail(q))...)
	}
}

func limitsOf(q *v1.Queue) *v1.QueueLimits {
	if l := q.GetLimits(); l != nil {
		return l
	}
	return &v1.QueueLimits{}
}

// ofLimit writes a limit behind what is held of it, if there is one.
func ofLimit[T any](limit *T, text func(T) string) string {
	if limit == nil {
		return ""
	}
	return "/" + text(*limit)
}

func count(n int32) string { return fmt.Sprint(n) }

func queueShare(q *v1.Queue) string {
	return fmt.Sprintf("%.1f%%", float64(q.GetDominantShareMillionths())/1e4)
}

func queueDetail(q *v1.Queue) string {
	switch {
	case q.GetPaused():
		return "paused"
	case q.GetImplicit():
		return "no settings"
	}
	return ""
}

func newQueueShowCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "show QUEUE", Short: "Show one queue", Args: cobra.ExactArgs(1)}
	addConsistencyFlag(cmd)
	addWatchFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return showView(cmd, a, view[*v1.GetQueueResponse]{
			read: func(ctx context.Context, c *client.Client) (*v1.GetQueueResponse, error) {
				return c.GetQueue(ctx, &v1.GetQueueRequest{Name: args[0], Consistency: consistency(cmd)})
			},
			table:  func(w io.Writer, res *v1.GetQueueResponse) { queueBlock(w, res.GetQueue()) },
			events: &v1.WatchEventsRequest{Queue: args[0]},
		})
	}
	return cmd
}

func queueBlock(w io.Writer, q *v1.Queue) {
	field(w, "Queue", q.GetName())
	field(w, "State", map[bool]string{true: "paused", false: "open"}[q.GetPaused()])
	field(w, "Weight", fmt.Sprint(q.GetWeight()))
	field(w, "Share", queueShare(q))
	field(w, "Waiting", fmt.Sprint(q.GetPendingTasks()))
	field(w, "Running", fmt.Sprint(q.GetRunningTasks()))
	field(w, "Reserved", resources(q.GetUsed()))
	field(w, "Limits", queueLimits(limitsOf(q)))
	field(w, "Placement", enum(q.GetPlacement(), placementPrefix))
	if d := q.GetAgeingInterval(); d != nil {
		field(w, "Ageing", "one priority in "+d.AsDuration().String())
	}
	if q.GetImplicit() {
		field(w, "Settings", "none: the defaults hold")
	}
	field(w, "Created", when(q.GetCreateTime()))
	field(w, "Changed", when(q.GetUpdateTime()))
}

func queueLimits(l *v1.QueueLimits) string {
	var parts []string
	if l.Tasks != nil {
		parts = append(parts, fmt.Sprintf("%d tasks", l.GetTasks()))
	}
	if l.CpuMillis != nil {
		parts = append(parts, cores(l.GetCpuMillis())+" CPU")
	}
	if l.MemoryBytes != nil {
		parts = append(parts, memory(l.GetMemoryBytes())+" memory")
	}
	if l.Gpus != nil {
		parts = append(parts, fmt.Sprintf("%d GPU", l.GetGpus()))
	}
	if l.DiskBytes != nil {
		parts = append(parts, memory(l.GetDiskBytes())+" disk")
	}
	for _, name := range slices.Sorted(maps.Keys(l.GetCustom())) {
		parts = append(parts, fmt.Sprintf("%d %s", l.GetCustom()[name], name))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
