package scheduler

import (
	"container/heap"
	"slices"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Placement. SQL says who is eligible and in which order: the streams of pending
// tasks (task_heads.sql) and the candidates of the classes that a new leader finds
// (node_select_least_loaded.sql). In between, heaps in memory follow what each
// group changes.

// maxPlacements bounds a pass, so that an entry stays of a good size.
const maxPlacements = 1024

// place is one pass: the first pending task that fits somewhere, by priority and
// then age across all queues and classes, goes to its least loaded node, until
// nothing fits or the entry is full. A class that finds no node holds up nobody.
func (st *state) place(g *db.Group) {
	st.at = st.now()
	st.admit(g)
	ready := st.ready()
	for n := 0; len(ready) > 0; {
		if n == maxPlacements {
			st.more = true
			break
		}
		s := ready[0]
		if target := s.class.best(st); target != nil {
			st.give(g, s, target)
			n++
			if s.fill(st) {
				heap.Fix(&ready, 0)
				continue
			}
		}
		heap.Pop(&ready)
	}
	st.touches.passed(len(st.byNum))
}

// admit puts the group's submissions beside the streams that they belong to.
func (st *state) admit(g *db.Group) {
	for _, sub := range g.Submissions {
		s := st.stream(db.Stream{Queue: sub.Task.Queue, ClassID: sub.Task.ClassID})
		s.fresh = append(s.fresh, sub)
		st.use(s)
	}
	for _, s := range st.used {
		slices.SortStableFunc(s.fresh, func(a, b *db.Submission) int { return int(b.Task.Priority) - int(a.Task.Priority) })
	}
}

// streamHeap is streams that have a head, the first on top.
type streamHeap []*stream

// ready returns the streams that have a task and a node for it.
func (st *state) ready() streamHeap {
	var ready streamHeap
	for c := range st.busy {
		if c.catchUp(st); c.best(st) == nil {
			continue
		}
		for s := range c.streams {
			if s.fill(st) {
				ready = append(ready, s)
			}
		}
	}
	heap.Init(&ready)
	return ready
}

// give hands the head of a stream to a node: RUNNING if a poll of it waits, else
// ASSIGNED until it polls.
func (st *state) give(g *db.Group, s *stream, n *node) {
	st.use(s)
	sub, head := s.pop()
	p := n.poll()
	status := controlplane.TaskAssigned
	if p != nil {
		status = controlplane.TaskRunning
	}
	a := &attempt{since: st.at, HeldTask: db.HeldTask{
		Held: db.Held{Seq: head.Seq, TaskID: head.TaskID, NodeID: n.id, Attempt: head.Attempt + 1,
			GPUs: n.freeGPUs(s.class.needs.Resources.GPUs)},
		Queue: s.key.Queue, ClassID: s.key.ClassID, Status: status, FailedAttempts: head.FailedAttempts, LostAttempts: head.LostAttempts,
		MaxAttempts: head.MaxAttempts, MaxLostAttempts: head.MaxLostAttempts}}
	st.reserve(n, a)
	if p != nil {
		p.given = append(p.given, given{attempt: a})
		st.answer(p)
	}
	if sub != nil {
		sub.Place(n.id, n.session, status, a.GPUs)
		sub.Done = func(stored bool) { // false if its id was taken
			st.s.mu.Lock()
			defer st.s.mu.Unlock()
			st.placed(a, p, sub.Task, stored)
		}
		return
	}
	g.Add(db.AssignOp(a.Held, n.session, status, g.Now), st.checked("placement", func(held bool) { st.placed(a, p, nil, held) }))
}

// placed takes in the outcome of a placement. task is what it does, if known.
func (st *state) placed(a *attempt, p *poll, task *controlplane.Task, held bool) {
	switch {
	case held:
		st.keep(a)
		if p != nil && task != nil {
			p.carry(a, task)
		}
	default:
		st.free(a)
		if p != nil {
			p.given = slices.DeleteFunc(p.given, func(g given) bool { return g.attempt == a })
		}
		st.more = true // others may have use for its room
	}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h streamHeap) Len() int { return len(h) }

// Less orders by the place of the head.
func (h streamHeap) Less(i, j int) bool {
	p, _ := h[i].first()
	q, _ := h[j].first()
	return p.before(q)
}

// Swap implements heap.Interface.
func (h streamHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *streamHeap) Push(x any) { *h = append(*h, x.(*stream)) }

// Pop implements heap.Interface.
func (h *streamHeap) Pop() any {
	s := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return s
}
