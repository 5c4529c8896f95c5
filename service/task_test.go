package service

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestSubmitAndGetAsCurlDoes(t *testing.T) {
	m := solo(t)
	status, header, body := m.post("TaskService/SubmitTask", `{"task":{"name":"hi","exec":{"command":["echo","hi"]},"max_attempts":3}}`)
	if status != 200 {
		t.Fatalf("status %d: %v", status, body)
	}
	task := body["task"].(map[string]any)
	if task["name"] != "hi" || task["status"] != "TASK_STATUS_PENDING" || task["queue"] != "default" || task["maxAttempts"] != 3.0 || len(task["id"].(string)) != 36 {
		t.Errorf("task as stored: %v", task)
	}
	index := header.Get(appliedHeader)
	if n, err := strconv.ParseUint(index, 10, 64); err != nil || n == 0 {
		t.Errorf("%s is %q", appliedHeader, index)
	}
	status, _, body = m.post("TaskService/GetTask", fmt.Sprintf(`{"id":%q}`, task["id"]), minIndexHeader, index)
	if got := body["task"].(map[string]any); status != 200 || got["exec"].(map[string]any)["command"].([]any)[1] != "hi" || got["createTime"] != task["createTime"] {
		t.Errorf("task as read: %d %v", status, body)
	}
}

func TestSubmitTwiceIsOnce(t *testing.T) {
	m := solo(t)
	c, ctx := m.taskClient(), testContext(t)
	submit := func(task *v1.Task, key string) (*v1.Task, error) {
		res, err := c.SubmitTask(ctx, connect.NewRequest(&v1.SubmitTaskRequest{Task: task, RequestId: key}))
		if err != nil {
			return nil, err
		}
		return res.Msg.GetTask(), nil
	}
	first, err := submit(echo(""), "key")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := submit(echo(""), "key"); err != nil || again.GetId() != first.GetId() {
		t.Errorf("the same key again: %v, %v", again, err)
	}
	other := echo(first.GetId())
	other.Name = "another"
	if _, err := submit(other, ""); connect.CodeOf(err) != connect.CodeAlreadyExists || !strings.Contains(err.Error(), "task.id") {
		t.Errorf("another task with a taken id: %v", err)
	}
}

func TestBatchOutcomesStandInOrder(t *testing.T) {
	m := solo(t)
	m.submit("taken")
	other := echo("taken")
	other.Priority = 7
	res, err := m.taskClient().SubmitTasks(testContext(t), connect.NewRequest(&v1.SubmitTasksRequest{
		Requests: []*v1.SubmitTaskRequest{{Task: echo("a")}, {Task: other}, {Task: echo("c")}}}))
	if err != nil {
		t.Fatal(err)
	}
	o := res.Msg.GetOutcomes()
	if len(o) != 3 || o[0].GetTask().GetId() != "a" || o[2].GetTask().GetId() != "c" {
		t.Errorf("outcomes: %v", o)
	}
	if e := o[1].GetError(); e.GetCode() != "already_exists" || !strings.HasPrefix(e.GetMessage(), "requests[1].task.id: ") {
		t.Errorf("outcome of the taken id: %v", e)
	}
}

func TestCancelEndsAWaitingTask(t *testing.T) {
	m := solo(t)
	m.submit("a")
	c, ctx := m.taskClient(), testContext(t)
	for range 2 { // the second changes nothing
		res, err := c.CancelTask(ctx, connect.NewRequest(&v1.CancelTaskRequest{Id: "a"}))
		if err != nil || res.Msg.GetTask().GetStatus() != v1.TaskStatus_TASK_STATUS_CANCELLED {
			t.Fatalf("cancelled: %v, %v", res, err)
		}
	}
	if _, err := c.CancelTask(ctx, connect.NewRequest(&v1.CancelTaskRequest{Id: "nobody"})); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("cancel of an unknown task: %v", err)
	}
}

