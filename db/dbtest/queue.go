package dbtest

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var queueTests = map[string]func(*testing.T, *db.TaskManifest){
	"settings are created once":              testCreateQueue,
	"only the settings named are changed":    testUpdateQueue,
	"a queue is deleted only when empty":     testDeleteQueue,
	"queues are listed with what they hold":  testListQueues,
	"an assignment keeps to the settings":    testAssignWithinLimits,
	"limits on disk and on custom resources": testAssignWithinCustomLimits,
	"a task is tried again by hand":          testRetryTask,
	"many tasks are cancelled by steps":      testCancelTasks,
}

func limit(n int64) controlplane.QueueLimit { return controlplane.QueueLimit{Set: true, Max: n} }

func createQueue(t *testing.T, m *db.TaskManifest, name string, s controlplane.QueueSettings) *controlplane.Queue {
	t.Helper()
	q, err := m.CreateQueue(await(t), name, s)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return q
}

func getQueue(t *testing.T, m *db.TaskManifest, name string) *controlplane.Queue {
	t.Helper()
	q, err := m.GetQueue(await(t), name)
	if err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	return q
}

func testCreateQueue(t *testing.T, m *db.TaskManifest) {
	s := controlplane.QueueSettings{Weight: 3, Paused: true, Placement: controlplane.PlacementBinpack, AgeingInterval: time.Minute,
		Limits: controlplane.QueueLimits{Tasks: limit(0), MemoryBytes: limit(1 << 40), DiskBytes: limit(0), Custom: map[string]int64{"license": 2, "seat": 0}}}
	q := createQueue(t, m, "created", s)
	if !q.QueueSettings.Equal(&s) || q.Implicit || q.CreateTime.IsZero() {
		t.Errorf("created %+v, want %+v", q, s)
	}
	if again := createQueue(t, m, "created", s); !again.CreateTime.Equal(q.CreateTime) {
		t.Errorf("a repeat was created at %s, the first at %s", again.CreateTime, q.CreateTime)
	}
	_, err := m.CreateQueue(await(t), "created", controlplane.DefaultQueueSettings())
	wantCode(t, "other settings", err, controlplane.CodeExists)
	def := controlplane.DefaultQueueSettings()
	if q := getQueue(t, m, controlplane.DefaultQueue); !q.QueueSettings.Equal(&def) || q.Implicit {
		t.Errorf("the default queue is %+v", q)
	}
}

func testUpdateQueue(t *testing.T, m *db.TaskManifest) {
	before := controlplane.QueueSettings{Weight: 3, Placement: controlplane.PlacementSpread, Limits: controlplane.QueueLimits{CPUMillis: limit(5), GPUs: limit(2), Custom: map[string]int64{"seat": 1}}}
	createQueue(t, m, "updated", before)
	all := controlplane.QueueSettings{Weight: 7, Paused: true, Placement: controlplane.PlacementCheapest, AgeingInterval: time.Second,
		Limits: controlplane.QueueLimits{Tasks: limit(1), CPUMillis: limit(2), MemoryBytes: limit(3), GPUs: limit(4), DiskBytes: limit(5), Custom: map[string]int64{"license": 6}}}
	for field, change := range map[controlplane.QueueField]func(s *controlplane.QueueSettings){
		controlplane.QueueWeight:         func(s *controlplane.QueueSettings) { s.Weight = all.Weight },
		controlplane.QueuePaused:         func(s *controlplane.QueueSettings) { s.Paused = true },
		controlplane.QueueLimitTasks:     func(s *controlplane.QueueSettings) { s.Limits.Tasks = all.Limits.Tasks },
		controlplane.QueueLimitCPU:       func(s *controlplane.QueueSettings) { s.Limits.CPUMillis = all.Limits.CPUMillis },
		controlplane.QueueLimitMemory:    func(s *controlplane.QueueSettings) { s.Limits.MemoryBytes = all.Limits.MemoryBytes },
		controlplane.QueueLimitGPUs:      func(s *controlplane.QueueSettings) { s.Limits.GPUs = all.Limits.GPUs },
		controlplane.QueueLimitDisk:      func(s *controlplane.QueueSettings) { s.Limits.DiskBytes = all.Limits.DiskBytes },
		controlplane.QueueLimitCustom:    func(s *controlplane.QueueSettings) { s.Limits.Custom = all.Limits.Custom },
		controlplane.QueuePlacement:      func(s *controlplane.QueueSettings) { s.Placement = all.Placement },
		controlplane.QueueAgeingInterval: func(s *controlplane.QueueSettings) { s.AgeingInterval = all.AgeingInterval },
		controlplane.QueueAllFields:      func(s *controlplane.QueueSettings) { *s = all },
	} {
		if _, err := m.UpdateQueue(await(t), "updated", before, controlplane.QueueAllFields); err != nil {
			t.Fatal(err)
		}
		want := before
		change(&want)
		q, err := m.UpdateQueue(await(t), "updated", all, field)
		if err != nil || !q.QueueSettings.Equal(&want) {
			t.Errorf("field %d: %+v, %v, want %+v", field, q, err, want)
		}
	}
	_, err := m.UpdateQueue(await(t), "nowhere", all, controlplane.QueueWeight)
	wantCode(t, "a queue without settings", err, controlplane.CodeNotFound)
}

