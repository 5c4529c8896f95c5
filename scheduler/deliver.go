package scheduler

import (
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

const (
	// redeliverAfter is how old an attempt must be for a heartbeat that does not list
	// it to mean that its delivery was lost.
	redeliverAfter = 2 * time.Second
	// stopAgainAfter is how long a poll waits before it repeats a stop: stopping
	// takes a while, and a poll that carries a stop is answered at once.
	stopAgainAfter = 2 * time.Second
)

// deliver gives the poll what is assigned to its node and what the node does not
// know of.
func (st *state) deliver(g *db.Group, p *poll) {
	if len(p.node.news) == 0 {
		return
	}
	for _, a := range bySeq(p.node.news) {
		if !p.takes() {
			return
		}
		switch {
		case a.Status == controlplane.TaskAssigned:
			a.Status = controlplane.TaskRunning
			g.Add(db.DeliverOp(a.Held, g.Now), st.checked("deliver", func(held bool) {
				if held {
					p.carry(a, st.works.handOut(a, g.Now))
				}
			}))
		case a.redeliver:
			a.redeliver = false
		default:
			continue
		}
		a.since = st.now()
		st.note(a)
		p.given = append(p.given, given{attempt: a})
		st.answer(p)
	}
}

// handOut lets polls that wait have what came up beside the usual way.
func (st *state) handOut(g *db.Group) {
	for n := range st.owing {
		for _, p := range n.waiting {
			st.deliver(g, p)
		}
	}
	clear(st.owing)
}

// compare marks what the state gives to a node for longer than age and the node
// does not list: the answer that delivered it was lost.
// What it was to hand back and does not hold is taken to have ended so.
func (st *state) compare(g *db.Group, n *node, held []controlplane.Attempt, age time.Duration) {
	if len(n.attempts) == 0 {
		return
	}
	known := make(map[controlplane.Attempt]struct{}, len(held))
	for _, h := range held {
		known[h] = struct{}{}
	}
	now := st.now()
	for _, a := range n.attempts {
		if a.Status != controlplane.TaskRunning {
			continue
		}
		if _, has := known[a.key()]; has {
			a.redeliver = false
		} else if now.Sub(a.since) >= age && !n.isGiving(a) {
			switch {
			case a.isStuck() && !a.CancelRequested && now.Sub(a.course.stuck) >= redeliverAfter:
				st.giveUp(g, a)
				continue
			case !a.stopping.IsZero() && now.Sub(a.stopping) >= redeliverAfter:
				st.handBack(g, a)
				continue
			}
			a.redeliver = a.stopping.IsZero() && !a.isStuck()
		}
		st.note(a)
	}
}

// isGiving reports whether the attempt is in the answer to a poll of this group.
func (n *node) isGiving(a *attempt) bool {
	for _, p := range n.waiting {
		if slices.ContainsFunc(p.given, func(g given) bool { return g.attempt == a }) {
			return true
		}
	}
	return false
}

// notYours tells a node to stop what it lists and the state does not give it.
func notYours(n *node, held []controlplane.Attempt) (stop []controlplane.Stop) {
	for _, h := range held {
		if a := n.attempts[h.TaskID]; a == nil || a.Attempt != h.Attempt {
			stop = append(stop, controlplane.Stop{TaskID: h.TaskID, Attempt: h.Attempt, Reason: controlplane.StopNotYours})
		}
	}
	return stop
}

// stops tells a node to stop what was cancelled, unless a poll said so within
// the time given.
func (st *state) stops(n *node, within time.Duration) (stop []controlplane.Stop) {
	if len(n.news) == 0 {
		return nil
	}
	for _, a := range bySeq(n.news) {
		if reason := a.stopReason(); reason != "" && (within == 0 || st.now().Sub(a.stopSent) >= within) {
			if within > 0 {
				a.stopSent = st.now()
			}
			stop = append(stop, controlplane.Stop{TaskID: a.TaskID, Attempt: a.Attempt, Reason: reason})
		}
	}
	return stop
}

// stopReason is why a node is to stop an attempt, "" if it is not.
func (a *attempt) stopReason() string {
	switch {
	case a.CancelRequested:
		return controlplane.StopCancelled
	case a.isStuck():
		return controlplane.StopNoProgress
	case !a.stopping.IsZero():
		return controlplane.StopDrained
	}
	return ""
}
