package scheduler

import (
	"slices"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/migrations"
)

// TestRemovalsHaveANameOnceAllMembersKnowIt removes a node from a state as the release
// before left it, whose members would not know what they are told.
func TestRemovalsHaveANameOnceAllMembersKnowIt(t *testing.T) {
	all, err := migrations.All()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.cfg.SchemaVersion, r.migrations = 6, all[:6]
	r.start()
	told := func() (types []string) {
		t.Helper()
		events, err := r.tasks.Events(r.ctx, db.EventCursor{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.OfTask() || e.NodeID != "n1" || e.Type == controlplane.EventNodeRemoved && e.Node != nil {
				t.Errorf("%+v", e)
			}
			types = append(types, string(e.Type)+e.Reason)
		}
		return types
	}
	comeAndGo := func() {
		t.Helper()
		if _, err := r.s.Heartbeat(r.ctx, controlplane.Heartbeat{NodeID: "n1", SessionID: "s1", Spec: &controlplane.NodeSpec{Slots: 1, Exec: true}}); err != nil {
			t.Fatal(err)
		}
		r.advance(16 * time.Second)
		r.tick()
		if err := r.s.Remove(r.ctx, "n1"); err != nil {
			t.Fatal(err)
		}
	}
	comeAndGo()
	want := []string{"NODE_REGISTERED", "NODE_EXPIRED", "NODE_SCHEDULING_CHANGEDremoved"}
	if got := told(); !slices.Equal(got, want) {
		t.Errorf("before: %v, want %v", got, want)
	}

	r.close() // all members are upgraded
	r.cfg.SchemaVersion, r.migrations = 0, nil
	r.open()
	r.lead()
	comeAndGo()
	want = append(want, "NODE_REGISTERED", "NODE_EXPIRED", "NODE_REMOVEDremoved")
	if got := told(); !slices.Equal(got, want) {
		t.Errorf("after: %v, want %v", got, want)
	}
	if rows := r.rows("SELECT type || reason FROM events WHERE reason IS NOT NULL ORDER BY log_index"); !slices.Equal(rows, []string{want[2], want[5]}) {
		t.Errorf("the view has %v", rows)
	}
}

// TestRetentionSparesWhatHasChanged has nodes forgotten that were found to be gone, and of
// which more is known by then.
func TestRetentionSparesWhatHasChanged(t *testing.T) {
	r := newRig(t)
	r.hooks.committed = func(_ *Scheduler, _ *db.Group, disturbed bool) {
		if disturbed {
			t.Error("a decision did not hold")
		}
	}
	r.start()
	spec := &controlplane.NodeSpec{Slots: 1, Exec: true}
	for _, id := range []string{"cordoned", "renewed", "gone", "heard"} {
		if _, err := r.s.Heartbeat(r.ctx, controlplane.Heartbeat{NodeID: id, SessionID: id, Spec: spec}); err != nil {
			t.Fatal(err)
		}
	}
	r.advance(16 * time.Second)
	r.tick()
	nodes, err := r.tasks.ListNodes(r.ctx, nil, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	renewals := map[string]int64{"nobody": 1}
	for _, n := range nodes {
		renewals[n.ID] = n.Renewal
	}
	if err := r.s.Cordon(r.ctx, "cordoned"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and it goes again
		if _, err := r.s.Heartbeat(r.ctx, controlplane.Heartbeat{NodeID: "renewed", SessionID: "renewed"}); err != nil {
			t.Fatal(err)
		}
		r.advance(16 * time.Second)
		r.tick()
	}
	if _, err := r.s.Heartbeat(r.ctx, controlplane.Heartbeat{NodeID: "heard", SessionID: "heard"}); err != nil {
		t.Fatal(err)
	}
	forgot := 0
	err = r.tasks.Do(r.ctx, 0, func(g *db.Group) {
		for _, id := range []string{"cordoned", "renewed", "gone", "heard", "nobody"} {
			r.s.ForgetNode(g, id, renewals[id], func(o db.OpResult) { forgot += int(o.Changed) })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if left := r.rows("SELECT id FROM nodes ORDER BY id"); forgot != 1 || !slices.Equal(left, []string{"cordoned", "heard", "renewed"}) {
		t.Errorf("%d were forgotten, and %v are left", forgot, left)
	}
}
