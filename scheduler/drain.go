package scheduler

import (
	"context"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Which nodes are given tasks, and how work is taken off those that are not to have
// it. What a node has not fetched goes back to its queue at once. What it runs is
// waited for until the deadline; then the node is told to stop it and hand it back.
// What comes back from a node that is being emptied counts neither as a failure nor
// as a loss, also if the node dies meanwhile.

const (
	// terminationLead is how long before its machine is taken away a node is told to
	// stop what it runs: time to save it, and to be heard.
	terminationLead = 30 * time.Second
	// handBackTime is how long a node has for handing back what it was told to stop.
	// Then it is taken from it: whatever it reports later is refused.
	handBackTime = 30 * time.Second

	// A node that loses its tasks flapLapses times, each within flapWindow of the one
	// before, is held back once it is heard again: for minProbation, twice as long
	// after each further time, at most maxProbation.
	flapLapses   = 3
	flapWindow   = 10 * time.Minute
	minProbation = time.Minute
	maxProbation = 16 * time.Minute
)

// marking is a call that changes whether a node is given tasks: an item of a group.
type marking struct {
	s    *Scheduler
	id   string
	mark func(st *state, g *db.Group, n *node)
	err  error
	done chan error
}

// Cordon keeps new tasks from a node.
func (s *Scheduler) Cordon(ctx context.Context, id string) error {
	return s.newMarking(id, (*state).cordon).do(ctx)
}

// Uncordon lets a node have new tasks again, whatever kept them from it.
func (s *Scheduler) Uncordon(ctx context.Context, id string) error {
	return s.newMarking(id, (*state).uncordon).do(ctx)
}

// Drain takes the work off a node. It waits for what runs for so long, or without
// end if nil.
func (s *Scheduler) Drain(ctx context.Context, id string, deadline *time.Duration) error {
	return s.newMarking(id, func(st *state, g *db.Group, n *node) { st.drain(g, n, deadline) }).do(ctx)
}

func (s *Scheduler) newMarking(id string, mark func(*state, *db.Group, *node)) *marking {
	return &marking{s: s, id: id, mark: mark, done: make(chan error, 1)}
}

func (m *marking) do(ctx context.Context) error {
	if err := m.s.tasks.Enqueue(m); err != nil {
		return err
	}
	return m.await(ctx)
}

func (m *marking) await(ctx context.Context) error {
	select {
	case err := <-m.done:
		if err != nil {
			return err
		}
		return m.err
	case <-ctx.Done():
		return controlplane.Errorf(controlplane.CodeUnknownOutcome, "the time allowed ended while the change was under way: look at the node, or repeat the call")
	}
}

// Weight implements db.Item.
func (m *marking) Weight() (ops, bytes int) { return 4, 512 }

// Finish implements db.Item.
func (m *marking) Finish(err error) { m.done <- err }

// Prepare implements db.Item.
func (m *marking) Prepare(g *db.Group) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	st := m.s.st
	n := st.nodes[m.id]
	if n == nil {
		m.err = &controlplane.Error{Code: controlplane.CodeNotFound, Field: "id", Message: "there is no node " + m.id + ": check the id, or list the nodes"}
		return
	}
	m.mark(st, g, n)
}

func (st *state) cordon(g *db.Group, n *node) {
	if !n.schedulable {
		return
	}
	n.schedulable = false
	g.Add(db.CordonOp(n.id), st.checked("cordon", nil))
}

func (st *state) uncordon(g *db.Group, n *node) {
	if n.schedulable && n.lapses == 0 {
		return
	}
	n.schedulable, n.drainMs, n.deadlineMs, n.drainTasks = true, 0, 0, 0
	n.lapses, n.lapseMs, n.probationMs = 0, 0, 0
	g.Add(db.UncordonOp(n.id), st.checked("uncordon", nil))
	st.touch(n)
}

func (st *state) drain(g *db.Group, n *node, deadline *time.Duration) {
	now := st.wallMs()
	n.schedulable, n.deadlineMs = false, 0
	if deadline != nil {
		n.deadlineMs = now + deadline.Milliseconds()
	}
	if n.drainMs == 0 {
		n.drainMs, n.drainTasks = now, int32(len(n.attempts))
	}
	g.Add(db.DrainOp(n.id, n.deadlineMs, int(n.drainTasks), n.drainMs), st.checked("drain", nil))
	st.empty(g, n)
}

