package service

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func (m *member) poll(node, session string, wait time.Duration) (*v1.PollTaskResponse, error) {
	m.t.Helper()
	res, err := m.nodeClient().PollTask(testContext(m.t), connect.NewRequest(&v1.PollTaskRequest{
		NodeId: node, SessionId: session, MaxTasks: 10, Wait: durationpb.New(wait)}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func TestATaskFromSubmissionToItsResult(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 4)
	polled := make(chan *v1.PollTaskResponse, 1)
	go func() {
		res, err := m.poll("n1", "s1", 20*time.Second)
		if err != nil {
			t.Error(err)
		}
		polled <- res
	}()
	m.submit("a")
	work := <-polled
	if len(work.GetTasks()) != 1 {
		t.Fatalf("polled: %v", work)
	}
	task := work.GetTasks()[0]
	if task.GetId() != "a" || task.GetAttempt() != 1 || task.GetStatus() != v1.TaskStatus_TASK_STATUS_RUNNING || task.GetExec().GetCommand()[1] != "a" {
		t.Errorf("task as handed out: %v", task)
	}
	code := int32(0)
	report := &v1.ReportTaskResultRequest{TaskId: "a", Attempt: 1, NodeId: "n1", SessionId: "s1",
		Status: v1.TaskStatus_TASK_STATUS_COMPLETED, Result: []byte(`{"x":1}`), ExitCode: &code, LogTail: "grüße\n"}
	for range 2 { // the repeat is answered as the first was
		res, err := m.nodeClient().ReportTaskResult(testContext(t), connect.NewRequest(report))
		if err != nil || res.Msg.GetStatus() != v1.TaskStatus_TASK_STATUS_COMPLETED {
			t.Fatalf("report: %v, %v", res, err)
		}
	}
	res, err := m.taskClient().GetTask(testContext(t), connect.NewRequest(&v1.GetTaskRequest{Id: "a"}))
	if got := res.Msg.GetTask(); err != nil || string(got.GetResult()) != `{"x":1}` || got.ExitCode == nil || got.GetLogTail() != "grüße\n" || got.GetNodeId() != "n1" || got.GetEndTime() == nil {
		t.Errorf("task at its end: %v, %v", got, err)
	}
	report.Attempt = 2
	_, err = m.nodeClient().ReportTaskResult(testContext(t), connect.NewRequest(report))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("report of an attempt that never was: %v", err)
	}
}

func TestReportsInABatchMayPoll(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 1)
	m.submit("a")
	m.submit("b")
	work, err := m.poll("n1", "s1", 10*time.Second)
	if err != nil || len(work.GetTasks()) != 1 {
		t.Fatalf("%v, %v", work, err)
	}
	res, err := m.nodeClient().ReportTaskResults(testContext(t), connect.NewRequest(&v1.ReportTaskResultsRequest{
		NodeId: "n1", SessionId: "s1", MaxTasks: 1, Wait: durationpb.New(10 * time.Second),
		Results: []*v1.TaskResult{
			{TaskId: "a", Attempt: 1, Status: v1.TaskStatus_TASK_STATUS_COMPLETED},
			{TaskId: "nobody", Attempt: 1, Status: v1.TaskStatus_TASK_STATUS_COMPLETED},
		}}))
	if err != nil {
		t.Fatal(err)
	}
	o := res.Msg.GetOutcomes()
	if len(o) != 2 || o[0].GetStatus() != v1.TaskStatus_TASK_STATUS_COMPLETED || o[1].GetError().GetCode() != "not_found" ||
		!strings.HasPrefix(o[1].GetError().GetMessage(), "results[1].task_id: ") {
		t.Errorf("outcomes: %v", o)
	}
	if tasks := res.Msg.GetTasks(); len(tasks) != 1 || tasks[0].GetId() != "b" {
		t.Errorf("the poll in the same call gave %v", tasks)
	}
}

func TestAReplacedSessionIsTold(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 1)
	m.register("n1", "s2", 1)
	if _, err := m.poll("n1", "s1", 0); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("poll of the former session: %v", err)
	}
	if _, err := m.poll("n2", "s1", 0); connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), "spec") {
		t.Errorf("poll of an unknown node: %v", err)
	}
	_, err := m.nodeClient().Heartbeat(testContext(t), connect.NewRequest(&v1.HeartbeatRequest{NodeId: "n1", SessionId: "s1"}))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("heartbeat of the former session: %v", err)
	}
}

