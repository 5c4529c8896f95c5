package scheduler

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// retry is a task that waits for its next attempt.
type retry struct {
	seq    int64
	stream db.Stream
	due    time.Time
}

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
		if s.isDue() {
			err := s.tasks.Do(ctx, 0, s.collect)
			if err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
				s.log.Debug("could not write what is due", "error", err)
			}
		}
	}
}

func (s *Scheduler) isDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	if st == nil {
		return false
	}
	now := st.now()
	for _, r := range st.retries {
		if !now.Before(r.due) {
			return true
		}
	}
	for _, n := range st.nodes {
		if st.lapsed(n, now) || len(st.unfetched(n, now)) > 0 {
			return true
		}
	}
	return false
}

// collect puts everything that is due into a group.
func (s *Scheduler) collect(g *db.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, now := s.st, s.opts.Now()
	for _, n := range sortedNodes(st.all()) {
		if st.lapsed(n, now) {
			st.expire(g, n)
		}
		for _, a := range st.unfetched(n, now) {
			st.release(a)
			st.rewind(a)
			g.Add(db.RequeueOp(a.Held, db.Requeue{Attempt: db.AttemptReleased, Reason: "not_fetched"}, g.Now), st.checked("take back", nil))
		}
	}
	st.retries = slices.DeleteFunc(st.retries, func(r retry) bool {
		if now.Before(r.due) {
			return false
		}
		g.Add(db.DueOp(r.seq), nil) // 0 rows: it was cancelled meanwhile
		st.rewinds = append(st.rewinds, r.stream)
		st.more = true
		return true
	})
}

// lapsed reports whether a node was not heard for a whole lease.
func (st *state) lapsed(n *node, now time.Time) bool {
	return n.status == controlplane.NodeHealthy && now.Sub(n.renewed) > st.s.opts.Lease
}

// unfetched are the tasks that were assigned to a node which does not poll.
func (st *state) unfetched(n *node, now time.Time) (list []*attempt) {
	for _, a := range n.attempts {
		if a.Status == controlplane.TaskAssigned && now.Sub(a.since) > st.s.opts.AssignTimeout {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *attempt) int { return int(a.Seq - b.Seq) })
	return list
}

// expire takes everything from a node whose lease has lapsed.
func (st *state) expire(g *db.Group, n *node) {
	st.s.log.Warn("node not heard for its lease: its tasks go back", "node", n.id, "tasks", len(n.attempts), "lease", st.s.opts.Lease)
	g.Add(db.ExpireOp(n.id, n.renewal), st.checked("expire", nil))
	n.status = controlplane.NodeUnhealthy
	n.dismiss(nil)
	st.lose(g, n, "lease_lost", "node "+n.id+" was not heard for "+st.s.opts.Lease.String())
}

// lose takes all attempts from a node. A task that has lost too many ends: it may
// be what kills its nodes.
func (st *state) lose(g *db.Group, n *node, reason, why string) {
	list := make([]*attempt, 0, len(n.attempts))
	for _, a := range n.attempts {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *attempt) int { return int(a.Seq - b.Seq) })
	for _, a := range list {
		st.release(a)
		g.Add(st.loss(a, reason, why, g.Now), st.checked(reason, nil))
	}
}

func (st *state) loss(a *attempt, reason, why string, nowMs int64) *db.Op {
	r := db.Requeue{Attempt: db.AttemptLost, Reason: reason, Result: controlplane.Result{Error: why}}
	switch {
	case a.CancelRequested:
		return db.LoseOp(a.Held, controlplane.TaskCancelled, r, nowMs)
	case a.Status == controlplane.TaskAssigned: // never handed out, so it cannot be what killed the node
		r.Attempt = db.AttemptReleased
	case a.LostAttempts+1 >= a.MaxLostAttempts:
		r.Result.Error = why + "; it was the last of max_lost_attempts, this task may be what kills its nodes"
		return db.LoseOp(a.Held, controlplane.TaskFailed, r, nowMs)
	}
	st.rewind(a)
	return db.RequeueOp(a.Held, r, nowMs)
}

// Cancel implements db.Canceller: it stops what a node holds.
func (s *Scheduler) Cancel(g *db.Group, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.cancelled[id] = true
	a := st.held[id]
	switch {
	case a == nil:
		return false
	case a.Status == controlplane.TaskAssigned:
		st.release(a)
		g.Add(db.CancelWaitingOp(a.Held, g.Now), st.checked("cancel", nil))
	case !a.CancelRequested:
		a.CancelRequested = true
		g.Add(db.CancelRunningOp(a.Held), st.checked("cancel", nil))
		st.tellStop(a)
	}
	return true
}

// tellStop lets a poll that waits carry the stop.
func (st *state) tellStop(a *attempt) {
	for _, p := range a.node.waiting {
		a.stopSent = st.now()
		p.stop = append(p.stop, controlplane.Stop{TaskID: a.TaskID, Attempt: a.Attempt, Reason: controlplane.StopCancelled})
		st.answer(p)
		return
	}
}
