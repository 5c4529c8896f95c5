package scheduler

import (
	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Cancel implements db.Canceller. What a node runs is asked to stop, and keeps
// what it reserves until its node has reported or lost its lease; what waits ends
// at once.
func (s *Scheduler) Cancel(g *db.Group, t *controlplane.Task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	if st.disturbed {
		return false // what is held is not known
	}
	a := st.held[t.ID]
	switch {
	case a == nil:
		return st.cancelPending(g, t)
	case a.Status == controlplane.TaskAssigned:
		st.release(a)
		g.Add(db.CancelWaitingOp(a.Held, g.Now), st.checked("cancel", nil))
	case !a.CancelRequested:
		a.CancelRequested = true
		st.note(a)
		g.Add(db.CancelRunningOp(a.Held), st.checked("cancel", nil))
		st.tellStop(a)
	}
	return true
}

// Requeued implements db.Requeuer.
func (s *Scheduler) Requeued(t *controlplane.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.works.forget(t.Seq)
	s.st.rewind(db.StreamOf(t))
}

// cancelPending cancels a task that is among those in memory. Another may be read
// from the state in this pass, as it was before this group: it is not placed.
func (st *state) cancelPending(g *db.Group, t *controlplane.Task) bool {
	st.works.forget(t.Seq)
	if s := st.streams[st.fold(db.StreamOf(t))]; s != nil {
		if h, ok := s.take(place{priority: t.Priority, seq: t.Seq}); ok {
			st.use(s)
			g.Add(db.CancelWaitingOp(db.Held{Seq: h.Seq, TaskID: h.TaskID, Attempt: h.Attempt}, g.Now), st.checked("cancel", nil))
			return true
		}
	}
	st.gone[t.Seq] = struct{}{}
	return false
}

// tellStop lets a poll that waits carry the stop.
func (st *state) tellStop(a *attempt) {
	for _, p := range a.node.waiting {
		if !p.refused && !p.gone {
			a.stopSent = st.now()
			p.stop = append(p.stop, controlplane.Stop{TaskID: a.TaskID, Attempt: a.Attempt, Reason: a.stopReason()})
			st.answer(p)
			return
		}
	}
}
