package dbtest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var taskTests = map[string]func(*testing.T, *db.TaskManifest){
	"a task comes back whole":          testTaskWhole,
	"what is left out has its default": testTaskDefaults,
	"malformed tasks":                  testTaskMalformed,
	"a task that is not there":         testTaskMissing,
	"a batch":                          testTaskBatch,
	"tasks by their ids":               testTasksByIDs,
	"tasks of one index":               testTasksOfOneIndex,
	"tasks made in the same memory":    testTasksInOneMemory,
	"cancelling":                       testCancel,
}

func testTaskWhole(t *testing.T, m *db.TaskManifest) {
	for _, task := range []*controlplane.Task{
		{
			ID: "whole-exec", RequestID: "whole-r1", Name: "Größe", Queue: "q.1", Priority: -7, Labels: map[string]string{"a": "1", "b": `<"&'>`},
			Exec:      &controlplane.Exec{Command: []string{"sh", "-c", "echo 'a b'; \x01"}, Env: map[string]string{"K": "v=1"}, WorkingDir: "/tmp/a b"},
			Resources: controlplane.Resources{CPUMillis: 1500, MemoryBytes: 1 << 40, DiskBytes: 1 << 41, GPUs: 2, Custom: map[string]int64{"license": 2, "a.b": 1}},
			Constraints: controlplane.Constraints{Providers: []string{"aws", "g\"cp"}, Regions: []string{"r"}, Zones: []string{"z"}, InstanceTypes: []string{"t"},
				Labels: []controlplane.LabelSelector{{Key: "k<1>", Operator: controlplane.LabelIn, Values: []string{"a", "b"}}, {Key: "l", Operator: controlplane.LabelExists}},
				Spot:   controlplane.SpotOnly, MaxPriceMicrosPerHour: 5, NodeID: "n", GPUModels: []string{"h100"}, MinGPUMemoryBytes: 7, PreferredRegions: []string{"r", "s"}},
			Timeout: 90 * time.Second, MaxAttempts: 3, MaxLostAttempts: 7,
			Trace: controlplane.TraceContext{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", State: "a=1,b=2"},
		},
		{ID: "whole-function", Function: &controlplane.Function{Name: "train/v1", Payload: []byte{0, 1, 255}}, Queue: "default", MaxAttempts: 1, MaxLostAttempts: 5,
			Trace: controlplane.TraceContext{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}},
		{ID: "whole-empty-payload", Function: &controlplane.Function{Name: "train/v1"}, Queue: "default", MaxAttempts: 1, MaxLostAttempts: 5},
	} {
		before := time.Now().Add(-time.Second)
		stored := add(t, m, task)
		if stored.Seq == 0 || stored.ClassID == 0 || stored.CreateTime.Before(before) || stored.CreateTime.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: stored as %+v", task.ID, stored)
		}
		want := *task
		want.Status, want.Seq, want.ClassID, want.CreateTime = controlplane.TaskPending, stored.Seq, stored.ClassID, stored.CreateTime
		if !reflect.DeepEqual(*stored, want) {
			t.Errorf("%s is returned as %+v, want %+v", task.ID, *stored, want)
		}
		if got := get(t, m, task.ID); !reflect.DeepEqual(*got, want) {
			t.Errorf("%s is read as %+v, want %+v", task.ID, *got, want)
		}
	}
}

func testTaskDefaults(t *testing.T, m *db.TaskManifest) {
	a := add(t, m, &controlplane.Task{Exec: &controlplane.Exec{Command: []string{"true"}}, Status: controlplane.TaskCompleted, Attempt: 9, NodeID: "x", Error: "given"})
	if len(a.ID) != 36 || a.ID[14] != '7' || a.Queue != controlplane.DefaultQueue || a.MaxAttempts != 1 || a.MaxLostAttempts != 5 {
		t.Errorf("defaults: %+v", a)
	}
	if a.Status != controlplane.TaskPending || a.Attempt != 0 || a.NodeID != "" || a.Error != "" {
		t.Errorf("output fields were taken over: %+v", a)
	}
	b := add(t, m, execTask(""))
	if b.Seq <= a.Seq || b.ID <= a.ID || b.ClassID != a.ClassID {
		t.Errorf("%+v comes after %+v, with the same needs", b, a)
	}
	short := execTask("short-timeout")
	short.Timeout = 1500 * time.Microsecond
	if s := add(t, m, short); s.Timeout != 2*time.Millisecond || get(t, m, s.ID).Timeout != s.Timeout {
		t.Errorf("a timeout of 1.5 ms is returned as %s and read as %s", s.Timeout, get(t, m, s.ID).Timeout)
	}
}

func testTaskMalformed(t *testing.T, m *db.TaskManifest) {
	for what, task := range map[string]*controlplane.Task{
		"no work":     {ID: "malformed"},
		"both":        {ID: "malformed", Exec: &controlplane.Exec{Command: []string{"true"}}, Function: &controlplane.Function{Name: "f"}},
		"no command":  {ID: "malformed", Exec: &controlplane.Exec{}},
		"no function": {ID: "malformed", Function: &controlplane.Function{}},
	} {
		_, err := m.AddTasks(await(t), []*controlplane.Task{execTask("malformed-neighbour"), task})
		wantCode(t, what, err, controlplane.CodeInvalid)
	}
	_, err := m.GetTask(await(t), "malformed-neighbour")
	wantCode(t, "the neighbour of a malformed one", err, controlplane.CodeNotFound)
}

