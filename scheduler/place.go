package scheduler

import (
	"container/heap"
	"context"
	"math"
	"slices"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Placement. SQL says who is eligible and in which order: the streams of pending
// tasks (task_heads.sql) and the first candidates of a class
// (node_select_least_loaded.sql). In between a heap for each class holds the
// nodes by the load that they would have: each placement raises one node's load,
// so what a heap stores is a lower bound, and only its top is scored again.

const (
	// full is a load of 1: what is beyond it does not fit.
	full = 1 << 52
	// maxPlacements bounds a pass, so that an entry stays of a good size.
	maxPlacements = 1024
	// headsAtOnce is how many pending tasks of a stream are read at a time.
	headsAtOnce = 256
)

// load is the largest share of any resource that would be reserved on the node,
// in units of 1/2^52: the expression of node_select_least_loaded.sql.
func (n *node) load(r controlplane.Resources) int64 {
	return max(
		share(int64(len(n.attempts)), 1, int64(n.spec.Slots)),
		share(n.used.CPUMillis, r.CPUMillis, n.spec.Capacity.CPUMillis),
		share(n.used.MemoryBytes, r.MemoryBytes, n.spec.Capacity.MemoryBytes),
		share(int64(n.used.GPUs), int64(r.GPUs), int64(n.spec.Capacity.GPUs)))
}

func share(used, more, capacity int64) int64 {
	if more == 0 {
		return 0
	}
	if used+more > capacity {
		return math.MaxInt64
	}
	return (used + more) * (full / capacity)
}

// eligible reports whether tasks of the class run on the node at all.
func (n *node) eligible(c db.Class) bool {
	if c.Function == "" {
		return n.spec.Exec
	}
	return slices.Contains(n.spec.Functions, c.Function)
}

// asks reports whether the node would fetch a task soon: a node that heartbeats
// but does not poll gets no work.
func (st *state) asks(n *node) bool {
	return n.status == controlplane.NodeHealthy && n.schedulable &&
		(len(n.waiting) > 0 || st.now().Sub(n.polled) < st.s.opts.PollGrace)
}

// place is one pass: the best pending task that fits somewhere goes to its least
// loaded node, until nothing fits or the entry is full.
func (st *state) place(g *db.Group) {
	st.admit(g)
	st.wake()
	for n := 0; ; n++ {
		if n == maxPlacements {
			st.more = true
			break
		}
		s, target := st.next()
		if s == nil {
			break
		}
		st.give(g, s, target)
	}
	st.settle()
}

// admit puts the group's submissions beside the streams that they belong to.
func (st *state) admit(g *db.Group) {
	for _, sub := range g.Submissions {
		s := st.stream(db.Stream{Queue: sub.Task.Queue, ClassID: sub.Task.ClassID})
		s.fresh = append(s.fresh, sub)
	}
	for _, s := range st.order {
		slices.SortStableFunc(s.fresh, func(a, b *db.Submission) int { return int(b.Task.Priority) - int(a.Task.Priority) })
	}
}

// wake offers the nodes that were touched to the classes that they fit.
func (st *state) wake() {
	for _, n := range sortedNodes(st.touched) {
		for _, c := range st.heaps {
			c.offer(st, n)
		}
	}
	clear(st.touched)
}

func sortedNodes(set map[*node]bool) []*node {
	nodes := make([]*node, 0, len(set))
	for n := range set {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *node) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return nodes
}

// next returns the stream whose head comes first among those that have a node,
// and that node.
func (st *state) next() (best *stream, target *node) {
	for _, s := range st.order {
		n := st.candidates(s.key.ClassID).best(st)
		if n == nil || !s.fill(st) {
			continue
		}
		if best == nil || s.before(best) {
			best, target = s, n
		}
	}
	return best, target
}

// give hands the head of a stream to a node: RUNNING if a poll of it waits, else
// ASSIGNED until it polls.
func (st *state) give(g *db.Group, s *stream, n *node) {
	gpus := n.freeGPUs(st.s.tasks.Class(s.key.ClassID).Resources.GPUs)
	status, p := controlplane.TaskAssigned, n.poll()
	if p != nil {
		status = controlplane.TaskRunning
	}
	sub, head := s.pop()
	a := &attempt{since: st.now(), HeldTask: db.HeldTask{
		Held:  db.Held{Seq: head.Seq, TaskID: head.TaskID, NodeID: n.id, Attempt: head.Attempt + 1, GPUs: gpus},
		Queue: s.key.Queue, ClassID: s.key.ClassID, Status: status, FailedAttempts: head.FailedAttempts, LostAttempts: head.LostAttempts,
		MaxAttempts: head.MaxAttempts, MaxLostAttempts: head.MaxLostAttempts}}
	st.hold(n, a)
	if p != nil {
		p.seqs = append(p.seqs, a.Seq)
		st.answer(p)
	}
	undo := func() { st.undo(a, p) }
	if sub != nil {
		sub.Place(n.id, n.session, status, gpus)
		sub.Done = func(stored bool) {
			if !stored { // its id was taken: nothing was placed
				st.s.mu.Lock()
				defer st.s.mu.Unlock()
				undo()
			}
		}
		return
	}
	g.Add(db.AssignOp(a.Held, n.session, status, g.Now), func(r db.OpResult) {
		if r.Changed == 0 || r.Err != nil {
			st.s.mu.Lock()
			defer st.s.mu.Unlock()
			undo()
			if !st.cancelled[a.TaskID] {
				st.s.log.Warn("a placement did not hold: reading the state anew", "task", a.TaskID, "node", n.id, "error", r.Err)
				st.disturbed = true
			}
			st.s.tasks.Kick()
		}
	})
}

// undo takes back a placement that did not take effect. By then the task id may
// name another attempt, which stays.
func (st *state) undo(a *attempt, p *poll) {
	if st.held[a.TaskID] == a {
		st.release(a)
	}
	if p != nil {
		p.seqs = slices.DeleteFunc(p.seqs, func(seq int64) bool { return seq == a.Seq })
	}
}

// settle forgets what belonged to this pass only.
func (st *state) settle() {
	live := st.order[:0]
	for _, s := range st.order {
		s.fresh = nil
		live = append(live, s)
	}
	st.order = live
	clear(st.cancelled)
}

// candidates are the nodes that may take tasks of a class, the least loaded on
// top.
type candidates struct {
	class db.Class
	list  []candidate
	pos   map[*node]int
}

type candidate struct {
	node  *node
	load  int64
	usage controlplane.NodeUsage
}

// candidates returns the heap of a class, filled by SQL when it is first asked
// for.
func (st *state) candidates(class int64) *candidates {
	if c := st.heaps[class]; c != nil {
		return c
	}
	c := &candidates{class: st.s.tasks.Class(class), pos: map[*node]int{}}
	st.heaps[class] = c
	err := st.read(context.Background(), func(conn db.Conn) error {
		rows, err := db.Candidates(conn, class, math.MaxInt32)
		for _, r := range rows {
			if n := st.nodes[r.NodeID]; n != nil {
				c.offer(st, n)
			}
		}
		return err
	})
	if err != nil {
		st.s.log.Error("cannot read candidates", "class", class, "error", err)
		delete(st.heaps, class)
	}
	// A class that this very entry introduces, and nodes that it frees, are not in
	// the state yet.
	for _, n := range sortedNodes(st.all()) {
		c.offer(st, n)
	}
	return c
}

func (st *state) all() map[*node]bool {
	set := make(map[*node]bool, len(st.nodes))
	for _, n := range st.nodes {
		set[n] = true
	}
	return set
}

// offer puts a node where its load belongs, or leaves it out.
func (c *candidates) offer(st *state, n *node) {
	i, in := c.pos[n]
	fit := st.asks(n) && n.eligible(c.class)
	load := int64(math.MaxInt64)
	if fit {
		load = n.load(c.class.Resources)
	}
	switch {
	case load > full && in:
		heap.Remove(c, i)
	case load > full:
	case in:
		c.list[i].load, c.list[i].usage = load, n.usage
		heap.Fix(c, i)
	default:
		heap.Push(c, candidate{node: n, load: load, usage: n.usage})
	}
}

// best returns the least loaded node that has room, nil if there is none.
func (c *candidates) best(st *state) *node {
	for len(c.list) > 0 {
		top := &c.list[0]
		load := int64(math.MaxInt64)
		if st.asks(top.node) {
			load = top.node.load(c.class.Resources)
		}
		switch {
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
func (c *candidates) Len() int { return len(c.list) }

// Less orders by load, then measured CPU, memory, and id.
func (c *candidates) Less(i, j int) bool {
	a, b := &c.list[i], &c.list[j]
	switch {
	case a.load != b.load:
		return a.load < b.load
	case a.usage.CPUMillis != b.usage.CPUMillis:
		return a.usage.CPUMillis < b.usage.CPUMillis
	case a.usage.MemoryBytes != b.usage.MemoryBytes:
		return a.usage.MemoryBytes < b.usage.MemoryBytes
	}
	return a.node.id < b.node.id
}

// Swap implements heap.Interface.
func (c *candidates) Swap(i, j int) {
	c.list[i], c.list[j] = c.list[j], c.list[i]
	c.pos[c.list[i].node], c.pos[c.list[j].node] = i, j
}

// Push implements heap.Interface.
func (c *candidates) Push(x any) {
	e := x.(candidate)
	c.pos[e.node] = len(c.list)
	c.list = append(c.list, e)
}

// Pop implements heap.Interface.
func (c *candidates) Pop() any {
	e := c.list[len(c.list)-1]
	c.list = c.list[:len(c.list)-1]
	delete(c.pos, e.node)
	return e
}
