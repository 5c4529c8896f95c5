package scheduler

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// What a node would be worth to a class of tasks: the expressions of the view
// v_candidates and of node_select_cheapest.sql once more, since a pass asks for them
// a million times a second.

// amount is how much of a resource is reserved on a node, how much more a task needs,
// and how much there is.
type amount struct {
	resource             string
	used, more, capacity int64
}

func (n *node) amounts(r controlplane.Resources) [5]amount {
	have := &n.spec.Capacity
	return [5]amount{
		{"slots", n.slotsUsed, 1, int64(n.spec.Slots)},
		{"cpu", n.used.CPUMillis, r.CPUMillis, have.CPUMillis},
		{"memory", n.used.MemoryBytes, r.MemoryBytes, have.MemoryBytes},
		{"disk", n.used.DiskBytes, r.DiskBytes, have.DiskBytes},
		{"gpus", int64(n.used.GPUs), int64(r.GPUs), int64(have.GPUs)},
	}
}

// customAmounts are the same for what has names of its own: what the task needs, and
// what the node holds.
func (n *node) customAmounts(r controlplane.Resources) (list []amount) {
	have := n.spec.Capacity.Custom
	for _, name := range slices.Sorted(maps.Keys(r.Custom)) {
		list = append(list, amount{name, n.used.Custom[name], r.Custom[name], have[name]})
	}
	for name, used := range n.used.Custom {
		if _, needed := r.Custom[name]; !needed {
			list = append(list, amount{name, used, 0, have[name]})
		}
	}
	return list
}

// units are the part of each resource of a node that one of it is, in units of
// 1/full: made once, because a division for each resource is most of a score.
type units struct{ slot, cpuMilli, memoryByte, diskByte, gpu int64 }

func unitsOf(s *controlplane.NodeSpec) units {
	c := &s.Capacity
	return units{unit(int64(s.Slots)), unit(c.CPUMillis), unit(c.MemoryBytes), unit(c.DiskBytes), unit(int64(c.GPUs))}
}

func unit(capacity int64) int64 { return full / max(capacity, 1) }

// load is the largest share of any resource that would be reserved on the node,
// in units of 1/2^52: the expression of the view v_candidates.
func (n *node) load(r *controlplane.Resources) int64 {
	have, u := &n.spec.Capacity, &n.units
	load := max(
		share(n.slotsUsed, 1, int64(n.spec.Slots), u.slot),
		share(n.used.CPUMillis, r.CPUMillis, have.CPUMillis, u.cpuMilli),
		share(n.used.MemoryBytes, r.MemoryBytes, have.MemoryBytes, u.memoryByte),
		share(n.used.DiskBytes, r.DiskBytes, have.DiskBytes, u.diskByte),
		share(int64(n.used.GPUs), int64(r.GPUs), int64(have.GPUs), u.gpu))
	if len(r.Custom) > 0 || len(n.used.Custom) > 0 {
		for _, a := range n.customAmounts(*r) {
			load = max(load, share(a.used, a.more, a.capacity, unit(a.capacity)))
		}
	}
	return load
}

func share(used, more, capacity, unit int64) int64 {
	switch {
	case more > capacity-used: // also of what it does not need: the node has less than it holds
		return math.MaxInt64
	case more == 0:
		return 0
	}
	return (used + more) * unit
}

// cost is the price of the task's part of a node: the expression of
// node_select_cheapest.sql.
func (c *class) cost(n *node) int64 {
	if c.placement != controlplane.PlacementCheapest {
		return 0
	}
	r, u := &c.needs.Resources, &n.units
	part := max(u.slot, r.CPUMillis*u.cpuMilli, r.MemoryBytes*u.memoryByte, r.DiskBytes*u.diskByte, int64(r.GPUs)*u.gpu)
	return n.spec.PriceMicrosPerHour * (part >> 32)
}

// idle is why a node is given no tasks, "" if it is. One that heartbeats but would
// not fetch a task soon gets none.
func (st *state) idle(n *node) string { return st.idleAt(n, st.at) }

func (st *state) idleAt(n *node, now time.Time) string {
	switch {
	case n.status != controlplane.NodeHealthy:
		return "unhealthy"
	case n.drainMs > 0:
		return "draining"
	case !n.schedulable:
		return "cordoned"
	case n.terminatingMs > 0:
		return "terminating"
	case n.probationMs > 0:
		return "probation"
	case len(n.waiting) == 0 && now.Sub(n.polled) >= st.s.opts.PollGrace:
		return "not_polling"
	}
	return ""
}

// asks reports whether a node is given tasks.
func (st *state) asks(n *node) bool { return st.idle(n) == "" }

// score is the load that the node would have, beyond full if it takes no task of
// the class now.
func (c *class) score(st *state, n *node) int64 { return c.scoreBy(st, n, c.match(st, n)) }

// scoreBy is score for what match says.
func (c *class) scoreBy(st *state, n *node, m *match) int64 {
	r := &c.needs.Resources
	if !m.Eligible() || !st.asks(n) || r.GPUs > 0 && n.freeOf(m) < r.GPUs {
		return math.MaxInt64
	}
	return n.load(r)
}
