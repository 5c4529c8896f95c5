package scheduler

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// watch looks for what is due: leases that lapse, retries, assigned tasks that
// nobody fetches. Leases go by this leader's monotonic clock, counted from the
// commit of the last renewal that it saw, so that a wall clock that jumps harms
// nobody.
func (s *Scheduler) watch(ctx context.Context) {
	tick := time.NewTicker(s.opts.Tick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := s.tick(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("could not write what is due", "error", err)
		}
	}
}

// tick has what is due taken up by a group, and returns when that is committed.
func (s *Scheduler) tick(ctx context.Context) error {
	if !s.isDue() {
		return nil
	}
	return s.tasks.Do(ctx, 0, func(*db.Group) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.st.collecting = true // once all of the group is prepared: a renewal in it counts
	})
}

func (s *Scheduler) isDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	if st == nil {
		return false
	}
	now := st.now()
	if st.disturbed || st.retries.isDue(now) || st.isOverdue(now) {
		return true
	}
	return st.mayLapse(now) || st.isWatchedDue(now)
}

// mayLapse reports whether a lease has lapsed. Each renewal moves a lease's end, so no lease
// can lapse before the first of the ends that were seen last: of thousands of nodes that
// heartbeat, nobody is looked at but once in two thirds of a lease.
func (st *state) mayLapse(now time.Time) bool {
	if now.Before(st.firstLapse) {
		return false
	}
	first := now.Add(st.s.opts.Lease)
	for _, n := range st.byNum {
		if st.lapsed(n, now) {
			return true
		}
		if end := n.renewed.Add(st.s.opts.Lease); n.isHealthy() && end.Before(first) {
			first = end
		}
	}
	st.firstLapse = first
	return false
}

// watchOver has a node looked at each tick, as long as it is to hear of something, is being
// emptied, or is held back. Of most nodes nothing but the lease can become due.
func (st *state) watchOver(n *node) {
	if !n.watched && n.needsWatch() {
		n.watched = true
		st.watched = append(st.watched, n)
	}
}

func (n *node) needsWatch() bool { return len(n.news) > 0 || n.leaving() || n.probationMs > 0 }

func (st *state) isWatchedDue(now time.Time) bool {
	st.watched = slices.DeleteFunc(st.watched, func(n *node) bool {
		n.watched = n.needsWatch()
		return !n.watched
	})
	return slices.ContainsFunc(st.watched, func(n *node) bool {
		return len(st.unfetched(n, now)) > 0 || st.isEmptying(n) || st.isReleased(n)
	})
}

// collect puts everything that is due into a group.
func (st *state) collect(g *db.Group) {
	st.collecting = false
	now := st.now()
	for _, n := range st.byNum {
		if st.lapsed(n, now) {
			st.expire(g, n)
		}
		for _, a := range st.unfetched(n, now) {
			st.release(a)
			st.rewind(a.Stream)
			g.Add(db.RequeueOp(a.Held, db.Requeue{Attempt: db.AttemptReleased, Reason: "not_fetched"}, g.Now), st.checked("take back", nil))
		}
		st.empty(g, n)
		if st.isReleased(n) {
			st.endProbation(g, n)
		}
	}
	if st.isOverdue(now) {
		st.timeOut(g, now)
	}
	for st.retries.isDue(now) {
		r := heap.Pop(&st.retries).(retry)
		g.Add(db.DueOp(r.seq), nil) // 0 rows: it was cancelled meanwhile
		st.rewind(r.stream)
	}
}

// lapsed reports whether a node was not heard for a whole lease.
func (st *state) lapsed(n *node, now time.Time) bool {
	return n.status == controlplane.NodeHealthy && n.renewing != st.group && now.Sub(n.renewed) > st.s.opts.Lease
}

// unfetched are the tasks that were assigned to a node which does not poll.
func (st *state) unfetched(n *node, now time.Time) (list []*attempt) {
	for a := range n.news {
		if a.Status == controlplane.TaskAssigned && now.Sub(a.since) > st.s.opts.AssignTimeout {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, compareSeq) // few: it is asked of each node every tick
	return list
}

// expire takes everything from a node whose lease has lapsed.
func (st *state) expire(g *db.Group, n *node) {
	st.s.log.Warn("node not heard for its lease: its tasks go back", "node", n.id, "tasks", len(n.attempts), "lease", st.s.opts.Lease)
	st.lapse(n)
	g.Add(db.ExpireOp(n.id, n.renewal, n.lapses, n.lapseMs), st.checked("expire", nil))
	n.status, st.total = controlplane.NodeUnhealthy, nil
	for _, p := range n.waiting {
		st.refuse(p, nil)
	}
	st.lose(g, n, "lease_lost", "node "+n.id+" was not heard for "+st.s.opts.Lease.String())
}

// lose takes all attempts from a node. A task that has lost too many ends: it may
// be what kills its nodes.
func (st *state) lose(g *db.Group, n *node, reason, why string) {
	for _, a := range bySeq(n.all()) {
		st.release(a)
		g.Add(st.loss(a, reason, why, g.Now), st.checked(reason, nil))
	}
}

func (st *state) loss(a *attempt, reason, why string, nowMs int64) *db.Op {
	r := db.Requeue{Attempt: db.AttemptLost, Reason: reason, Result: controlplane.Result{Error: why}}
	if a.node.leaving() {
		r.Attempt = db.AttemptReleased
	}
	switch {
	case a.CancelRequested:
		return db.LoseOp(a.Held, controlplane.TaskCancelled, r, nowMs)
	case a.Status == controlplane.TaskAssigned, a.node.leaving(): // never handed out, so it cannot be what killed the node, or known to go
		r.Attempt = db.AttemptReleased
	case a.LostAttempts+1 >= a.MaxLostAttempts:
		r.Result.Error = why + "; it was the last of max_lost_attempts, this task may be what kills its nodes"
		return db.LoseOp(a.Held, controlplane.TaskFailed, r, nowMs)
	}
	st.rewind(a.Stream)
	return db.RequeueOp(a.Held, r, nowMs)
}

// rewind lets a task be found that goes back to its queue. What this group changes
// is not in the state yet, so the stream is read in a later pass.
func (st *state) rewind(k db.Stream) {
	st.rewinds = append(st.rewinds, k)
	st.more = true
}

// retry is a task that waits for its next attempt.
type retry struct {
	seq    int64
	stream db.Stream
	due    time.Time
}

// retries is a heap, the first that is due on top.
type retries []retry

func (h *retries) add(r retry) { heap.Push(h, r) }

func (h retries) isDue(now time.Time) bool { return len(h) > 0 && !now.Before(h[0].due) }

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h retries) Len() int { return len(h) }

// Less orders by time, then age.
func (h retries) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].seq < h[j].seq
}

// Swap implements heap.Interface.
func (h retries) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *retries) Push(x any) { *h = append(*h, x.(retry)) }

// Pop implements heap.Interface.
func (h *retries) Pop() any {
	r := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return r
}
