package dbtest

import (
	"context"
	"log/slog"
	"testing"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// runManifest tests the manifest on the engine. Tests of a group share an engine
// and keep apart by the names that they use.
func runManifest(t *testing.T, open func(t *testing.T) db.Engine) {
	groups := []struct {
		name  string
		tests map[string]func(*testing.T, *db.TaskManifest)
	}{
		{"Tasks", taskTests},
		{"Keys", keyTests},
		{"Queues", queueTests},
		{"Lists", listTests},
		{"Steps", stepTests},
		{"Nodes", nodeTests},
		{"Events", eventTests},
		{"NodeEvents", nodeEventTests},
		{"Retention", retentionTests},
		{"TaskRetention", taskRetentionTests},
		{"Attempts", attemptTests},
		{"Concurrent", concurrentTests},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			m := db.NewTaskManifest(open(t))
			lead(t, m)
			for name, test := range g.tests {
				t.Run(name, func(t *testing.T) { test(t, m) })
			}
			// However a task has ended, that is noted, once.
			equal(t, "ends that are not noted", rows(t, m.Engine(), `SELECT id, status FROM tasks
				WHERE (end_time_ms IS NOT NULL) <> (seq IN (SELECT seq FROM task_ends))`), "[]")
			equal(t, "ends that are noted twice", rows(t, m.Engine(), "SELECT seq FROM task_ends GROUP BY seq HAVING count(*) > 1"), "[]")
		})
	}
	for name, test := range termTests {
		t.Run("Terms/"+name, func(t *testing.T) { test(t, open(t)) })
	}
}

// lead runs a manifest until the test ends or stop is called, and returns once it
// takes writes.
func lead(t *testing.T, m *db.TaskManifest) (stop func()) {
	t.Helper()
	m.SetLogger(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- m.Run(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			if err := <-ran; err != nil {
				t.Errorf("run: %v", err)
			}
		}
		stopped = true
	}
	t.Cleanup(stop)
	if err := m.AwaitWritable(await(t)); err != nil {
		t.Fatalf("await writable: %v", err)
	}
	return stop
}

// execTask is a task that nothing else is said of.
func execTask(id string) *controlplane.Task {
	return &controlplane.Task{ID: id, Exec: &controlplane.Exec{Command: []string{"true"}}}
}

func add(t *testing.T, m *db.TaskManifest, task *controlplane.Task) *controlplane.Task {
	t.Helper()
	stored, err := m.AddTask(await(t), task)
	if err != nil {
		t.Fatalf("add %s: %v", task.ID, err)
	}
	return stored
}

func get(t *testing.T, m *db.TaskManifest, id string) *controlplane.Task {
	t.Helper()
	task, err := m.GetTask(await(t), id)
	if err != nil {
		t.Fatalf("get %s: %v", id, err)
	}
	return task
}

// register makes a node with slots and no other limit that matters.
func register(t *testing.T, m *db.TaskManifest, id string, slots int32) {
	t.Helper()
	spec := controlplane.NodeSpec{Slots: slots, Exec: true, Capacity: controlplane.Resources{CPUMillis: 64_000, MemoryBytes: 1 << 40}}
	if err := m.RegisterNode(await(t), id, id+"-session", spec); err != nil {
		t.Fatalf("register %s: %v", id, err)
	}
}

// assign puts a task on a node and returns the attempt.
func assign(t *testing.T, m *db.TaskManifest, task, node string) db.Held {
	t.Helper()
	if err := m.AssignTask(await(t), task, node); err != nil {
		t.Fatalf("assign %s to %s: %v", task, node, err)
	}
	s := get(t, m, task)
	return db.Held{Seq: s.Seq, TaskID: task, NodeID: node, Attempt: s.Attempt, GPUs: s.GPUDevices}
}

// do commits one operation and returns what became of it.
func do(t *testing.T, m *db.TaskManifest, op func(nowMs int64) *db.Op) (res db.OpResult) {
	t.Helper()
	err := m.Do(await(t), 0, func(g *db.Group) {
		g.Add(op(g.Now), func(r db.OpResult) { res = r })
	})
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return res
}

// deliver, requeue and end are the steps that a scheduler takes.
func deliver(t *testing.T, m *db.TaskManifest, h db.Held) db.OpResult {
	t.Helper()
	return do(t, m, func(now int64) *db.Op { return db.DeliverOp(h, now) })
}

func requeue(t *testing.T, m *db.TaskManifest, h db.Held, r db.Requeue) db.OpResult {
	t.Helper()
	return do(t, m, func(now int64) *db.Op { return db.RequeueOp(h, r, now) })
}

func end(t *testing.T, m *db.TaskManifest, h db.Held, status controlplane.TaskStatus, res controlplane.Result) db.OpResult {
	t.Helper()
	return do(t, m, func(now int64) *db.Op { return db.EndOp(h, status, &res, "", now) })
}

func wantChanged(t *testing.T, what string, r db.OpResult, changed int64) {
	t.Helper()
	if r.Err != nil || r.Changed != changed {
		t.Errorf("%s: %+v, want %d changed", what, r, changed)
	}
}