func testTaskMissing(t *testing.T, m *db.TaskManifest) {
	_, err := m.GetTask(await(t), "no-such-task")
	wantCode(t, "get", err, controlplane.CodeNotFound)
	_, err = m.CancelTask(await(t), "no-such-task")
	wantCode(t, "cancel", err, controlplane.CodeNotFound)
	wantCode(t, "assign", m.AssignTask(await(t), "no-such-task", "n"), controlplane.CodeNotFound)
	wantCode(t, "complete", m.CompleteTask(await(t), "no-such-task", nil), controlplane.CodeNotFound)
	_, err = m.SelectLeastLoadedNode(await(t), "no-such-task")
	wantCode(t, "select a node", err, controlplane.CodeNotFound)
	if a, err := m.AttemptState(await(t), "no-such-task", 1); err != nil || a.Found {
		t.Errorf("attempt: %+v, %v", a, err)
	}
}

func testTaskBatch(t *testing.T, m *db.TaskManifest) {
	add(t, m, execTask("batch-taken"))
	other := execTask("batch-taken")
	other.Name = "another one"
	out, err := m.AddTasks(await(t), []*controlplane.Task{execTask("batch-1"), other, execTask("batch-2"), execTask("batch-taken"), execTask("batch-2")})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"batch-1", "", "batch-2", "batch-taken", "batch-2"} {
		if want == "" {
			wantCode(t, "the taken id", out[i].Err, controlplane.CodeExists)
		} else if out[i].Err != nil || out[i].Task.ID != want {
			t.Errorf("outcome %d: %+v, want %s", i, out[i], want)
		}
	}
	if out[2].Task.Seq != out[4].Task.Seq {
		t.Errorf("the same task twice in a batch has keys %d and %d", out[2].Task.Seq, out[4].Task.Seq)
	}
	equal(t, "name of the first", get(t, m, "batch-taken").Name, "")
}

// testTasksInOneMemory submits, in two entries, tasks of which each differs from the one that
// stood in the same memory before: nothing of one is left in another.
func testTasksInOneMemory(t *testing.T, m *db.TaskManifest) {
	const tasks = 40
	makeOne := func(task *controlplane.Task, i int) {
		id := fmt.Sprintf("memory-%d", i)
		*task = controlplane.Task{ID: id, Function: &controlplane.Function{Name: "f" + id, Payload: []byte(id)}}
		if i%3 == 0 {
			*task = controlplane.Task{ID: id, Exec: &controlplane.Exec{Command: []string{id}}, Labels: map[string]string{"l": id}, RequestID: "r" + id,
				Retry: &controlplane.RetryPolicy{Multiplier: 3}, Trace: controlplane.TraceContext{Parent: "00-" + id}}
		}
	}
	for _, half := range []int{0, tasks / 2} {
		out, err := m.AddEach(await(t), tasks/2, func(yield func(*controlplane.Task) bool) {
			task := &controlplane.Task{}
			for i := range tasks / 2 {
				if makeOne(task, half+i); !yield(task) {
					return
				}
			}
		})
		if err != nil || len(out) != tasks/2 {
			t.Fatalf("%d outcomes, %v", len(out), err)
		}
	}
	for i := range tasks {
		want := &controlplane.Task{}
		makeOne(want, i)
		got := get(t, m, want.ID)
		if !reflect.DeepEqual(got.Function, want.Function) || !reflect.DeepEqual(got.Exec, want.Exec) || !reflect.DeepEqual(got.Labels, want.Labels) ||
			got.RequestID != want.RequestID || (got.Retry == nil) != (want.Retry == nil) || got.Trace != want.Trace {
			t.Errorf("%+v is stored as %+v", want, got)
		}
	}
}

func testCancel(t *testing.T, m *db.TaskManifest) {
	register(t, m, "cancel-node", 10)
	add(t, m, execTask("cancel-pending"))
	add(t, m, execTask("cancel-assigned"))
	assign(t, m, "cancel-assigned", "cancel-node")
	for _, id := range []string{"cancel-pending", "cancel-assigned", "cancel-pending"} {
		task, err := m.CancelTask(await(t), id)
		if err != nil || task.Status != controlplane.TaskCancelled || task.CancelRequested || task.EndTime.IsZero() {
			t.Errorf("cancel %s: %+v, %v", id, task, err)
		}
	}
	add(t, m, execTask("cancel-running"))
	h := assign(t, m, "cancel-running", "cancel-node")
	wantChanged(t, "deliver", deliver(t, m, h), 1)
	for range 2 {
		task, err := m.CancelTask(await(t), "cancel-running")
		if err != nil || task.Status != controlplane.TaskRunning || !task.CancelRequested {
			t.Errorf("cancel a running one: %+v, %v", task, err)
		}
	}
	wantChanged(t, "end", end(t, m, h, controlplane.TaskCancelled, controlplane.Result{}), 1)
	task, err := m.CancelTask(await(t), "cancel-running")
	if err != nil || task.Status != controlplane.TaskCancelled || task.CancelRequested {
		t.Errorf("cancel an ended one: %+v, %v", task, err)
	}
}