func testDeleteQueue(t *testing.T, m *db.TaskManifest) {
	createQueue(t, m, "deleted", controlplane.QueueSettings{Weight: 9, Placement: controlplane.PlacementSpread})
	register(t, m, "delete-node", 5)
	for _, step := range []struct {
		what string
		do   func(task *controlplane.Task)
	}{
		{"waits", func(*controlplane.Task) {}},
		{"waits for its start", func(task *controlplane.Task) { task.StartDelay = time.Hour }},
	} {
		task := execTask("delete " + step.what)
		task.Queue = "deleted"
		step.do(task)
		add(t, m, task)
		wantCode(t, step.what, m.DeleteQueue(await(t), "deleted"), controlplane.CodePrecondition)
		if _, err := m.CancelTask(await(t), task.ID); err != nil {
			t.Fatal(err)
		}
	}
	task := execTask("delete-runs")
	task.Queue = "deleted"
	add(t, m, task)
	assign(t, m, task.ID, "delete-node")
	wantCode(t, "runs", m.DeleteQueue(await(t), "deleted"), controlplane.CodePrecondition)
	if err := m.CompleteTask(await(t), task.ID, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.DeleteQueue(await(t), "deleted"); err != nil {
		t.Errorf("an empty queue: %v", err)
	}
	wantCode(t, "again", m.DeleteQueue(await(t), "deleted"), controlplane.CodeNotFound)
	_, err := m.GetQueue(await(t), "deleted")
	wantCode(t, "get", err, controlplane.CodeNotFound)
}

func testListQueues(t *testing.T, m *db.TaskManifest) {
	createQueue(t, m, "list-b", controlplane.DefaultQueueSettings())
	register(t, m, "list-node", 10)
	for i, queue := range []string{"list-a", "list-a", "list-a", "list-c"} {
		task := execTask(fmt.Sprintf("list-%d", i))
		task.Queue, task.Resources = queue, controlplane.Resources{CPUMillis: 500, MemoryBytes: 10}
		if i == 1 {
			task.StartDelay = time.Hour
		}
		add(t, m, task)
	}
	assign(t, m, "list-0", "list-node")
	list, err := m.ListQueues(await(t), "list-", 2)
	if err != nil || len(list) != 2 || list[0].Name != "list-a" || list[1].Name != "list-b" {
		t.Fatalf("the first two: %+v, %v", list, err)
	}
	a, b := list[0], list[1]
	if !a.Implicit || a.PendingTasks != 2 || a.RunningTasks != 1 || a.Used.CPUMillis != 500 || a.Used.MemoryBytes != 10 || a.DominantShareMillionths == 0 {
		t.Errorf("a queue without settings: %+v", a)
	}
	if b.Implicit || b.PendingTasks != 0 || b.RunningTasks != 0 || b.DominantShareMillionths != 0 {
		t.Errorf("a queue without tasks: %+v", b)
	}
	if list, err = m.ListQueues(await(t), "list-b", 1); err != nil || len(list) != 1 || list[0].Name != "list-c" {
		t.Errorf("the next: %+v, %v", list, err)
	}
}

func testAssignWithinLimits(t *testing.T, m *db.TaskManifest) {
	createQueue(t, m, "assign", controlplane.QueueSettings{Weight: 1, Placement: controlplane.PlacementSpread, Limits: controlplane.QueueLimits{CPUMillis: limit(1500)}})
	register(t, m, "assign-node", 10)
	for i := range 4 {
		task := execTask(fmt.Sprintf("assign-%d", i))
		task.Queue, task.Resources = "assign", controlplane.Resources{CPUMillis: 1000}
		if i >= 2 {
			task.Queue, task.ConcurrencyKey = "assign-other", "assign-key"
		}
		add(t, m, task)
	}
	assign(t, m, "assign-0", "assign-node")
	wantCode(t, "beyond the limit", m.AssignTask(await(t), "assign-1", "assign-node"), controlplane.CodePrecondition)
	assign(t, m, "assign-2", "assign-node")
	wantCode(t, "beside its key", m.AssignTask(await(t), "assign-3", "assign-node"), controlplane.CodePrecondition)
	if err := m.CompleteTask(await(t), "assign-0", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.UpdateQueue(await(t), "assign", controlplane.QueueSettings{Paused: true}, controlplane.QueuePaused); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "paused", m.AssignTask(await(t), "assign-1", "assign-node"), controlplane.CodePrecondition)
	if _, err := m.UpdateQueue(await(t), "assign", controlplane.QueueSettings{}, controlplane.QueuePaused); err != nil {
		t.Fatal(err)
	}
	assign(t, m, "assign-1", "assign-node")
}

// testAssignWithinCustomLimits looks at what is held, what bounds it, and the share.
func testAssignWithinCustomLimits(t *testing.T, m *db.TaskManifest) {
	createQueue(t, m, "custom", controlplane.QueueSettings{Weight: 1, Placement: controlplane.PlacementSpread,
		Limits: controlplane.QueueLimits{DiskBytes: limit(250), Custom: map[string]int64{"license": 2, "seat": 0}}})
	spec := controlplane.NodeSpec{Slots: 100, Exec: true, Capacity: controlplane.Resources{DiskBytes: 1 << 40, Custom: map[string]int64{"license": 8, "seat": 8}}}
	if err := m.RegisterNode(await(t), "custom-node", "custom-session", spec); err != nil {
		t.Fatal(err)
	}
	for id, r := range map[string]controlplane.Resources{
		"custom-1": {DiskBytes: 200, Custom: map[string]int64{"license": 1}}, "custom-2": {Custom: map[string]int64{"license": 1}},
		"custom-3": {Custom: map[string]int64{"license": 1}}, "custom-4": {Custom: map[string]int64{"seat": 1}}, "custom-5": {DiskBytes: 51},
	} {
		task := execTask(id)
		task.Queue, task.Resources = "custom", r
		add(t, m, task)
	}
	assign(t, m, "custom-1", "custom-node")
	assign(t, m, "custom-2", "custom-node")
	for _, id := range []string{"custom-3", "custom-4", "custom-5"} {
		wantCode(t, id, m.AssignTask(await(t), id, "custom-node"), controlplane.CodePrecondition)
	}
	q := getQueue(t, m, "custom")
	if q.Used.DiskBytes != 200 || !maps.Equal(q.Used.Custom, map[string]int64{"license": 2}) || q.DominantShareMillionths != 250_000 {
		t.Errorf("it holds %+v, a share of %d", q.Used, q.DominantShareMillionths)
	}
}

func testRetryTask(t *testing.T, m *db.TaskManifest) {
	ended(t, m, "again")
	ends := rows(t, m.Engine(), "SELECT count(*) FROM task_ends e JOIN tasks t ON t.seq = e.seq WHERE t.id = 'again'")
	equal(t, "ends before", ends[0], "1")
	task, err := m.RetryTask(await(t), "again")
	if err != nil || task.Status != controlplane.TaskPending || !task.EndTime.IsZero() || task.CancelRequested {
		t.Fatalf("tried again: %+v, %v", task, err)
	}
	ends = rows(t, m.Engine(), "SELECT count(*) FROM task_ends e JOIN tasks t ON t.seq = e.seq WHERE t.id = 'again'")
	equal(t, "ends after", ends[0], "0")
	if same, err := m.RetryTask(await(t), "again"); err != nil || same.Status != controlplane.TaskPending {
		t.Errorf("a repeat: %+v, %v", same, err)
	}
	register(t, m, "again-node", 1)
	assign(t, m, "again", "again-node")
	if err := m.CompleteTask(await(t), "again", nil); err != nil {
		t.Fatal(err)
	}
	_, err = m.RetryTask(await(t), "again")
	wantCode(t, "a completed task", err, controlplane.CodePrecondition)
	_, err = m.RetryTask(await(t), "nobody")
	wantCode(t, "no task", err, controlplane.CodeNotFound)
}

func testCancelTasks(t *testing.T, m *db.TaskManifest) {
	const tasks = 600 // more than two steps
	batch := make([]*controlplane.Task, tasks)
	for i := range batch {
		batch[i] = execTask(fmt.Sprintf("many%03d", i))
		batch[i].Queue = "many"
	}
	if _, err := m.AddTasks(await(t), batch); err != nil {
		t.Fatal(err)
	}
	f := controlplane.TaskFilter{Queue: "many"}
	first, err := m.CancelTasks(await(t), f, 0, 350)
	if err != nil || first.Cancelled != 350 || first.Stopping != 0 || first.Next == 0 {
		t.Fatalf("the first 350: %+v, %v", first, err)
	}
	late := execTask("many-late")
	late.Queue = "many"
	add(t, m, late)
	rest, err := m.CancelTasks(await(t), f, first.Next, 1000)
	if err != nil || rest.Cancelled != tasks-350 || rest.Next != 0 {
		t.Errorf("the rest: %+v, %v", rest, err)
	}
	if got := get(t, m, "many-late").Status; got != controlplane.TaskPending {
		t.Errorf("a task submitted after the first call is %s", got)
	}
	f.Statuses = []controlplane.TaskStatus{controlplane.TaskCancelled}
	if none, err := m.CancelTasks(await(t), f, 0, 10); err != nil || none != (db.CancelCounts{}) {
		t.Errorf("tasks that have ended: %+v, %v", none, err)
	}
}