func TestNodesAreListedById(t *testing.T) {
	m := solo(t)
	for _, n := range []string{"c", "a", "b"} {
		m.register(n, "session-"+n, 2)
	}
	spec := &v1.NodeSpec{Slots: 8, Exec: true, Functions: []string{"f"}, Labels: map[string]string{"k": "v"}, Provider: "aws", Region: "r", Zone: "z",
		InstanceType: "i", Version: "1", Spot: true, PriceMicrosPerHour: 9, Capacity: &v1.Resources{CpuMillis: 8000, MemoryBytes: 1 << 30, Gpus: 1},
		GpuDevices: []*v1.GpuDevice{{Index: 5, Model: "H100", MemoryBytes: 80 << 30}}}
	_, err := m.nodeClient().Heartbeat(testContext(t), connect.NewRequest(&v1.HeartbeatRequest{
		NodeId: "d", SessionId: "s", Spec: spec, Usage: &v1.NodeUsage{CpuMillis: 100, MemoryBytes: 200}}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	req := &v1.ListNodesRequest{PageSize: 3, Statuses: []v1.NodeStatus{v1.NodeStatus_NODE_STATUS_HEALTHY}}
	for {
		res, err := m.nodeClient().ListNodes(testContext(t), connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range res.Msg.GetNodes() {
			got = append(got, n.GetId())
		}
		if req.PageToken = res.Msg.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if fmt.Sprint(got) != "[a b c d]" {
		t.Errorf("listed %v", got)
	}
	res, err := m.nodeClient().GetNode(testContext(t), connect.NewRequest(&v1.GetNodeRequest{Id: "d"}))
	if err != nil {
		t.Fatal(err)
	}
	n := res.Msg.GetNode()
	if n.GetSpec().String() != spec.String() || n.GetUsage().GetMemoryBytes() != 200 || n.GetStatus() != v1.NodeStatus_NODE_STATUS_HEALTHY || !n.GetSchedulable() {
		t.Errorf("node as read: %v", n)
	}
	if _, err := m.nodeClient().GetNode(testContext(t), connect.NewRequest(&v1.GetNodeRequest{Id: "x"})); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("unknown node: %v", err)
	}
}

// TestAPollNeverExceedsAMessage hands out more than fits: the rest is delivered
// with a later poll that says what the node holds.
func TestAPollNeverExceedsAMessage(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 10)
	for i := range 5 {
		_, err := m.taskClient().SubmitTask(testContext(t), connect.NewRequest(&v1.SubmitTaskRequest{Task: &v1.Task{Id: fmt.Sprintf("t%d", i),
			Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"true"}, Env: map[string]string{"X": strings.Repeat("x", 65536), "Y": strings.Repeat("y", 65536),
				"Z": strings.Repeat("z", 65536), "A": strings.Repeat("a", 65536), "B": strings.Repeat("b", 65536), "C": strings.Repeat("c", 65536),
				"D": strings.Repeat("d", 65536), "E": strings.Repeat("e", 65536), "F": strings.Repeat("f", 65536), "G": strings.Repeat("g", 65536),
				"H": strings.Repeat("h", 65536), "I": strings.Repeat("i", 65536), "J": strings.Repeat("j", 65536), "K": strings.Repeat("k", 65536)}}}}}))
		if err != nil {
			t.Fatal(err)
		}
	}
	c := m.nodeClient(connect.WithReadMaxBytes(maxMessageBytes))
	req := &v1.PollTaskRequest{NodeId: "n1", SessionId: "s1", MaxTasks: 10, HeldComplete: true, Wait: durationpb.New(10 * time.Second)}
	for len(req.Held) < 5 {
		res, err := c.PollTask(testContext(t), connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range res.Msg.GetTasks() {
			req.Held = append(req.Held, &v1.HeldAttempt{TaskId: task.GetId(), Attempt: task.GetAttempt()})
		}
	}
}
