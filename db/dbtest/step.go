package dbtest

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var stepTests = map[string]func(*testing.T, *db.TaskManifest){
	"a task runs and completes":              testComplete,
	"assigning what cannot be":               testAssignRefused,
	"assigning takes what there is room for": testAssignRoom,
	"assigning many in one entry":            testAssignTogether,
	"assigning ends the wait for a retry":    testAssignRetry,
	"completing what cannot be":              testCompleteRefused,
	"a late report changes nothing":          testFence,
}

func testComplete(t *testing.T, m *db.TaskManifest) {
	register(t, m, "complete-node", 1)
	add(t, m, execTask("complete"))
	h := assign(t, m, "complete", "complete-node")
	task := get(t, m, "complete")
	if task.Status != controlplane.TaskAssigned || task.NodeID != "complete-node" || task.Attempt != 1 || task.AssignTime.IsZero() || !task.StartTime.IsZero() {
		t.Errorf("assigned: %+v", task)
	}
	wantChanged(t, "deliver", deliver(t, m, h), 1)
	wantChanged(t, "deliver again", deliver(t, m, h), 0)
	if task = get(t, m, "complete"); task.Status != controlplane.TaskRunning || task.StartTime.IsZero() {
		t.Errorf("running: %+v", task)
	}
	result := bytes.Repeat([]byte{7}, controlplane.MaxPayloadBytes)
	if err := m.CompleteTask(await(t), "complete", result); err != nil {
		t.Fatal(err)
	}
	task = get(t, m, "complete")
	if task.Status != controlplane.TaskCompleted || !bytes.Equal(task.Result, result) || task.EndTime.IsZero() || task.EndTime.Before(task.StartTime) {
		t.Errorf("completed: status %s, %d bytes, ended %s", task.Status, len(task.Result), task.EndTime)
	}
	n, err := m.GetNode(await(t), "complete-node")
	if err != nil || n.RunningTasks != 0 {
		t.Errorf("the node still holds %d, %v", n.RunningTasks, err)
	}
}

func testAssignRefused(t *testing.T, m *db.TaskManifest) {
	register(t, m, "refuse-node", 1)
	for _, id := range []string{"refuse-1", "refuse-2", "refuse-gpu", "refuse-function", "refuse-done"} {
		task := execTask(id)
		if id == "refuse-gpu" {
			task.Resources.GPUs = 1
		}
		if id == "refuse-function" {
			task.Exec, task.Function = nil, &controlplane.Function{Name: "no-node-has-it"}
		}
		add(t, m, task)
	}
	if _, err := m.CancelTask(await(t), "refuse-done"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "a node that is not there", m.AssignTask(await(t), "refuse-1", "no-such-node"), controlplane.CodeNotFound)
	for _, id := range []string{"refuse-gpu", "refuse-function", "refuse-done"} {
		wantCode(t, id, m.AssignTask(await(t), id, "refuse-node"), controlplane.CodePrecondition)
	}
	assign(t, m, "refuse-1", "refuse-node")
	wantCode(t, "a task on a node", m.AssignTask(await(t), "refuse-1", "refuse-node"), controlplane.CodePrecondition)
	wantCode(t, "a full node", m.AssignTask(await(t), "refuse-2", "refuse-node"), controlplane.CodePrecondition)
	register(t, m, "refuse-lapsed", 1)
	n, _ := m.GetNode(await(t), "refuse-lapsed")
	wantChanged(t, "expire", do(t, m, func(int64) *db.Op { return db.ExpireOp(n.ID, n.Renewal, 1, 1) }), 1)
	wantCode(t, "a node that is not heard", m.AssignTask(await(t), "refuse-2", "refuse-lapsed"), controlplane.CodePrecondition)
	equal(t, "status", get(t, m, "refuse-2").Status, controlplane.TaskPending)
}

