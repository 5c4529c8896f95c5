package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// topBar is how many characters a bar has.
const topBar = 10

// topPicture is what top shows.
func topPicture(f *fleet, colours bool) []byte {
	var b bytes.Buffer
	b.Write(renderTable(f.head, colours))
	fmt.Fprintln(&b)
	b.Write(renderTable(f.queueTable, colours))
	fmt.Fprintln(&b)
	b.Write(renderTable(f.nodeTable, colours))
	if f.nodes.GetNextPageToken() != "" {
		fmt.Fprintf(&b, "only the first %d nodes are shown\n", len(f.nodes.GetNodes()))
	}
	return b.Bytes()
}

func (f *fleet) head(w io.Writer) {
	leader := f.cluster.GetLeader()
	if leader == "" {
		leader = "none: writes wait until a majority of the members is there"
	}
	answer := 0
	for _, m := range f.cluster.GetMembers() {
		if m.GetAppliedIndex() > 0 {
			answer++
		}
	}
	field(w, "Cluster", fmt.Sprintf("%s, leader %s, term %d, index %d", f.cluster.GetClusterId(), leader, f.cluster.GetTerm(), f.cluster.GetAppliedIndex()))
	field(w, "Members", fmt.Sprintf("%d of %d answer", answer, len(f.cluster.GetMembers())))
	var waiting, running int64
	for _, q := range f.queues.GetQueues() {
		waiting += q.GetPendingTasks()
		running += q.GetRunningTasks()
	}
	field(w, "Tasks", fmt.Sprintf("%d waiting, %d running", waiting, running))
	f.nodeFields(w)
	field(w, "At", f.at.Format(time.TimeOnly))
}

// nodeFields sum up the nodes that work.
func (f *fleet) nodeFields(w io.Writer) {
	states := map[v1.NodeStatus]int{}
	used, there := &v1.Resources{}, &v1.Resources{}
	for _, n := range f.nodes.GetNodes() {
		states[n.GetStatus()]++
		if n.GetStatus() != v1.NodeStatus_NODE_STATUS_HEALTHY {
			continue
		}
		u, c := n.GetReserved(), n.GetSpec().GetCapacity()
		used.CpuMillis, there.CpuMillis = used.CpuMillis+u.GetCpuMillis(), there.CpuMillis+c.GetCpuMillis()
		used.MemoryBytes, there.MemoryBytes = used.MemoryBytes+u.GetMemoryBytes(), there.MemoryBytes+c.GetMemoryBytes()
		used.Gpus, there.Gpus = used.Gpus+u.GetGpus(), there.Gpus+c.GetGpus()
	}
	field(w, "Nodes", topCount(states[v1.NodeStatus_NODE_STATUS_HEALTHY], "healthy", states[v1.NodeStatus_NODE_STATUS_UNHEALTHY], "unhealthy",
		states[v1.NodeStatus_NODE_STATUS_UNKNOWN], "unknown"))
	field(w, "CPU", bar(used.CpuMillis, there.CpuMillis)+" "+cores(used.CpuMillis)+"/"+cores(there.CpuMillis))
	field(w, "Memory", bar(used.MemoryBytes, there.MemoryBytes)+" "+memory(used.MemoryBytes)+"/"+memory(there.MemoryBytes))
	field(w, "GPUs", bar(int64(used.Gpus), int64(there.Gpus))+fmt.Sprintf(" %d/%d", used.Gpus, there.Gpus))
}

func (f *fleet) queueTable(w io.Writer) {
	row(w, "QUEUE", "STATUS", "WAITING", "RUNNING", "WEIGHT", "SHARE", "CPU", "MEMORY", "GPUS")
	queues := slices.SortedFunc(slices.Values(f.queues.GetQueues()), func(a, b *v1.Queue) int {
		return cmp.Or(cmp.Compare(b.GetRunningTasks()+b.GetPendingTasks(), a.GetRunningTasks()+a.GetPendingTasks()), cmp.Compare(a.GetName(), b.GetName()))
	})
	for _, q := range queues {
		state := "open"
		if q.GetPaused() {
			state = "paused"
		}
		row(w, q.GetName(), state, fmt.Sprint(q.GetPendingTasks()), fmt.Sprint(q.GetRunningTasks()), fmt.Sprint(q.GetWeight()), queueShare(q),
			cores(q.GetUsed().GetCpuMillis()), memory(q.GetUsed().GetMemoryBytes()), fmt.Sprint(q.GetUsed().GetGpus()))
	}
}

func (f *fleet) nodeTable(w io.Writer) {
	row(w, "NODE", "STATUS", "TASKS", "CPU", "MEMORY", "GPUS", "HEARD")
	nodes := slices.SortedFunc(slices.Values(f.nodes.GetNodes()), func(a, b *v1.Node) int {
		return cmp.Or(cmp.Compare(trouble(b), trouble(a)), cmp.Compare(fullness(b), fullness(a)), cmp.Compare(a.GetId(), b.GetId()))
	})
	for _, n := range nodes {
		used, there := n.GetReserved(), n.GetSpec().GetCapacity()
		row(w, n.GetId(), nodeStatus(n), fmt.Sprintf("%s %d/%d", bar(int64(n.GetRunningTasks()), int64(n.GetSpec().GetSlots())), n.GetRunningTasks(), n.GetSpec().GetSlots()),
			fmt.Sprintf("%s %s/%s", bar(used.GetCpuMillis(), there.GetCpuMillis()), cores(used.GetCpuMillis()), cores(there.GetCpuMillis())),
			fmt.Sprintf("%s %s/%s", bar(used.GetMemoryBytes(), there.GetMemoryBytes()), memory(used.GetMemoryBytes()), memory(there.GetMemoryBytes())),
			fmt.Sprintf("%d/%d", used.GetGpus(), there.GetGpus()), dash(ago(n.GetHeartbeatTime())))
	}
}

// trouble orders nodes by how much they need to be looked at.
func trouble(n *v1.Node) int {
	switch {
	case n.GetStatus() != v1.NodeStatus_NODE_STATUS_HEALTHY:
		return 2
	case scheduling(n) != "":
		return 1
	}
	return 0
}

// fullness is the largest part of anything of a node that is reserved.
func fullness(n *v1.Node) float64 {
	used, there := n.GetReserved(), n.GetSpec().GetCapacity()
	return max(part(int64(n.GetRunningTasks()), int64(n.GetSpec().GetSlots())), part(used.GetCpuMillis(), there.GetCpuMillis()),
		part(used.GetMemoryBytes(), there.GetMemoryBytes()), part(int64(used.GetGpus()), int64(there.GetGpus())))
}

func part(used, there int64) float64 {
	if there <= 0 {
		return 0
	}
	return min(float64(used)/float64(there), 1)
}

// bar draws how much of something is used.
func bar(used, there int64) string {
	filled := int(part(used, there)*topBar + 0.5)
	return "[" + strings.Repeat("#", filled) + strings.Repeat(".", topBar-filled) + "]"
}
