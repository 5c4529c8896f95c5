package scheduler

import (
	"context"
	"math"

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

	list   []candidate // a heap, see candidates.go
	offers []offer     // by node.num
	pos    []int32     // by node.num: place in list plus 1; 0 if it is not there

	// kind is what v_eligible looks at in the class, matches what it has
	// said, by db.NodeKind.
	kind    string
	matches map[string]*match
}

type classKey struct {
	id        int64
	placement controlplane.Placement
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
