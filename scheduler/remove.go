package scheduler

import (
	"context"
	"fmt"
	"slices"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Remove forgets a node that is gone: its lease has lapsed, and it holds nothing.
func (s *Scheduler) Remove(ctx context.Context, id string) error {
	return s.newRemoval(id).do(ctx)
}

func (s *Scheduler) newRemoval(id string) *marking {
	m := s.newMarking(id, nil)
	m.mark = func(st *state, g *db.Group, n *node) {
		if m.err = st.mayForget(n); m.err != nil {
			return
		}
		st.forgetNode(g, n, db.NodeRemovedByCall, func(r db.OpResult) {
			if !r.Held() {
				m.err = controlplane.Errorf(controlplane.CodeUnavailable, "node %s was not removed, since it was changed at the same moment: repeat the call", n.id)
			}
		})
	}
	return m
}

// ForgetNode implements db.NodeForgetter.
func (s *Scheduler) ForgetNode(g *db.Group, id string, renewal int64, done func(db.OpResult)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	if n := st.nodes[id]; n != nil && n.renewal == renewal && n.schedulable && st.mayForget(n) == nil {
		st.forgetNode(g, n, db.NodeRemovedByAge, done)
	}
}

// mayForget says why a node is not to be forgotten yet.
func (st *state) mayForget(n *node) error {
	var text string
	switch tasks := len(n.attempts); {
	case tasks > 0:
		text = fmt.Sprintf("holds %s: drain it, stop its worker once it has none,", count(tasks, "task"))
	case n.isHealthy():
		text = "is heard: stop its worker,"
	default:
		return nil
	}
	return controlplane.Errorf(controlplane.CodePrecondition, "node %s %s and remove it when its lease has lapsed, %v after it was last heard", n.id, text, st.s.opts.Lease)
}

// forgetNode has a node that may be forgotten removed, and takes it out of the copy: what
// comes after that in the group finds none, and may register it anew.
func (st *state) forgetNode(g *db.Group, n *node, why string, then func(db.OpResult)) {
	held := st.checked("forget", nil)
	g.Add(st.s.tasks.RemoveNodeOp(n.id, n.renewal, why), func(r db.OpResult) {
		held(r)
		then(r)
	})
	st.s.log.Info("a node that is gone is forgotten", "node", n.id, "why", why)
	delete(st.nodes, n.id) // no poll of it waits: it would have renewed the lease
	st.watched = slices.DeleteFunc(st.watched, func(w *node) bool { return w == n })
	last := st.byNum[len(st.byNum)-1]
	for _, c := range st.classes {
		c.forget(n, last)
	}
	if st.ranked == len(st.byNum) {
		st.ranked-- // the others keep their order
	} else {
		st.ranked = -1
	}
	st.byNum[n.num], last.num = last, n.num
	st.byNum = slices.Delete(st.byNum, len(st.byNum)-1, len(st.byNum))
	n.num = noNum
}

// noNum is the number of a node that was forgotten: it may still be among the touches.
const noNum = -1

// forget takes a node out of the heap; the last of all nodes gets its number.
func (c *class) forget(n, last *node) {
	if n.num < len(c.pos) && c.pos[n.num] > 0 {
		c.remove(int(c.pos[n.num]) - 1)
	}
	moved, at := offer{}, int32(0)
	if last != n && last.num < len(c.pos) {
		moved, at = c.offers[last.num], c.pos[last.num]
	}
	if n.num < len(c.pos) {
		c.offers[n.num], c.pos[n.num] = moved, at
		if at > 0 {
			c.list[at-1].num = int32(n.num)
		}
	}
	if last.num < len(c.pos) {
		c.offers[last.num] = offer{}
		c.offers, c.pos = c.offers[:last.num], c.pos[:last.num]
	}
}
