package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const nodeStatusPrefix = "NODE_STATUS_"

func newNodeCommand(a *app) *cobra.Command {
	return newGroup("node", "Show the machines that run tasks, and take them out of use", newNodeListCommand(a), newNodeGetCommand(a),
		newNodeCordonCommand(a), newNodeUncordonCommand(a), newNodeDrainCommand(a), newNodeRemoveCommand(a))
}

func newNodeListCommand(a *app) *cobra.Command {
	var statuses []string
	var limit int
	cmd := &cobra.Command{Use: "list", Short: "List nodes", Args: cobra.NoArgs}
	cmd.Flags().StringSliceVar(&statuses, "status", nil, "only of these statuses: "+strings.Join(statusWords(v1.NodeStatus_name, nodeStatusPrefix), ", "))
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "at most so many; 0 for all")
	addConsistencyFlag(cmd)
	addWatchFlag(cmd)
	must(cmd.RegisterFlagCompletionFunc("status", completions(statusWords(v1.NodeStatus_name, nodeStatusPrefix)...)))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		values, err := parseStatuses(statuses, v1.NodeStatus_value, nodeStatusPrefix)
		if err != nil {
			return err
		}
		req := &v1.ListNodesRequest{Consistency: consistency(cmd)}
		for _, v := range values {
			req.Statuses = append(req.Statuses, v1.NodeStatus(v))
		}
		return showView(cmd, a, view[*v1.ListNodesResponse]{
			read: func(ctx context.Context, c *client.Client) (*v1.ListNodesResponse, error) {
				return readNodes(ctx, c, req, limit)
			},
			table:  func(w io.Writer, res *v1.ListNodesResponse) { a.nodeTable(w, res.GetNodes()) },
			more:   func(res *v1.ListNodesResponse) { a.noteMore(res.GetNextPageToken(), "nodes") },
			events: &v1.WatchEventsRequest{},
		})
	}
	return cmd
}

func readNodes(ctx context.Context, c *client.Client, req *v1.ListNodesRequest, limit int) (*v1.ListNodesResponse, error) {
	req = proto.CloneOf(req)
	all := &v1.ListNodesResponse{}
	err := pages(limit, func(size int32) (int, bool, error) {
		req.PageSize = size
		res, err := c.ListNodes(ctx, req)
		if err != nil {
			return 0, false, err
		}
		all.Nodes = append(all.Nodes, res.GetNodes()...)
		all.NextPageToken, req.PageToken = res.GetNextPageToken(), res.GetNextPageToken()
		return len(res.GetNodes()), res.GetNextPageToken() != "", nil
	})
	return all, err
}

func (a *app) nodeTable(w io.Writer, nodes []*v1.Node) {
	head := []string{"NODE", "STATUS", "TASKS", "CPU", "MEMORY", "GPUS", "PROVIDER", "REGION", "HEARD"}
	if a.wide() {
		head = append(head, "ZONE", "INSTANCE TYPE", "PRICE", "DISK", "LABELS", "VERSION")
	}
	row(w, head...)
	for _, n := range nodes {
		spec, free, used := n.GetSpec(), n.GetSpec().GetCapacity(), n.GetReserved()
		cells := []string{n.GetId(), nodeStatus(n),
			fmt.Sprintf("%d/%d", n.GetRunningTasks(), spec.GetSlots()),
			cores(used.GetCpuMillis()) + "/" + cores(free.GetCpuMillis()),
			memory(used.GetMemoryBytes()) + "/" + memory(free.GetMemoryBytes()),
			fmt.Sprintf("%d/%d", used.GetGpus(), free.GetGpus()),
			dash(spec.GetProvider()), dash(spec.GetRegion()), dash(ago(n.GetHeartbeatTime()))}
		if a.wide() {
			cells = append(cells, dash(spec.GetZone()), dash(spec.GetInstanceType()), dash(price(spec)),
				memory(used.GetDiskBytes())+"/"+memory(free.GetDiskBytes()), dash(pairs(spec.GetLabels())), dash(spec.GetVersion()))
		}
		row(w, cells...)
	}
}

