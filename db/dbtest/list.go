package dbtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var listTests = map[string]func(*testing.T, *db.TaskManifest){
	"filters and pages": testListTasks,
}

func testListTasks(t *testing.T, m *db.TaskManifest) {
	register(t, m, "n1", 10)
	register(t, m, "n2", 10)
	for i := range 12 { // t0 … t11, by turns in two queues, every third with a label
		task := execTask(fmt.Sprintf("t%d", i))
		task.Queue, task.Name = fmt.Sprintf("q%d", i%2), fmt.Sprintf("name%d", i%4)
		task.Labels = map[string]string{"kind": "all", "third": fmt.Sprint(i%3 == 0)}
		task.Function, task.Exec = &controlplane.Function{Name: "f", Payload: []byte("large")}, nil
		if i%2 == 0 {
			task.Function, task.Exec = nil, &controlplane.Exec{Command: []string{"true"}}
			task.RequestID = "key" + task.ID
		}
		add(t, m, task)
	}
	for i, node := range map[int]string{0: "n1", 2: "n1", 4: "n2", 6: "n2", 8: "n2"} {
		assign(t, m, fmt.Sprintf("t%d", i), node)
	}
	h := db.Held{Seq: get(t, m, "t8").Seq, TaskID: "t8", NodeID: "n2", Attempt: 1}
	wantChanged(t, "deliver", deliver(t, m, h), 1)
	if err := m.CompleteTask(await(t), "t6", []byte("result")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CancelTask(await(t), "t11"); err != nil {
		t.Fatal(err)
	}
	const (
		pending, assigned, running, completed, cancelled = controlplane.TaskPending, controlplane.TaskAssigned, controlplane.TaskRunning,
			controlplane.TaskCompleted, controlplane.TaskCancelled
	)
	statuses := func(s ...controlplane.TaskStatus) controlplane.TaskFilter {
		return controlplane.TaskFilter{Statuses: s}
	}
	onNode := statuses(assigned, running)
	onNode.NodeID = "n2"
	everything := controlplane.TaskFilter{Statuses: []controlplane.TaskStatus{pending, assigned}, Queue: "q0", NodeID: "n1", Name: "name2", Labels: map[string]string{"third": "false"}}
	for _, c := range []struct {
		filter controlplane.TaskFilter
		want   string
	}{
		{controlplane.TaskFilter{}, "t11 t10 t9 t8 t7 t6 t5 t4 t3 t2 t1 t0"},
		{statuses(pending), "t10 t9 t7 t5 t3 t1"},
		{statuses(assigned), "t4 t2 t0"},
		{statuses(running), "t8"},
		{statuses(assigned, running), "t8 t4 t2 t0"},
		{statuses(running, completed, cancelled), "t11 t8 t6"},
		{onNode, "t8 t4"},
		{controlplane.TaskFilter{NodeID: "n2"}, "t8 t6 t4"},
		{controlplane.TaskFilter{Queue: "q1"}, "t11 t9 t7 t5 t3 t1"},
		{controlplane.TaskFilter{Name: "name3"}, "t11 t7 t3"},
		{controlplane.TaskFilter{Labels: map[string]string{"third": "true"}}, "t9 t6 t3 t0"},
		{controlplane.TaskFilter{Labels: map[string]string{"third": "true", "kind": "all"}, Queue: "q0"}, "t6 t0"},
		{controlplane.TaskFilter{Labels: map[string]string{"no such": "label"}}, ""},
		{controlplane.TaskFilter{Labels: map[string]string{"kind": "ALL"}}, ""},
		{everything, "t2"},
	} {
		for _, size := range []int{1, 3, 100} {
			if got := pages(t, m, c.filter, size); got != c.want {
				t.Errorf("%+v in pages of %d: %s, want %s", c.filter, size, got, c.want)
			}
		}
	}
	if list, err := m.ListTasks(await(t), statuses(completed), 0, 1); err != nil || list[0].Result != nil || list[0].LogTail != "" {
		t.Errorf("a list holds a result: %+v, %v", list, err)
	}
	if list, err := m.ListTasks(await(t), controlplane.TaskFilter{Queue: "q1"}, 0, 1); err != nil || list[0].Function.Name != "f" || list[0].Function.Payload != nil {
		t.Errorf("a list holds a payload: %+v, %v", list, err)
	}
}

// pages lists the ids of all tasks that match, page by page.
func pages(t *testing.T, m *db.TaskManifest, f controlplane.TaskFilter, size int) string {
	t.Helper()
	var ids []string
	before := int64(0)
	for {
		page, err := m.ListTasks(await(t), f, before, size)
		if err != nil || len(page) > size {
			t.Fatalf("list %+v: %d tasks in a page of %d, %v", f, len(page), size, err)
		}
		for _, task := range page {
			ids, before = append(ids, task.ID), task.Seq
		}
		if len(page) < size {
			return strings.Join(ids, " ")
		}
	}
}
