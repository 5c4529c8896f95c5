package dbtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var eventTests = map[string]func(*testing.T, *db.TaskManifest){
	"watchers miss nothing and see order": testEvents, // from the first change on
}

var nodeEventTests = map[string]func(*testing.T, *db.TaskManifest){
	"changes of nodes": testNodeEvents,
}

// testEvents takes tasks through their lives and then watches them, from the
// beginning and from every cursor, in steps of every size.
func testEvents(t *testing.T, m *db.TaskManifest) {
	if c, err := m.LastCursor(await(t)); err != nil || c != (db.EventCursor{}) {
		t.Fatalf("cursor before the first change: %v, %v", c, err)
	}
	register(t, m, "n1", 10)
	out, err := m.AddTasks(await(t), []*controlplane.Task{execTask("a"), execTask("b"), execTask("a"), execTask("c")})
	if err != nil || out[3].Err != nil {
		t.Fatal(out, err)
	}
	h := assign(t, m, "a", "n1")
	deliver(t, m, h)
	requeue(t, m, h, db.Requeue{Attempt: db.AttemptLost, Reason: "lease_lost"})
	h = assign(t, m, "a", "n1")
	deliver(t, m, h)
	deliver(t, m, h) // changes nothing
	if _, err := m.CancelTask(await(t), "a"); err != nil {
		t.Fatal(err)
	}
	end(t, m, h, controlplane.TaskFailed, controlplane.Result{})
	if _, err := m.CancelTask(await(t), "b"); err != nil {
		t.Fatal(err)
	}
	assign(t, m, "c", "n1")
	if err := m.CompleteTask(await(t), "c", nil); err != nil {
		t.Fatal(err)
	}
	const want = "NODE_REGISTERED@n1 a:PENDING/0 b:PENDING/0 c:PENDING/0 a:ASSIGNED/1@n1 a:RUNNING/1@n1 a:PENDING/1@n1(lease_lost) a:ASSIGNED/2@n1 a:RUNNING/2@n1 " +
		"a:RUNNING/2@n1(cancel_requested) a:FAILED/2@n1 b:CANCELLED/0 c:ASSIGNED/1@n1 c:COMPLETED/1@n1"
	all, err := m.Events(await(t), db.EventCursor{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "all changes", names(all), want)
	last, err := m.LastCursor(await(t))
	if err != nil || last != cursor(all[len(all)-1]) {
		t.Errorf("the last cursor is %v, %v; the last change is at %v", last, err, cursor(all[len(all)-1]))
	}
	for _, e := range all {
		if e.Time.IsZero() || e.Type == "" {
			t.Errorf("change %+v", e)
		}
		if !e.OfTask() {
			if e.Node == nil || e.Node.ID != "n1" || e.Task != nil {
				t.Errorf("change %+v with %+v", e, e.Node)
			}
			continue
		}
		if e.Task == nil || e.Task.ID != e.TaskID || !e.Task.Status.Final() || e.Task.Result != nil {
			t.Errorf("change %+v with %+v", e, e.Task)
		}
	}
	for _, limit := range []int{1, 2, 3, 5, 100} {
		equal(t, fmt.Sprintf("in steps of %d", limit), names(follow(t, m, db.EventCursor{}, limit)), want)
		for i, e := range all {
			got := names(follow(t, m, cursor(e), limit))
			equal(t, fmt.Sprintf("in steps of %d after %v", limit, cursor(e)), got, names(all[i+1:]))
		}
	}
	var view []string
	for _, e := range all {
		task, status, node := e.TaskID, string(e.Status), e.NodeID
		if !e.OfTask() {
			task, status = "NULL", string(e.NodeStatus)
		}
		if node == "" {
			node = "NULL"
		}
		view = append(view, fmt.Sprintf("%d-%d|%s|%s|%s|%d|%s", e.Index, e.Ordinal, e.Type, task, status, e.Attempt, node))
	}
	equal(t, "the view", rows(t, m.Engine(), "SELECT log_index || '-' || ordinal, type, task_id, status, attempt, node_id FROM events ORDER BY log_index, ordinal"), view)
}

// testNodeEvents takes a node through its life: a renewal of a live lease and a
// repeated registration are no events.
func testNodeEvents(t *testing.T, m *db.TaskManifest) {
	from, err := m.LastCursor(await(t))
	if err != nil {
		t.Fatal(err)
	}
	const id = "eventful"
	spec := controlplane.NodeSpec{Slots: 1, Exec: true}
	register := func(session string) {
		t.Helper()
		if err := m.RegisterNode(await(t), id, session, spec); err != nil {
			t.Fatal(err)
		}
	}
	expire := func() {
		t.Helper()
		n, err := m.GetNode(await(t), id)
		if err != nil {
			t.Fatal(err)
		}
		wantChanged(t, "expire", do(t, m, func(int64) *db.Op { return db.ExpireOp(id, n.Renewal, 1, 1) }), 1)
		wantChanged(t, "expire again", do(t, m, func(int64) *db.Op { return db.ExpireOp(id, n.Renewal, 1, 1) }), 0)
	}
	beat := func() {
		t.Helper()
		if err := m.UpdateNodeHeartbeat(await(t), id, 1, 1, 0); err != nil {
			t.Fatal(err)
		}
	}
	register("e1")
	register("e1")
	beat()
	expire()
	beat()
	beat()
	expire()
	register("e1")
	register("e2")
	if err := m.RegisterNode(await(t), id, "e1", spec); err == nil {
		t.Error("a former session came back")
	}
	expire()
	wantChanged(t, "renew", do(t, m, func(now int64) *db.Op { return db.RenewOp(id, "e2", nil, db.NodeBack, now) }), 1)
	wantChanged(t, "renew", do(t, m, func(now int64) *db.Op { return db.RenewOp(id, "e1", nil, db.NodeBack, now) }), 0)
	const want = "NODE_REGISTERED NODE_EXPIRED NODE_BACK NODE_EXPIRED NODE_BACK NODE_SESSION_REPLACED NODE_EXPIRED NODE_BACK"
	equal(t, "changes", names(follow(t, m, from, 3))+" ", strings.ReplaceAll(want+" ", " ", "@"+id+" "))
}

func cursor(e controlplane.Event) db.EventCursor {
	return db.EventCursor{Index: e.Index, Ordinal: e.Ordinal}
}

// follow reads on from a cursor until nothing comes, as a watcher does.
func follow(t *testing.T, m *db.TaskManifest, from db.EventCursor, limit int) (all []controlplane.Event) {
	t.Helper()
	for {
		events, err := m.Events(await(t), from, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return all
		}
		all = append(all, events...)
		from = cursor(events[len(events)-1])
	}
}

func names(events []controlplane.Event) string {
	var b strings.Builder
	for _, e := range events {
		if e.OfTask() {
			fmt.Fprintf(&b, " %s:%s/%d", e.TaskID, e.Status, e.Attempt)
		} else {
			fmt.Fprintf(&b, " %s", e.Type)
		}
		if e.NodeID != "" {
			b.WriteString("@" + e.NodeID)
		}
		if e.Reason != "" {
			b.WriteString("(" + e.Reason + ")")
		}
	}
	return strings.TrimSpace(b.String())
}

var attemptTests = map[string]func(*testing.T, *db.TaskManifest){
	"one row for each attempt":        testAttempts,
	"a late report finds its attempt": testAttemptState,
	"GPUs are held by one":            testGPUs,
}

// attempts renders the view attempts of a task.
func attempts(t *testing.T, m *db.TaskManifest, id string) string {
	t.Helper()
	return strings.Join(rows(t, m.Engine(), `SELECT attempt || ' ' || status || ' ' || coalesce(node_id, '') || ' ' || coalesce(exit_code, '-') || ' ' ||
		coalesce(error, '-') || ' ' || coalesce(log_tail, '-') FROM attempts WHERE task_id = ?1 ORDER BY attempt`, db.Str(id)), ", ")
}

func testAttempts(t *testing.T, m *db.TaskManifest) {
	register(t, m, "n1", 10)
	code := int32(1)
	broken := controlplane.Result{Error: "broke", ExitCode: &code, LogTail: "log"}
	add(t, m, execTask("many"))
	equal(t, "before the first", attempts(t, m, "many"), "")
	h := assign(t, m, "many", "n1")
	equal(t, "assigned", attempts(t, m, "many"), "1 ASSIGNED n1 - - -")
	deliver(t, m, h)
	requeue(t, m, h, db.Requeue{Attempt: db.AttemptFailed, Reason: "retry", Result: broken})
	equal(t, "failed once", attempts(t, m, "many"), "1 FAILED n1 1 broke log")
	h = assign(t, m, "many", "n1")
	equal(t, "assigned again", attempts(t, m, "many"), "1 FAILED n1 1 broke log, 2 ASSIGNED n1 - - -")
	requeue(t, m, h, db.Requeue{Attempt: db.AttemptReleased, Reason: "released"})
	h = assign(t, m, "many", "n1")
	deliver(t, m, h)
	end(t, m, h, controlplane.TaskFailed, broken)
	equal(t, "ended", attempts(t, m, "many"), "1 FAILED n1 1 broke log, 2 RELEASED n1 - - -, 3 FAILED n1 1 broke log")
	if task := get(t, m, "many"); task.FailedAttempts != 2 || task.LostAttempts != 0 || task.Attempt != 3 {
		t.Errorf("counted %+v", task)
	}

	add(t, m, execTask("poison"))
	h = assign(t, m, "poison", "n1")
	wantChanged(t, "lose", do(t, m, func(now int64) *db.Op {
		return db.LoseOp(h, controlplane.TaskFailed, db.Requeue{Attempt: db.AttemptLost, Reason: "lease_lost", Result: controlplane.Result{Error: "gone"}}, now)
	}), 1)
	equal(t, "lost for good", attempts(t, m, "poison"), "1 LOST n1 - gone -")
	if task := get(t, m, "poison"); task.Status != controlplane.TaskFailed || task.LostAttempts != 1 || task.Error != "gone" || task.EndTime.IsZero() {
		t.Errorf("lost for good: %+v", task)
	}

	add(t, m, execTask("waits"))
	requeue(t, m, assign(t, m, "waits", "n1"), db.Requeue{Attempt: db.AttemptLost})
	if _, err := m.CancelTask(await(t), "waits"); err != nil {
		t.Fatal(err)
	}
	equal(t, "cancelled while it waits", attempts(t, m, "waits"), "1 LOST n1 - - -")
}

func testAttemptState(t *testing.T, m *db.TaskManifest) {
	register(t, m, "n2", 10)
	add(t, m, execTask("late"))
	state := func(attempt int32) string {
		a, err := m.AttemptState(await(t), "late", attempt)
		if err != nil || !a.Found {
			t.Fatalf("attempt %d: %+v, %v", attempt, a, err)
		}
		return fmt.Sprintf("task %s/%d@%s, attempt %s@%s", a.TaskStatus, a.TaskAttempt, a.TaskNodeID, a.Status, a.NodeID)
	}
	equal(t, "pending, never tried", state(1), "task PENDING/0@, attempt @")
	equal(t, "no attempt 0", state(0), "task PENDING/0@, attempt @")
	h := assign(t, m, "late", "n2")
	equal(t, "assigned", state(1), "task ASSIGNED/1@n2, attempt ASSIGNED@n2")
	requeue(t, m, h, db.Requeue{Attempt: db.AttemptReleased})
	equal(t, "pending again", state(1), "task PENDING/1@n2, attempt RELEASED@n2")
	end(t, m, assign(t, m, "late", "n2"), controlplane.TaskCompleted, controlplane.Result{})
	equal(t, "completed, the first", state(1), "task COMPLETED/2@n2, attempt RELEASED@n2")
	equal(t, "completed, the last", state(2), "task COMPLETED/2@n2, attempt COMPLETED@n2")
	equal(t, "one that never was", state(3), "task COMPLETED/2@n2, attempt @")
}

func testGPUs(t *testing.T, m *db.TaskManifest) {
	spec := controlplane.NodeSpec{Slots: 10, Exec: true, GPUDevices: []controlplane.GPUDevice{{Index: 0}, {Index: 1}, {Index: 2}}, Capacity: controlplane.Resources{GPUs: 3}}
	if err := m.RegisterNode(await(t), "gpus", "s", spec); err != nil {
		t.Fatal(err)
	}
	place := func(id string, attempt int32, gpus ...int32) db.Held {
		h := db.Held{Seq: get(t, m, id).Seq, TaskID: id, NodeID: "gpus", Attempt: attempt, GPUs: gpus}
		wantChanged(t, "place "+id, do(t, m, func(now int64) *db.Op { return db.AssignOp(h, "s", controlplane.TaskRunning, now) }), 1)
		equal(t, "devices of "+id, get(t, m, id).GPUDevices, gpus)
		return h
	}
	held := func() []string {
		return rows(t, m.Engine(), "SELECT device_index, t.id FROM node_gpus g JOIN tasks t ON t.seq = g.task_seq WHERE g.node_id = 'gpus' ORDER BY 1")
	}
	for _, id := range []string{"gpu-1", "gpu-2", "gpu-3"} {
		task := execTask(id)
		task.Resources.GPUs = 1
		add(t, m, task)
	}
	h1, h2 := place("gpu-1", 1, 0, 2), place("gpu-2", 1, 1)
	equal(t, "held", held(), "[0|gpu-1 1|gpu-2 2|gpu-1]")
	wrongSession := db.Held{Seq: get(t, m, "gpu-3").Seq, TaskID: "gpu-3", NodeID: "gpus", Attempt: 1, GPUs: []int32{1}}
	wantChanged(t, "a former session", do(t, m, func(now int64) *db.Op { return db.AssignOp(wrongSession, "former", controlplane.TaskRunning, now) }), 0)
	end(t, m, h1, controlplane.TaskCompleted, controlplane.Result{})
	equal(t, "held after the end of one", held(), "[1|gpu-2]")
	equal(t, "devices of one that has ended", get(t, m, "gpu-1").GPUDevices, []int32(nil))
	requeue(t, m, h2, db.Requeue{Attempt: db.AttemptLost})
	equal(t, "held after the loss of the other", held(), "[]")
	place("gpu-2", 2, 0)
	if err := m.CompleteTask(await(t), "gpu-2", nil); err != nil {
		t.Fatal(err)
	}
	equal(t, "held in the end", held(), "[]")
}