// terminate takes in when the machine of a node is taken away.
func (st *state) terminate(g *db.Group, n *node, at time.Time) {
	if ms := at.UnixMilli(); !at.IsZero() && ms != n.terminatingMs {
		n.terminatingMs = max(ms, 1)
		g.Add(db.TerminatingOp(n.id, n.session, n.terminatingMs), st.checked("terminate", nil))
		st.empty(g, n)
	}
}

// leaving reports whether a node is being emptied.
func (n *node) leaving() bool { return n.drainMs > 0 || n.terminatingMs > 0 }

// stopMs is when a node that is being emptied has to stop what it runs; 0 for never.
func (n *node) stopMs() int64 {
	stop := n.deadlineMs
	if n.terminatingMs > 0 {
		if at := max(n.terminatingMs-terminationLead.Milliseconds(), 1); stop == 0 || at < stop {
			stop = at
		}
	}
	return stop
}

// mustStop reports whether what a node runs is not waited for any longer.
func (st *state) mustStop(n *node) bool {
	stop := n.stopMs()
	return n.leaving() && stop > 0 && st.wallMs() >= stop
}

// empty takes from a node that is being emptied what it has not fetched, and what it
// runs when that is no longer waited for.
func (st *state) empty(g *db.Group, n *node) {
	if !n.leaving() {
		return
	}
	st.watchOver(n)
	must := st.mustStop(n)
	for _, a := range bySeq(n.all()) {
		switch {
		case a.Status == controlplane.TaskAssigned:
			st.handBack(g, a)
		case a.CancelRequested, a.isStuck(), !must:
		case a.stopping.IsZero():
			a.stopping = st.now()
			st.note(a)
			st.tellStop(a)
		case st.now().Sub(a.stopping) > handBackTime:
			st.handBack(g, a)
		}
	}
}

func (st *state) handBack(g *db.Group, a *attempt) {
	st.release(a)
	st.rewind(a.Stream)
	g.Add(db.RequeueOp(a.Held, db.Requeue{Attempt: db.AttemptReleased, Reason: "drained",
		Result: controlplane.Result{Error: "node " + a.NodeID + " is being emptied"}}, g.Now), st.checked("hand back", nil))
}

// isEmptying reports whether a node that is being emptied has something to be told
// or to be taken from it.
func (st *state) isEmptying(n *node) bool {
	if !n.leaving() || len(n.attempts) == 0 || !st.mustStop(n) {
		return false
	}
	for _, a := range n.attempts {
		if !a.CancelRequested && !a.isStuck() && (a.stopping.IsZero() || st.now().Sub(a.stopping) > handBackTime) {
			return true
		}
	}
	return false
}

// lapse counts a lapse of a node's lease, or a session that was replaced while it ran
// tasks: an agent that crashes and is started again loses as much.
func (st *state) lapse(n *node) {
	now := st.wallMs()
	if n.lapseMs == 0 || now-n.lapseMs > flapWindow.Milliseconds() {
		n.lapses = 0
	}
	n.lapses++
	n.lapseMs, n.probationMs = now, 0
}

// holdBack puts a node that is heard again on probation, if its lease lapses too often.
func (st *state) holdBack(g *db.Group, n *node) {
	if n.lapses < flapLapses {
		return
	}
	wait := min(minProbation<<min(n.lapses-flapLapses, 10), maxProbation)
	n.probationMs = st.wallMs() + wait.Milliseconds()
	st.watchOver(n)
	st.s.log.Warn("a node loses its tasks again and again: it gets none for a while", "node", n.id, "lapses", n.lapses, "wait", wait)
	g.Add(db.ProbationOp(n.id, n.probationMs), st.checked("hold back", nil))
}

func (st *state) isReleased(n *node) bool { return n.probationMs > 0 && st.wallMs() >= n.probationMs }

// endProbation lets a node have tasks again.
func (st *state) endProbation(g *db.Group, n *node) {
	n.probationMs = 0
	g.Add(db.ProbationOp(n.id, 0), st.checked("end probation", nil))
	st.touch(n)
}

// notePolling writes down whether a node asks for work, when that has changed. One
// without a free slot need not ask.
func (st *state) notePolling(g *db.Group, n *node) {
	polls := len(n.waiting) > 0 || st.now().Sub(n.polled) < st.s.opts.PollGrace
	if polls == n.polling || !polls && n.slotsUsed >= int64(n.spec.Slots) {
		return
	}
	n.polling = polls
	g.Add(db.PollingOp(n.id, n.session, polls), st.checked("note polling", nil))
}
