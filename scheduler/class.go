package scheduler

import (
	"container/heap"
	"context"
	"maps"
	"math"
	"slices"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// full is a load of 1: what is beyond it does not fit.
const full = 1 << 52

// class is the tasks of equal needs in queues of the same placement: their streams, and
// the nodes that may take them, in a heap with the best on top.
//
// A placement raises the load of its node in every class, so what a heap stores
// is a lower bound and only its top is scored again. What lowers a load, or lets
// a node in, is a touch, and a class takes in the touches that it has missed when
// it next has tasks. With BINPACK a raised load makes a node better, and the bound
// does not hold: there a placement is a touch too, taken in before the next one.
type class struct {
	classKey
	needs   db.Class
	streams map[*stream]struct{}
	// awake are those that a pass looks at: the others wait for their concurrency key.
	awake map[*stream]struct{}
	// stored says that the class was in the state when this member began to lead:
	// then SQL says who is eligible.
	stored bool
	built  bool
	seen   int64 // touches up to here are in the heap

	list []candidate
	pos  []int32 // by node.num: place in list plus 1

	// kind is what v_eligible looks at in the class, matches what it has
	// said, by db.NodeKind.
	kind    string
	matches map[string]*match
}

type classKey struct {
	id        int64
	placement controlplane.Placement
}

// candidate is a node with what it is ordered by.
type candidate struct {
	node      *node
	preferred bool
	cost      int64 // of the task's part of the node; 0 unless that counts
	load      int64
	usage     controlplane.NodeUsage
}

// touches is the log of nodes that may have more room, or ask for work, since.
type touches struct {
	log  []*node
	base int64 // number of the first in log
	mark int64 // number of the first since the last pass
}

func (t *touches) end() int64 { return t.base + int64(len(t.log)) }

// touch notes a node, once between two passes.
func (st *state) touch(n *node) {
	t := &st.touches
	if n.touched < t.mark {
		n.touched = t.end()
		t.log = append(t.log, n)
	}
}

// placedOn notes a node whose load has risen, if that concerns anyone.
func (st *state) placedOn(n *node) {
	if t := &st.touches; st.packing {
		n.touched = t.end()
		t.log = append(t.log, n)
	}
}

// passed ends a pass. Classes without tasks may fall behind the log; they look at
// all nodes then.
func (t *touches) passed(nodes int) {
	t.mark = t.end()
	if len(t.log) > 1024+2*nodes {
		t.base, t.log = t.mark, t.log[:0]
	}
}

// class returns a class.
func (st *state) class(id int64, placement controlplane.Placement) *class {
	k := classKey{id, placement}
	c := st.classes[k]
	if c == nil {
		c = &class{classKey: k, needs: st.s.classOf(id), streams: map[*stream]struct{}{}, awake: map[*stream]struct{}{}, matches: map[string]*match{}}
		c.kind = c.needs.Kind()
		st.classes[k] = c
		st.packing = st.packing || placement == controlplane.PlacementBinpack
	}
	return c
}

// maxCandidates bounds the candidates that are kept for classes without tasks.
const maxCandidates = 1 << 20

// evict forgets classes without tasks when there are many.
func (st *state) evict() {
	if len(st.classes)*(len(st.byNum)+64) <= maxCandidates {
		return
	}
	for k, c := range st.classes {
		if len(c.streams) == 0 {
			delete(st.classes, k)
		}
	}
}

// ForgetClass implements db.ClassForgetter.
func (s *Scheduler) ForgetClass(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, placement := range controlplane.Placements {
		k := classKey{id, placement}
		if c := s.st.classes[k]; c != nil && len(c.streams) == 0 {
			delete(s.st.classes, k)
		}
	}
}

// catchUp brings the heap up to date.
func (c *class) catchUp(st *state) {
	t := &st.touches
	switch {
	case !c.built && c.stored:
		c.build(st)
	case !c.built, c.seen < t.base:
		c.offerAll(st)
	default:
		for _, n := range t.log[c.seen-t.base:] {
			c.offer(st, n)
		}
	}
	c.built, c.seen = true, t.end()
}

// build fills the heap by SQL: who is eligible by the state, in which order. What
// this group changes is not in the state yet.
func (c *class) build(st *state) {
	var rows []db.Candidate
	err := st.read(context.Background(), func(conn db.Conn) (err error) {
		rows, err = db.Candidates(conn, c.id, c.placement, math.MaxInt32)
		return err
	})
	if err != nil {
		st.s.log.Error("cannot read the candidates of a class: looking at all nodes", "class", c.id, "error", err)
		c.offerAll(st)
		return
	}
	for _, r := range rows {
		if n := st.nodes[r.NodeID]; n != nil {
			c.offer(st, n)
		}
	}
	for _, n := range st.touches.log[st.touches.mark-st.touches.base:] {
		c.offer(st, n)
	}
}

func (c *class) offerAll(st *state) {
	for _, n := range st.byNum {
		c.offer(st, n)
	}
}

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

// load is the largest share of any resource that would be reserved on the node,
// in units of 1/2^52: the expression of the view v_candidates.
func (n *node) load(r controlplane.Resources) (load int64) {
	for _, a := range n.amounts(r) {
		load = max(load, share(a.used, a.more, a.capacity))
	}
	if len(r.Custom) > 0 || len(n.used.Custom) > 0 {
		for _, a := range n.customAmounts(r) {
			load = max(load, share(a.used, a.more, a.capacity))
		}
	}
	return load
}

func share(used, more, capacity int64) int64 {
	switch {
	case more > capacity-used: // also of what it does not need: the node has less than it holds
		return math.MaxInt64
	case more == 0:
		return 0
	}
	return (used + more) * (full / capacity)
}

// cost is the price of the task's part of a node: the expression of
// node_select_cheapest.sql.
func (c *class) cost(n *node) int64 {
	if c.placement != controlplane.PlacementCheapest {
		return 0
	}
	r, has := c.needs.Resources, n.spec.Capacity
	part := max(
		full/int64(n.spec.Slots),
		r.CPUMillis*(full/max(has.CPUMillis, 1)),
		r.MemoryBytes*(full/max(has.MemoryBytes, 1)),
		r.DiskBytes*(full/max(has.DiskBytes, 1)),
		int64(r.GPUs)*(full/max(int64(has.GPUs), 1)))
	return n.spec.PriceMicrosPerHour * (part >> 32)
}

// idle is why a node is given no tasks, "" if it is. One that heartbeats but would
// not fetch a task soon gets none.
func (st *state) idle(n *node) string {
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
	case len(n.waiting) == 0 && st.at.Sub(n.polled) >= st.s.opts.PollGrace:
		return "not_polling"
	}
	return ""
}