func TestListTasksByPages(t *testing.T) {
	m := solo(t)
	var want []string
	for i := range 7 {
		id := fmt.Sprintf("t%d", i)
		m.submit(id)
		want = append([]string{id}, want...)
	}
	c, ctx := m.taskClient(), testContext(t)
	var got []string
	req := &v1.ListTasksRequest{PageSize: 3, Statuses: []v1.TaskStatus{v1.TaskStatus_TASK_STATUS_PENDING}}
	for pages := 1; ; pages++ {
		res, err := c.ListTasks(ctx, connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range res.Msg.GetTasks() {
			got = append(got, task.GetId())
		}
		if req.PageToken = res.Msg.GetNextPageToken(); req.PageToken == "" {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed %v, want %v", got, want)
	}
}

func TestPageTokensAreBoundToTheQuery(t *testing.T) {
	m := solo(t)
	m.submit("a")
	m.submit("b")
	c, ctx := m.taskClient(), testContext(t)
	res, err := c.ListTasks(ctx, connect.NewRequest(&v1.ListTasksRequest{PageSize: 1, Queue: "default"}))
	if err != nil {
		t.Fatal(err)
	}
	token := res.Msg.GetNextPageToken()
	if res, err := c.ListTasks(ctx, connect.NewRequest(&v1.ListTasksRequest{PageSize: 5, Queue: "default", PageToken: token})); err != nil || len(res.Msg.GetTasks()) != 1 {
		t.Errorf("another page size: %v, %v", res, err)
	}
	for name, req := range map[string]*v1.ListTasksRequest{
		"other filter": {Queue: "other", PageToken: token},
		"cut":          {Queue: "default", PageToken: token[:len(token)-2]},
		"not base64":   {Queue: "default", PageToken: "?"},
		"changed":      {Queue: "default", PageToken: token[:len(token)-1] + string(token[len(token)-1]^1)},
	} {
		if _, err := c.ListTasks(ctx, connect.NewRequest(req)); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "page_token") {
			t.Errorf("%s: %v", name, err)
		}
	}
	nodes := m.nodeClient()
	if _, err := nodes.ListNodes(ctx, connect.NewRequest(&v1.ListNodesRequest{PageToken: token})); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a token of tasks for nodes: %v", err)
	}
}

// TestIDOnly submits by the leader and by another member, one task and several, and repeats
// a submission.
func TestIDOnly(t *testing.T) {
	leader, followers := roles(t, newCluster(t, 3))
	for _, m := range []*member{leader, followers[0]} {
		submit := func(key string, idOnly bool) *v1.SubmitTaskRequest {
			task := echo("")
			task.Name = "named"
			return &v1.SubmitTaskRequest{Task: task, RequestId: m.cfg.Name + key, IdOnly: idOnly}
		}
		c, ctx := m.taskClient(), testContext(t)
		first, err := c.SubmitTask(ctx, connect.NewRequest(submit("a", true)))
		if err != nil {
			t.Fatal(err)
		}
		id := first.Msg.GetTask().GetId()
		if want := (&v1.Task{Id: id}); id == "" || !proto.Equal(first.Msg.GetTask(), want) {
			t.Errorf("answered with %v, want an id alone", first.Msg.GetTask())
		}
		several, err := c.SubmitTasks(ctx, connect.NewRequest(&v1.SubmitTasksRequest{Requests: []*v1.SubmitTaskRequest{submit("a", true), submit("a", false), submit("b", true)}}))
		if err != nil {
			t.Fatal(err)
		}
		again, whole, another := several.Msg.GetOutcomes()[0], several.Msg.GetOutcomes()[1].GetTask(), several.Msg.GetOutcomes()[2]
		if again.GetTaskId() != id || again.GetTask() != nil {
			t.Errorf("the repeat is answered with %v, want the id of the first", again)
		}
		if whole.GetId() != id || whole.GetName() != "named" || whole.GetExec() == nil || whole.GetCreateTime() == nil {
			t.Errorf("without id_only: %v, want the whole task", whole)
		}
		if another.GetTaskId() == id || another.GetTaskId() == "" {
			t.Errorf("another: %v, want an id of its own", another)
		}
	}
}