// testAssignTogether gives tasks to nodes in one entry: none to a node in a session that is
// not its present one, or from where in the entry it is replaced.
func testAssignTogether(t *testing.T, m *db.TaskManifest) {
	register(t, m, "many-a", 9)
	register(t, m, "many-b", 9)
	var held []db.Held
	for i := range 9 {
		id := fmt.Sprint("many-", i)
		add(t, m, execTask(id))
		held = append(held, db.Held{Seq: get(t, m, id).Seq, TaskID: id, Attempt: 1})
	}
	together := func(what, want string, prepare func(give func(task int, node, session string), g *db.Group)) {
		t.Helper()
		var changed []int64
		err := m.Do(await(t), 0, func(g *db.Group) {
			prepare(func(task int, node, session string) {
				h := held[task]
				h.NodeID = node
				g.Assign(h, session, controlplane.TaskRunning, func(r db.OpResult) { changed = append(changed, r.Changed) })
			}, g)
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, what, changed, want)
	}
	together("to a former session", "[0 0 0 1]", func(give func(int, string, string), _ *db.Group) {
		give(0, "many-a", "former")
		give(1, "many-a", "former")
		give(2, "many-a", "former")
		give(2, "many-a", "many-a-session")
	})
	together("to two nodes by turns", "[1 1 1 1]", func(give func(int, string, string), _ *db.Group) {
		for i := range 4 {
			node := []string{"many-a", "many-b"}[i%2]
			give(3+i, node, node+"-session")
		}
	})
	together("one that is not pending, and the next", "[0 0 1]", func(give func(int, string, string), _ *db.Group) {
		give(3, "many-a", "many-a-session")
		give(7, "many-a", "many-a-session")
		give(7, "many-b", "many-b-session")
	})
	together("before and after the session is replaced", "[1 0 0]", func(give func(int, string, string), g *db.Group) {
		give(8, "many-a", "many-a-session")
		g.Add(db.RegisterOp("many-a", "next-session", "", &controlplane.NodeSpec{Slots: 9}, db.NodeRegistered, g.Now), nil)
		give(0, "many-a", "many-a-session")
		give(1, "many-a", "many-a-session")
	})
	equal(t, "who has what", rows(t, m.Engine(), "SELECT id, status, node_id, attempt FROM tasks WHERE id GLOB 'many-*' ORDER BY seq"),
		"[many-0|PENDING|NULL|0 many-1|PENDING|NULL|0 many-2|RUNNING|many-a|1 many-3|RUNNING|many-a|1 many-4|RUNNING|many-b|1 "+
			"many-5|RUNNING|many-a|1 many-6|RUNNING|many-b|1 many-7|RUNNING|many-b|1 many-8|RUNNING|many-a|1]")
}

func testAssignRoom(t *testing.T, m *db.TaskManifest) {
	spec := controlplane.NodeSpec{Slots: 100, Exec: true, Functions: []string{"f", "g"}, Capacity: controlplane.Resources{CPUMillis: 1000, MemoryBytes: 1000}}
	if err := m.RegisterNode(await(t), "room-node", "s", spec); err != nil {
		t.Fatal(err)
	}
	task := func(id string, cpu, memory int64) {
		c := &controlplane.Task{ID: id, Function: &controlplane.Function{Name: "g"}, Resources: controlplane.Resources{CPUMillis: cpu, MemoryBytes: memory}}
		add(t, m, c)
	}
	task("room-1", 600, 0)
	task("room-cpu", 401, 0)
	task("room-2", 400, 999)
	task("room-memory", 0, 2)
	task("room-3", 0, 1)
	assign(t, m, "room-1", "room-node")
	wantCode(t, "no CPU left", m.AssignTask(await(t), "room-cpu", "room-node"), controlplane.CodePrecondition)
	assign(t, m, "room-2", "room-node")
	wantCode(t, "no memory left", m.AssignTask(await(t), "room-memory", "room-node"), controlplane.CodePrecondition)
	assign(t, m, "room-3", "room-node")
	n, err := m.GetNode(await(t), "room-node")
	if err != nil || n.RunningTasks != 3 || !reflect.DeepEqual(n.Reserved, spec.Capacity) {
		t.Errorf("full node: %d tasks, reserved %+v, %v", n.RunningTasks, n.Reserved, err)
	}
}

func testAssignRetry(t *testing.T, m *db.TaskManifest) {
	register(t, m, "retry-node", 1)
	add(t, m, execTask("retry"))
	h := assign(t, m, "retry", "retry-node")
	code := int32(3)
	later := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	wantChanged(t, "requeue", requeue(t, m, h, db.Requeue{Attempt: db.AttemptFailed, Reason: "retry", RetryMs: later.UnixMilli(),
		Result: controlplane.Result{Error: "it broke", ExitCode: &code}}), 1)
	task := get(t, m, "retry")
	if task.Status != controlplane.TaskPending || !task.RetryTime.Equal(later) || task.FailedAttempts != 1 || task.Error != "it broke" ||
		task.ExitCode == nil || *task.ExitCode != 3 || !task.AssignTime.IsZero() {
		t.Errorf("waiting for its retry: %+v", task)
	}
	assign(t, m, "retry", "retry-node")
	if task = get(t, m, "retry"); !task.RetryTime.IsZero() || task.Attempt != 2 || task.Error != "" || task.ExitCode != nil {
		t.Errorf("assigned again: %+v", task)
	}
	err := read(t, m, func(c db.Conn) error {
		retries, err := db.Retries(c)
		equal(t, "tasks that wait for a retry", retries, "[]")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testCompleteRefused(t *testing.T, m *db.TaskManifest) {
	add(t, m, execTask("early"))
	wantCode(t, "a pending task", m.CompleteTask(await(t), "early", nil), controlplane.CodePrecondition)
	register(t, m, "early-node", 1)
	assign(t, m, "early", "early-node")
	wantCode(t, "too large a result", m.CompleteTask(await(t), "early", make([]byte, controlplane.MaxPayloadBytes+1)), controlplane.CodeInvalid)
	equal(t, "status", get(t, m, "early").Status, controlplane.TaskAssigned)
	if err := m.CompleteTask(await(t), "early", nil); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "a completed task", m.CompleteTask(await(t), "early", []byte("second")), controlplane.CodePrecondition)
	equal(t, "result", get(t, m, "early").Result, []byte(nil))
}

func testFence(t *testing.T, m *db.TaskManifest) {
	register(t, m, "fence-1", 1)
	register(t, m, "fence-2", 1)
	add(t, m, execTask("fence"))
	lost := assign(t, m, "fence", "fence-1")
	wantChanged(t, "lose", requeue(t, m, lost, db.Requeue{Attempt: db.AttemptLost, Reason: "lease_lost"}), 1)
	wantChanged(t, "lose again", requeue(t, m, lost, db.Requeue{Attempt: db.AttemptLost, Reason: "lease_lost"}), 0)
	late := controlplane.Result{Result: []byte("late")}
	wantChanged(t, "a report while it is pending", end(t, m, lost, controlplane.TaskCompleted, late), 0)
	h := assign(t, m, "fence", "fence-1") // the same node again
	wrongNode := h
	wrongNode.NodeID = "fence-2"
	wantChanged(t, "a report of the lost attempt", end(t, m, lost, controlplane.TaskCompleted, late), 0)
	wantChanged(t, "a report of another node", end(t, m, wrongNode, controlplane.TaskCompleted, late), 0)
	wantChanged(t, "delivery of the lost attempt", deliver(t, m, lost), 0)
	wantChanged(t, "the report", end(t, m, h, controlplane.TaskCompleted, controlplane.Result{Result: []byte("mine"), LogTail: "log"}), 1)
	wantChanged(t, "the report again", end(t, m, h, controlplane.TaskFailed, late), 0)
	task := get(t, m, "fence")
	if task.Status != controlplane.TaskCompleted || string(task.Result) != "mine" || task.LogTail != "log" || task.LostAttempts != 1 || task.FailedAttempts != 0 {
		t.Errorf("in the end: %+v", task)
	}
}

func read(t *testing.T, m *db.TaskManifest, fn func(db.Conn) error) error {
	_, err := m.Engine().Read(await(t), db.ReadOptions{Level: db.Stale}, fn)
	return err
}