// asks reports whether a node is given tasks.
func (st *state) asks(n *node) bool { return st.idle(n) == "" }

// score is the load that the node would have, beyond full if it takes no task of
// the class now.
func (c *class) score(st *state, n *node) int64 {
	m := c.match(st, n)
	if !m.Eligible() || !st.asks(n) || n.freeOf(m) < c.needs.Resources.GPUs {
		return math.MaxInt64
	}
	return n.load(c.needs.Resources)
}

// offer puts a node where its load belongs, or leaves it out.
func (c *class) offer(st *state, n *node) {
	if n.num >= len(c.pos) {
		c.pos = append(c.pos, make([]int32, len(st.byNum)-len(c.pos))...)
	}
	i := int(c.pos[n.num]) - 1
	load := c.score(st, n)
	switch {
	case load > full && i >= 0:
		heap.Remove(c, i)
	case load > full:
	case i >= 0:
		c.list[i] = candidate{node: n, preferred: c.match(st, n).Preferred, cost: c.cost(n), load: load, usage: n.usage}
		heap.Fix(c, i)
	default:
		heap.Push(c, candidate{node: n, preferred: c.match(st, n).Preferred, cost: c.cost(n), load: load, usage: n.usage})
	}
}

// best returns the best node that has room, nil if there is none.
func (c *class) best(st *state) *node {
	if c.placement == controlplane.PlacementBinpack {
		c.catchUp(st)
	}
	for len(c.list) > 0 {
		top := &c.list[0]
		switch load := c.score(st, top.node); {
		case load > full:
			heap.Pop(c)
		case load != top.load:
			top.load = load
			heap.Fix(c, 0)
		default:
			return top.node
		}
	}
	return nil
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (c *class) Len() int { return len(c.list) }

// Less implements heap.Interface.
func (c *class) Less(i, j int) bool { return c.better(&c.list[i], &c.list[j]) }

// better orders by the regions that are preferred, by cost, by load, then measured
// CPU, memory, and id.
func (c *class) better(a, b *candidate) bool {
	switch {
	case a.preferred != b.preferred:
		return a.preferred
	case a.cost != b.cost:
		return a.cost < b.cost
	case a.load != b.load:
		return (a.load < b.load) != (c.placement == controlplane.PlacementBinpack)
	case a.usage.CPUMillis != b.usage.CPUMillis:
		return a.usage.CPUMillis < b.usage.CPUMillis
	case a.usage.MemoryBytes != b.usage.MemoryBytes:
		return a.usage.MemoryBytes < b.usage.MemoryBytes
	}
	return a.node.id < b.node.id
}

// Swap implements heap.Interface.
func (c *class) Swap(i, j int) {
	c.list[i], c.list[j] = c.list[j], c.list[i]
	c.pos[c.list[i].node.num], c.pos[c.list[j].node.num] = int32(i+1), int32(j+1)
}

// Push implements heap.Interface.
func (c *class) Push(x any) {
	e := x.(candidate)
	c.list = append(c.list, e)
	c.pos[e.node.num] = int32(len(c.list))
}

// Pop implements heap.Interface.
func (c *class) Pop() any {
	e := c.list[len(c.list)-1]
	c.list = c.list[:len(c.list)-1]
	c.pos[e.node.num] = 0
	return e
}
