package scheduler

import (
	"context"

	"github.com/raft-control-plane/control-plane/db"
)

// match is what v_eligible says of a class and a kind of node.
type match = db.Eligibility

// otherNode is for classes that name another node, which SQL need not be asked.
var otherNode = &match{Unmet: 1 << db.NodeFits}

// match asks once for each class and kind of node.
func (c *class) match(st *state, n *node) *match {
	id := c.needs.Constraints.NodeID
	if id != "" && id != n.id {
		return otherNode
	}
	if m := c.matches[n.kind]; m != nil {
		return m
	}
	m := &match{}
	err := st.read(context.Background(), func(conn db.Conn) (err error) {
		*m, err = st.s.tasks.Eligibility(conn, c.kind, n.kind, id)
		return err
	})
	if err != nil {
		st.s.log.Error("cannot tell whether a class of tasks runs on a node: it gets none", "class", c.id, "node", n.id, "error", err)
		return &match{Unmet: 1 << db.WorkFits}
	}
	if len(c.matches) > 64+2*len(st.byNum) { // nodes keep saying something else of themselves
		clear(c.matches)
	}
	c.matches[n.kind] = m
	return m
}
