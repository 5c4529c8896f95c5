package dbtest

import (
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

func testForgetNodes(t *testing.T, m *db.TaskManifest) {
	spec := controlplane.NodeSpec{Slots: 1, Exec: true, GPUDevices: []controlplane.GPUDevice{{Index: 0}, {Index: 1}}}
	for _, id := range []string{"forget-old", "forget-cordoned", "forget-holds", "forget-new"} {
		for _, session := range []string{"1", "2"} {
			if err := m.RegisterNode(await(t), id, id+session, spec); err != nil {
				t.Fatal(err)
			}
		}
	}
	forget := func(id string, renewal int64, why string) db.OpResult {
		t.Helper()
		return do(t, m, func(int64) *db.Op { return m.RemoveNodeOp(id, renewal, why) })
	}
	wantChanged(t, "one that is heard", forget("forget-old", 2, db.NodeRemovedByCall), 0)
	add(t, m, execTask("forget-task"))
	assign(t, m, "forget-task", "forget-holds")
	for _, id := range []string{"forget-old", "forget-cordoned", "forget-holds"} {
		wantChanged(t, "expire "+id, do(t, m, func(int64) *db.Op { return db.ExpireOp(id, 2, 1, 1) }), 1)
	}
	do(t, m, func(int64) *db.Op { return db.CordonOp("forget-cordoned") })
	wantChanged(t, "one that was renewed since", forget("forget-old", 1, db.NodeRemovedByCall), 0)
	wantChanged(t, "one that holds a task", forget("forget-holds", 2, db.NodeRemovedByCall), 0)
	wantChanged(t, "one that is cordoned, by age", forget("forget-cordoned", 2, db.NodeRemovedByAge), 0)

	left := func() string {
		t.Helper()
		return rows(t, m.Engine(), `SELECT group_concat(id) FROM (SELECT id FROM nodes WHERE id LIKE 'forget-%' ORDER BY id)`)[0]
	}
	prune := func(keep time.Duration) {
		t.Helper()
		time.Sleep(2 * time.Millisecond) // so that all are older than 1 ms
		if _, err := m.PruneNodes(await(t), db.NodeRetention(keep)); err != nil {
			t.Fatal(err)
		}
	}
	prune(time.Hour)
	prune(0)
	equal(t, "before", left(), "forget-cordoned,forget-holds,forget-new,forget-old")
	prune(time.Millisecond)
	equal(t, "after", left(), "forget-cordoned,forget-holds,forget-new")
	wantChanged(t, "one that is cordoned, by a call", forget("forget-cordoned", 2, db.NodeRemovedByCall), 1)
	wantChanged(t, "once more", forget("forget-cordoned", 2, db.NodeRemovedByCall), 0)
	equal(t, "devices and former sessions", rows(t, m.Engine(), `SELECT node_id, count(*) FROM (
		SELECT node_id FROM node_gpus UNION ALL SELECT node_id FROM node_sessions) WHERE node_id LIKE 'forget-%' GROUP BY node_id ORDER BY node_id`),
		"[forget-holds|3 forget-new|3]")
	if err := m.RegisterNode(await(t), "forget-old", "forget-old1", spec); err != nil { // as if it were new
		t.Error(err)
	}
}
