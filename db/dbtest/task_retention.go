package dbtest

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// These tests share an engine one after the other, each beginning with all ended
// tasks deleted.
var taskRetentionTests = map[string]func(*testing.T, *db.TaskManifest){
	"tasks are kept as long as is set":            testTaskRetention,
	"a deleted task leaves nothing":               testPrunedWhole,
	"changes of a deleted task tell its id":       testPrunedEvents,
	"a large task is deleted by itself":           testPrunedLarge,
	"requirements that no task has are forgotten": testPrunedClasses,
}

func pruneTasks(t *testing.T, m *db.TaskManifest, keep db.TaskRetention) int64 {
	t.Helper()
	n, err := m.PruneTasks(await(t), keep)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// pruneAll deletes all tasks that have ended.
func pruneAll(t *testing.T, m *db.TaskManifest) int64 {
	t.Helper()
	time.Sleep(2 * time.Millisecond) // so that all are older than 1 ms
	return pruneTasks(t, m, db.TaskRetention{Age: time.Millisecond})
}

// ended adds a task and ends it.
func ended(t *testing.T, m *db.TaskManifest, id string) *controlplane.Task {
	t.Helper()
	add(t, m, execTask(id))
	task, err := m.CancelTask(await(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func count(t *testing.T, m *db.TaskManifest, table string) string {
	t.Helper()
	return rows(t, m.Engine(), "SELECT count(*) FROM "+table)[0]
}

func testTaskRetention(t *testing.T, m *db.TaskManifest) {
	pruneAll(t, m)
	waiting := add(t, m, execTask("keep-waiting"))
	const tasks = 250 // more than two steps
	batch := make([]*controlplane.Task, tasks)
	for i := range batch {
		batch[i] = execTask(fmt.Sprintf("keep%03d", i))
	}
	if _, err := m.AddTasks(await(t), batch); err != nil {
		t.Fatal(err)
	}
	for i := range batch { // in another order than that of their keys
		if _, err := m.CancelTask(await(t), batch[(i*7)%tasks].ID); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "nothing is too old", pruneTasks(t, m, db.DefaultTaskRetention), 0)
	equal(t, "no bounds", pruneTasks(t, m, db.TaskRetention{}), 0)
	equal(t, "a negative age is no bound", pruneTasks(t, m, db.TaskRetention{Age: -time.Hour}), 0)
	equal(t, "as many as there are", pruneTasks(t, m, db.TaskRetention{Tasks: tasks}), 0)
	equal(t, "all but ten", pruneTasks(t, m, db.TaskRetention{Tasks: 10}), tasks-10)
	for i := range batch {
		id := batch[(i*7)%tasks].ID
		_, err := m.GetTask(await(t), id)
		if i >= tasks-10 && err != nil {
			t.Errorf("%s, of those that ended last: %v", id, err)
		} else if i < tasks-10 {
			wantCode(t, id+", which ended before", err, controlplane.CodeNotFound)
		}
	}
	equal(t, "all by age", pruneAll(t, m), 10)
	equal(t, "status of the one that waits", get(t, m, waiting.ID).Status, controlplane.TaskPending)
	again := execTask("keep000")
	again.Name = "another task under the id of a deleted one"
	add(t, m, again)
}

func testPrunedWhole(t *testing.T, m *db.TaskManifest) {
	pruneAll(t, m)
	before := map[string]string{}
	tables := []string{"tasks", "task_inputs", "task_outputs", "past_attempts", "attempt_progress", "task_ends"}
	for _, table := range tables {
		before[table] = count(t, m, table)
	}
	register(t, m, "whole-node", 10)
	add(t, m, execTask("whole"))
	h := assign(t, m, "whole", "whole-node")
	requeue(t, m, h, db.Requeue{Attempt: db.AttemptFailed, Result: controlplane.Result{LogTail: "tail"}})
	h = assign(t, m, "whole", "whole-node")
	wantChanged(t, "deliver", do(t, m, func(now int64) *db.Op { return db.DeliverOp(h, now) }), 1)
	wantChanged(t, "progress", do(t, m, func(now int64) *db.Op { return db.ProgressOp(h, controlplane.Progress{Done: 1}, now) }), 1)
	wantChanged(t, "end", end(t, m, h, controlplane.TaskCompleted, controlplane.Result{Result: []byte("result")}), 1)
	for _, table := range tables {
		if count(t, m, table) == before[table] {
			t.Errorf("%s has no row of the task before it is deleted", table)
		}
	}
	equal(t, "deleted", pruneAll(t, m), 1)
	for _, table := range tables {
		equal(t, table, count(t, m, table), before[table])
	}
	if a, err := m.AttemptState(await(t), "whole", h.Attempt); err != nil || a.Found {
		t.Errorf("a late report finds %+v, %v", a, err)
	}
}

func testPrunedEvents(t *testing.T, m *db.TaskManifest) {
	from, err := m.LastCursor(await(t))
	if err != nil {
		t.Fatal(err)
	}
	task := execTask("told")
	task.Queue = "told-queue"
	add(t, m, task)
	if _, err := m.CancelTask(await(t), "told"); err != nil {
		t.Fatal(err)
	}
	pruneAll(t, m)
	events := follow(t, m, from, 100)
	equal(t, "changes", names(events), "told:PENDING/0 told:CANCELLED/0")
	for _, e := range events {
		if e.Queue != "told-queue" || e.Task != nil {
			t.Errorf("%s: queue %q, task %v; want the queue and no task", e.Type, e.Queue, e.Task)
		}
	}
	equal(t, "by SQL", rows(t, m.Engine(), "SELECT type FROM events WHERE task_id = 'told' ORDER BY log_index"), []string{"TASK_SUBMITTED", "TASK_CANCELLED"})

	// Once the changes are gone, so are the names.
	ended(t, m, "told-last")
	if _, err := m.PruneEvents(await(t), db.Retention{Entries: 1}); err != nil {
		t.Fatal(err)
	}
	pruneAll(t, m)
	equal(t, "names that are kept", rows(t, m.Engine(), "SELECT id FROM pruned_tasks"), []string{"told-last"})
	if _, err := m.PruneEvents(await(t), db.Retention{Age: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	equal(t, "tasks to delete", pruneAll(t, m), 0)
	equal(t, "names that are kept without changes", rows(t, m.Engine(), "SELECT id FROM pruned_tasks"), []string{})
}

// testPrunedSeq deletes all there is and lets another leader count on.
func testPrunedSeq(t *testing.T, engine db.Engine) {
	m := db.NewTaskManifest(engine)
	stop := lead(t, m)
	last := ended(t, m, "last")
	equal(t, "deleted", pruneAll(t, m), 1)
	if _, err := m.PruneEvents(await(t), db.Retention{Age: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	stop()
	m = db.NewTaskManifest(engine)
	lead(t, m)
	if task := add(t, m, execTask("next")); task.Seq <= last.Seq {
		t.Errorf("key %d after %d, which was deleted", task.Seq, last.Seq)
	}
}

func testPrunedLarge(t *testing.T, m *db.TaskManifest) {
	pruneAll(t, m)
	for i := range 9 { // more than two steps
		task := add(t, m, &controlplane.Task{ID: fmt.Sprintf("large%d", i),
			Function: &controlplane.Function{Name: "f", Payload: bytes.Repeat([]byte{1}, controlplane.MaxPayloadBytes)}})
		if _, err := m.CancelTask(await(t), task.ID); err != nil {
			t.Fatal(err)
		}
	}
	before := m.Engine().AppliedIndex()
	equal(t, "deleted", pruneAll(t, m), 9)
	equal(t, "entries", m.Engine().AppliedIndex()-before, 3)
}

func testPrunedClasses(t *testing.T, m *db.TaskManifest) {
	pruneAll(t, m)
	const classes = 700 // more than are left alone, and more than go into one entry
	need := func(i int) *controlplane.Task {
		task := execTask(fmt.Sprintf("class%03d", i))
		task.Resources.CPUMillis = int64(100_000 + i)
		return task
	}
	for i := range classes {
		if i%50 == 0 {
			batch := make([]*controlplane.Task, 50)
			for k := range batch {
				batch[k] = need(i + k)
			}
			if _, err := m.AddTasks(await(t), batch); err != nil {
				t.Fatal(err)
			}
		}
		if i >= 2 {
			if _, err := m.CancelTask(await(t), need(i).ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	mine := "task_classes WHERE cpu_millis BETWEEN 100000 AND 199999"
	equal(t, "classes while their tasks are kept", count(t, m, mine), classes)
	pruneAll(t, m)
	before := m.Engine().AppliedIndex()
	if err := m.PruneClasses(await(t)); err != nil {
		t.Fatal(err)
	}
	if n := m.Engine().AppliedIndex() - before; n < 4 || n > 20 {
		t.Errorf("%d classes were deleted in %d entries, want small steps", classes-2, n)
	}
	equal(t, "classes that tasks have", count(t, m, mine), 2)
	equal(t, "tasks without class", count(t, m, "tasks WHERE class_id NOT IN (SELECT id FROM task_classes)"), 0)

	// What was forgotten can come back, under another id.
	again := need(classes - 1)
	again.ID = "class-again"
	add(t, m, again)
	equal(t, "what it needs", get(t, m, "class-again").Resources, again.Resources)
	equal(t, "classes", count(t, m, mine), 3)
}