func nodeStatus(n *v1.Node) string {
	s := enum(n.GetStatus(), nodeStatusPrefix)
	if words := scheduling(n); words != "" {
		s += "," + words
	}
	return s
}

func newNodeGetCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "get NODE", Short: "Show one node", Args: cobra.ExactArgs(1)}
	addConsistencyFlag(cmd)
	addWatchFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return showView(cmd, a, view[*v1.GetNodeResponse]{
			read: func(ctx context.Context, c *client.Client) (*v1.GetNodeResponse, error) {
				return c.GetNode(ctx, &v1.GetNodeRequest{Id: args[0], Consistency: consistency(cmd)})
			},
			table:  func(w io.Writer, res *v1.GetNodeResponse) { nodeBlock(w, res.GetNode()) },
			events: &v1.WatchEventsRequest{NodeId: args[0]},
		})
	}
	return cmd
}

func nodeBlock(w io.Writer, n *v1.Node) {
	spec := n.GetSpec()
	field(w, "Node", n.GetId())
	field(w, "Status", nodeStatus(n))
	field(w, "Drain", drainText(n))
	field(w, "Terminates", when(n.GetTerminatingTime()))
	if n.GetProbationEndTime() != nil {
		field(w, "Held back", fmt.Sprintf("until %s, it lost its tasks %d times in a short time", when(n.GetProbationEndTime()), n.GetLapses()))
	}
	field(w, "Session", n.GetSessionId())
	field(w, "Tasks", fmt.Sprintf("%d of %d", n.GetRunningTasks(), spec.GetSlots()))
	field(w, "Reserved", resources(n.GetReserved()))
	field(w, "Capacity", resources(spec.GetCapacity()))
	if u := n.GetUsage(); u != nil {
		field(w, "In use", fmt.Sprintf("%s CPU, %s memory", cores(u.GetCpuMillis()), memory(u.GetMemoryBytes())))
	}
	for _, g := range spec.GetGpuDevices() {
		field(w, fmt.Sprintf("GPU %d", g.GetIndex()), fmt.Sprintf("%s, %s", g.GetModel(), memory(g.GetMemoryBytes())))
	}
	field(w, "Labels", pairs(spec.GetLabels()))
	field(w, "Provider", spec.GetProvider())
	field(w, "Region", spec.GetRegion())
	field(w, "Zone", spec.GetZone())
	field(w, "Instance type", spec.GetInstanceType())
	field(w, "Price", price(spec))
	field(w, "Runs", work(spec))
	field(w, "Version", spec.GetVersion())
	field(w, "Registered", when(n.GetCreateTime()))
	field(w, "Heard", when(n.GetHeartbeatTime()))
}

func price(spec *v1.NodeSpec) string {
	text := ""
	if micros := spec.GetPriceMicrosPerHour(); micros > 0 {
		text = fmt.Sprintf("%.4g USD an hour", float64(micros)/1e6)
	}
	if spec.GetSpot() {
		text = strings.TrimPrefix(text+", spot", ", ")
	}
	return text
}

// work is what kinds of tasks a node runs.
func work(spec *v1.NodeSpec) string {
	kinds := spec.GetFunctions()
	if spec.GetExec() {
		kinds = append([]string{"commands"}, kinds...)
	}
	return strings.Join(kinds, ", ")
}

// resources writes amounts, those that are not zero.
func resources(r *v1.Resources) string {
	var parts []string
	if r.GetCpuMillis() > 0 {
		parts = append(parts, cores(r.GetCpuMillis())+" CPU")
	}
	if r.GetMemoryBytes() > 0 {
		parts = append(parts, memory(r.GetMemoryBytes())+" memory")
	}
	if r.GetDiskBytes() > 0 {
		parts = append(parts, memory(r.GetDiskBytes())+" disk")
	}
	if r.GetGpus() > 0 {
		parts = append(parts, fmt.Sprintf("%d GPU", r.GetGpus()))
	}
	for _, name := range slices.Sorted(maps.Keys(r.GetCustom())) {
		parts = append(parts, fmt.Sprintf("%d %s", r.GetCustom()[name], name))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
