package db

import (
	"fmt"
	"testing"

	"github.com/raft-control-plane/control-plane"
)

// TestAssignLooksOnceInARow tells which of a group's gifts look at the node: the first to a
// session since something else was added, and all while not all members know what others need.
func TestAssignLooksOnceInARow(t *testing.T) {
	for needs, want := range map[bool]string{
		true:  "a1:look b1:look a1:3 a2:look b1:4 DELETE a1:look a1:9 ",
		false: "a1:look b1:look a1:look a2:look b1:look DELETE a1:look a1:look ",
	} {
		b := newBatcher(nil, nil)
		if needs {
			b.endsSQL = sqlTaskEndInsert
		}
		g := b.begin()
		g.Add(&Op{Steps: []Step{{SQL: "x"}}}, nil)
		g.Add(&Op{Steps: []Step{{SQL: "x"}}}, nil)
		give := func(node, session string) {
			g.Assign(Held{Seq: 1, NodeID: node, Attempt: 1, GPUs: []int32{0}}, session, controlplane.TaskRunning, nil)
		}
		give("a", "1")
		give("b", "1")
		give("a", "1")
		give("a", "2")
		give("b", "1")
		g.Add(&Op{Steps: []Step{{SQL: "DELETE"}}}, nil)
		give("a", "1")
		give("a", "1")
		got := ""
		for _, op := range g.ops[2:] {
			s := op.Steps[0]
			switch {
			case s.SQL == sqlTaskAssign && op.Needs == 0 && len(op.Steps) == 2:
				got += fmt.Sprintf("%s%s:look ", s.Args[1], s.Args[7])
			case s.SQL == sqlTaskAssignNext && len(op.Steps) == 2:
				session := g.ops[op.Needs-1].Steps[0].Args[7]
				got += fmt.Sprintf("%s%s:%d ", s.Args[1], session, op.Needs)
			default:
				got += s.SQL + " "
			}
		}
		if got != want {
			t.Errorf("needs %v: %s, want %s", needs, got, want)
		}
	}
}
