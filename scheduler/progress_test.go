package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/migrations"
)

// TestProgressWaitsForItsMigration leads a state as the release before left it, while
// not all members know how progress is kept.
func TestProgressWaitsForItsMigration(t *testing.T) {
	all, err := migrations.All()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.cfg.SchemaVersion, r.migrations = 2, all[:2]
	r.hooks.committed = func(_ *Scheduler, _ *db.Group, disturbed bool) {
		if disturbed {
			t.Error("a decision did not hold: something was written that the state cannot keep")
		}
	}
	r.start()
	stuck := execTask("stuck")
	stuck.NoProgressTimeout = time.Minute
	if _, err := r.tasks.AddTask(r.ctx, stuck); controlplane.CodeOf(err) != controlplane.CodePrecondition || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("a timeout that cannot be kept: %v", err)
	}
	if _, err := r.tasks.AddTask(r.ctx, execTask("a")); err != nil {
		t.Fatal(err)
	}
	at := controlplane.Attempt{TaskID: "a", Attempt: 1}
	session := controlplane.Heartbeat{NodeID: "n1", SessionID: "s1", Held: []controlplane.Attempt{at}, Progress: map[controlplane.Attempt]controlplane.Progress{at: {Done: 1}}}
	register := session
	register.Spec = &controlplane.NodeSpec{Slots: 1, Exec: true}
	if _, err := r.s.Heartbeat(r.ctx, register); err != nil {
		t.Fatal(err)
	}
	if work, err := r.s.Poll(r.ctx, controlplane.Poll{NodeID: "n1", SessionID: "s1", MaxTasks: 1}); err != nil || len(work.Tasks) != 1 {
		t.Fatalf("%v, %v", work, err)
	}
	if work, err := r.s.Heartbeat(r.ctx, session); err != nil || len(work.Stop) != 0 {
		t.Fatalf("%v, %v", work, err)
	}
	if task, err := r.tasks.GetTask(r.ctx, "a"); err != nil || task.Progress != nil {
		t.Errorf("%+v, %v", task, err)
	}

	r.close() // all members are upgraded
	r.cfg.SchemaVersion, r.migrations = 0, nil
	r.open()
	r.lead()
	if _, err := r.s.Heartbeat(r.ctx, session); err != nil {
		t.Fatal(err)
	}
	if task, err := r.tasks.GetTask(r.ctx, "a"); err != nil || task.Progress == nil || task.Progress.Done != 1 {
		t.Errorf("%+v, %v", task, err)
	}
	if _, err := r.tasks.AddTask(r.ctx, stuck); err != nil {
		t.Error(err)
	}
}
