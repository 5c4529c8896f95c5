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

// place is one pass: the first task of the queue whose turn it is (queue.go) goes to
// its best node, until nothing fits or the entry is full. What finds no node, or is at
// a limit of its queue or of its concurrency key, holds up nobody.
func (st *state) place(g *db.Group) {
	st.at = st.now()
	st.rank()
	st.admit(g)
	fleet := st.fleet()
	queues := st.ready(fleet)
	all := slices.Clone(queues)
	ages := slices.ContainsFunc(all, func(q *queue) bool { return q.AgeingInterval > 0 })
	for n := 0; len(queues) > 0; {
		if n == maxPlacements {
			st.more = true
			break
		}
		q := queues[0]
		if st.placeHead(g, q) {
			q.share = fleet.share(q)
			n++
		}
		if len(q.ready) > 0 {
			heap.Fix(&queues, 0)
		} else {
			heap.Pop(&queues)
		}
		if ages {
			queues = st.sift(queues)
		}
	}
	for _, q := range all {
		q.ready = nil
	}
	st.touches.passed(len(st.byNum))
}

// placeHead gives the first task of a queue to a node. If there is none for it, the
// stream is not looked at again in this pass.
func (st *state) placeHead(g *db.Group, q *queue) bool {
	s := q.ready[0]
	var target *node
	if st.admits(s) {
		target = s.class.best(st)
	}
	if target != nil {
		st.give(g, s, target)
	}
	if target != nil && s.fill(st) {
		heap.Fix(q, 0)
	} else {
		heap.Pop(q)
	}
	return target != nil
}

// sift takes out of the queues with ageing the heads that can be placed no longer. Of
// queues with equal shares the one with the first head has its turn, and a head that
// goes makes room for a later one: then a queue was early in vain, and comes again. With
// ageing the next one may be of a higher priority, and would come too late.
func (st *state) sift(queues queueHeap) queueHeap {
	sifted := false
	for _, q := range queues {
		for q.AgeingInterval > 0 && len(q.ready) > 0 && !st.placeable(q.ready[0]) {
			heap.Pop(q)
			sifted = true
		}
	}
	if sifted {
		queues = slices.DeleteFunc(queues, func(q *queue) bool { return len(q.ready) == 0 })
		heap.Init(&queues)
	}
	return queues
}

func (st *state) placeable(s *stream) bool { return st.admits(s) && s.class.best(st) != nil }

// admit puts the group's submissions beside the streams that they belong to.
func (st *state) admit(g *db.Group) {
	for _, sub := range g.Submissions {
		if !sub.Task.RetryTime.IsZero() {
			continue // it waits for its start
		}
		s := st.stream(db.StreamOf(sub.Task))
		s.fresh, s.freshMs = append(s.fresh, sub), g.Now
		st.use(s)
	}
	for _, s := range st.used {
		slices.SortStableFunc(s.fresh, func(a, b *db.Submission) int { return int(b.Task.Priority) - int(a.Task.Priority) })
	}
}

// ready returns the queues that have a task and a node for it, with its streams.
func (st *state) ready(f *fleet) (queues queueHeap) {
	for c := range st.busy {
		if c.catchUp(st); c.best(st) == nil {
			continue
		}
		for s := range c.awake {
			if !st.admits(s) {
				st.sleep(s)
				continue
			}
			if !s.fill(st) {
				continue
			}
			if len(s.queue.ready) == 0 {
				queues = append(queues, s.queue)
			}
			s.queue.ready = append(s.queue.ready, s)
		}
	}
	for _, q := range queues {
		q.share = f.share(q)
		heap.Init(q)
	}
	heap.Init(&queues)
	return queues
}

// give hands the head of a stream to a node: RUNNING if a poll of it waits, else
// ASSIGNED until it polls.
func (st *state) give(g *db.Group, s *stream, n *node) {
	st.use(s)
	s.moved = st.at
	sub, head := s.pop(g)
	p := n.poll()
	status := controlplane.TaskAssigned
	if p != nil {
		status = controlplane.TaskRunning
	}
	a := &attempt{since: st.at, HeldTask: db.HeldTask{
		Held: db.Held{Seq: head.Seq, TaskID: head.TaskID, NodeID: n.id, Attempt: head.Attempt + 1,
			GPUs: n.freeGPUs(s.class.match(st, n), s.class.needs.Resources.GPUs)},
		Stream: s.key, Status: status, FailedAttempts: head.FailedAttempts, LostAttempts: head.LostAttempts,
		MaxAttempts: head.MaxAttempts, MaxLostAttempts: head.MaxLostAttempts, RetryPolicy: head.RetryPolicy}}
	a.Priority = head.Priority
	st.reserve(n, a)
	st.placedOn(n)
	if p != nil {
		p.given = append(p.given, given{attempt: a})
		st.answer(p)
	}
	if sub != nil {
		sub.Place(n.id, n.session, status, a.GPUs)
		sub.Done = func(stored bool) { // false if its id was taken
			st.s.mu.Lock()
			defer st.s.mu.Unlock()
			switch st.placed(a, p, stored); {
			case !stored:
			case p != nil:
				p.carry(a, sub.Kept())
			default:
				st.works.keep(sub)
			}
		}
		return
	}
	g.Assign(a.Held, n.session, status, st.checked("placement", func(held bool) {
		if st.placed(a, p, held); held {
			if st.works.assigned(a, g.Now); p != nil {
				p.carry(a, st.works.handOut(a, g.Now))
			}
		}
	}))
}

// placed takes in the outcome of a placement.
func (st *state) placed(a *attempt, p *poll, held bool) {
	if held {
		st.keep(a)
		return
	}
	st.free(a)
	if p != nil {
		p.given = slices.DeleteFunc(p.given, func(g given) bool { return g.attempt == a })
	}
	st.more = true // others may have use for its room
}
