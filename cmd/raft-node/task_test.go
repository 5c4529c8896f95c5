package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func before(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(-d)) }

func exampleTask() *v1.Task {
	code := int32(3)
	return &v1.Task{
		Id: "t1", Name: "train", Queue: "default", Labels: map[string]string{"b": "2", "a": "1"},
		Work:      &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"sh", "-c", "echo 'hi there'"}, WorkingDir: "/data"}},
		Resources: &v1.Resources{CpuMillis: 500, MemoryBytes: 1 << 30}, MaxAttempts: 3,
		Status: v1.TaskStatus_TASK_STATUS_FAILED, NodeId: "n1", Attempt: 4, FailedAttempts: 3, LostAttempts: 1, ExitCode: &code,
		CreateTime: before(2 * time.Hour), StartTime: before(90*time.Minute + 30*time.Second), EndTime: before(90 * time.Minute),
		Error: "exit status 3\x1b[31m", Result: []byte(`{"accuracy":0.97}`), LogTail: "line one\nline\x1b two\n",
	}
}

func TestTaskGet(t *testing.T) {
	task := exampleTask()
	var asked *v1.GetTaskRequest
	m := (&member{get: func(r *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		asked = r
		return &v1.GetTaskResponse{Task: task}, nil
	}}).start(t)
	r := m.at(t, "task", "get", "t1", "--consistency", "stale")
	r.expect(t, 0, []string{
		"Task:       t1\n", "Status:     FAILED\n", "Labels:     a=1, b=2\n", `Command:    sh -c 'echo '\''hi there'\'''`, "Directory:  /data\n",
		"Reserves:   0.5 CPU, 1GiB memory\n", "Attempt:    4 (3 of at most 3 failed, 1 lost with their node)\n", "(2h ago)\n", "(1h ago), ran for 30s\n",
		"Exit code:  3\n", "Error:      exit status 3\uFFFD[31m\n", `Result:     {"accuracy":0.97}`, "\nEnd of the output:\nline one\nline\uFFFD two\n",
	}, nil)
	if asked.GetConsistency() != v1.Consistency_CONSISTENCY_STALE {
		t.Errorf("consistency = %v, want stale", asked.GetConsistency())
	}
	task.Result = []byte{0xff}
	m.at(t, "task", "get", "t1").expect(t, 0, []string{"1 bytes that are not text: -o json has them"}, nil)
}

func TestTaskGetAsJSON(t *testing.T) {
	m := (&member{get: func(*v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		return &v1.GetTaskResponse{Task: exampleTask()}, nil
	}}).start(t)
	first, second := m.at(t, "task", "get", "t1", "-o", "json"), m.at(t, "task", "get", "t1", "-o", "json")
	var got v1.GetTaskResponse
	if err := protojson.Unmarshal([]byte(first.out), &got); err != nil {
		t.Fatal(err)
	}
	want := exampleTask()
	want.CreateTime, want.StartTime, want.EndTime = got.GetTask().GetCreateTime(), got.GetTask().GetStartTime(), got.GetTask().GetEndTime()
	if !proto.Equal(got.GetTask(), want) {
		t.Errorf("task = %v", got.GetTask())
	}
	if a, b := strings.Count(first.out, " "), strings.Count(second.out, " "); a != b {
		t.Errorf("the spaces differ from run to run: %d and %d", a, b)
	}
}

func TestTaskNotFound(t *testing.T) {
	m := (&member{get: func(*v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		return nil, refusal(connect.CodeNotFound, "id: there is no task x\x1b")
	}}).start(t)
	m.at(t, "task", "get", "x").expect(t, 1, nil, []string{"raft-node: id: there is no task x\uFFFD\n"})
}

// manyTasks serves tasks t0, t1 … in pages.
func manyTasks(t *testing.T, count int, asked *[]*v1.ListTasksRequest) *member {
	return (&member{list: func(r *v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
		*asked = append(*asked, r)
		from := 0
		fmt.Sscan(r.GetPageToken(), &from) //nolint:errcheck // empty for the first page
		res := &v1.ListTasksResponse{}
		for i := from; i < min(from+int(r.GetPageSize()), count); i++ {
			res.Tasks = append(res.Tasks, &v1.Task{Id: fmt.Sprintf("t%d", i), Status: v1.TaskStatus_TASK_STATUS_RUNNING})
		}
		if next := from + int(r.GetPageSize()); next < count {
			res.NextPageToken = fmt.Sprint(next)
		}
		return res, nil
	}}).start(t)
}

func TestTaskListPages(t *testing.T) {
	for _, tc := range []struct {
		args  []string
		sizes []int32
		shown int
		more  bool
	}{
		{nil, []int32{100}, 100, true},
		{[]string{"--limit", "3"}, []int32{3}, 3, true},
		{[]string{"--limit", "0"}, []int32{1000, 1000, 1000}, 2500, false},
		{[]string{"--limit", "1200"}, []int32{1000, 200}, 1200, true},
		{[]string{"--limit", "10", "--page-token", "2495"}, []int32{10}, 5, false},
	} {
		var asked []*v1.ListTasksRequest
		m := manyTasks(t, 2500, &asked)
		r := m.at(t, append([]string{"task", "list"}, tc.args...)...)
		var sizes []int32
		for _, a := range asked {
			sizes = append(sizes, a.GetPageSize())
		}
		if fmt.Sprint(sizes) != fmt.Sprint(tc.sizes) {
			t.Errorf("%v: page sizes = %v, want %v", tc.args, sizes, tc.sizes)
		}
		if got := strings.Count(r.out, "RUNNING"); got != tc.shown || strings.Contains(r.err, "there are more tasks") != tc.more {
			t.Errorf("%v: %d tasks shown, want %d; standard error: %s", tc.args, got, tc.shown, r.err)
		}
	}
}

func TestTaskListAsJSONGoesOn(t *testing.T) {
	var asked []*v1.ListTasksRequest
	r := manyTasks(t, 5, &asked).at(t, "task", "list", "--limit", "2", "-o", "json")
	var got struct {
		Tasks         []struct{ ID string }
		NextPageToken string
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Tasks) != 2 || got.NextPageToken != "2" {
		t.Errorf("got %+v, %v", got, err)
	}
	var none []*v1.ListTasksRequest
	manyTasks(t, 0, &none).at(t, "task", "list", "-o", "json").expect(t, 0, []string{`"tasks": []`}, nil)
}

func TestTaskListFilters(t *testing.T) {
	var asked []*v1.ListTasksRequest
	manyTasks(t, 0, &asked).at(t, "task", "list", "--status", "running,FAILED", "--queue", "q", "--node", "n", "--task-name", "x", "--label", "a=1").expect(t, 0, nil, nil)
	want := &v1.ListTasksRequest{
		Statuses: []v1.TaskStatus{v1.TaskStatus_TASK_STATUS_RUNNING, v1.TaskStatus_TASK_STATUS_FAILED}, Queue: "q", NodeId: "n", Name: "x",
		Labels: map[string]string{"a": "1"}, PageSize: 100, Consistency: v1.Consistency_CONSISTENCY_LINEARIZABLE,
	}
	if !proto.Equal(asked[0], want) {
		t.Errorf("request = %v\nwant %v", asked[0], want)
	}
}

func TestTaskTable(t *testing.T) {
	failed := exampleTask()
	failed.Error = strings.Repeat("why ", 50)
	tasks := []*v1.Task{
		failed,
		{Id: "t2", Status: v1.TaskStatus_TASK_STATUS_RUNNING, Queue: "a-long-queue", NodeId: "n2", Attempt: 1, CreateTime: before(3500 * time.Millisecond), CancelRequested: true},
		{Id: "t3", Status: v1.TaskStatus_TASK_STATUS_PENDING, CreateTime: before(50 * time.Hour), RetryTime: before(-90 * time.Second)},
		{Id: "t4", Status: v1.TaskStatus_TASK_STATUS_COMPLETED, CreateTime: before(time.Minute), StartTime: before(50 * time.Second), EndTime: before(20 * time.Second)},
	}
	m := (&member{list: func(*v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
		return &v1.ListTasksResponse{Tasks: tasks}, nil
	}}).start(t)
	r := m.at(t, "task", "list")
	r.expect(t, 0, []string{"3s ago", "2d ago", "next attempt in 1m", "its node is stopping it", "took 30s", "why why…"}, nil)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	column := strings.Index(lines[0], "STATUS")
	for i, want := range []string{"STATUS", "FAILED", "RUNNING", "PENDING", "COMPLETED"} {
		if !strings.HasPrefix(lines[i][column:], want) {
			t.Errorf("line %d is not aligned: %s", i, lines[i])
		}
		if len([]rune(lines[i])) > 160 {
			t.Errorf("line %d is %d characters long", i, len(lines[i]))
		}
	}
}

func TestTaskCancel(t *testing.T) {
	m := (&member{cancel: func(r *v1.CancelTaskRequest) (*v1.CancelTaskResponse, error) {
		task := &v1.Task{Id: r.GetId(), NodeId: "n1"}
		switch r.GetId() {
		case "waiting":
			task.Status = v1.TaskStatus_TASK_STATUS_CANCELLED
		case "running":
			task.Status, task.CancelRequested = v1.TaskStatus_TASK_STATUS_RUNNING, true
		case "done":
			task.Status = v1.TaskStatus_TASK_STATUS_COMPLETED
		default:
			return nil, refusal(connect.CodeNotFound, "there is no such task")
		}
		return &v1.CancelTaskResponse{Task: task}, nil
	}}).start(t)
	m.at(t, "task", "cancel", "waiting", "none", "running", "done").expect(t, 1,
		[]string{"waiting: cancelled\n", "running: its node n1 is stopping it\n", "done: had ended already: COMPLETED\n"}, []string{"none: there is no such task"})
	m.at(t, "task", "cancel", "waiting", "-o", "json").expect(t, 0, []string{`"status": "TASK_STATUS_CANCELLED"`}, nil)
}

func TestTaskWatch(t *testing.T) {
	for _, format := range []string{"json", "table"} {
		ctx, interrupt := context.WithCancel(t.Context())
		var asked *v1.WatchTasksRequest
		m := (&member{watch: func(ctx context.Context, r *v1.WatchTasksRequest, s *connect.ServerStream[v1.WatchTasksResponse]) error {
			asked = r
			for _, m := range []*v1.WatchTasksResponse{
				{Cursor: "0-1"},
				{Cursor: "1-1", Event: &v1.TaskEvent{TaskId: "t1", Status: v1.TaskStatus_TASK_STATUS_RUNNING, Attempt: 2, NodeId: "n1", Time: before(0)}},
				{Cursor: "2-1", Event: &v1.TaskEvent{TaskId: "t1", Status: v1.TaskStatus_TASK_STATUS_PENDING, Attempt: 2, Reason: "retry", Time: before(0)}},
			} {
				if err := s.Send(m); err != nil {
					return err
				}
			}
			return refusal(connect.CodeDataLoss, "enough")
		}}).start(t)
		r := cliWith(ctx, "", "--server", m.url, "-o", format, "task", "watch", "--queue", "q", "--node", "n1", "--cursor", "0", "t1")
		interrupt()
		r.expect(t, 1, nil, []string{"enough"})
		want := &v1.WatchTasksRequest{Cursor: "0", TaskIds: []string{"t1"}, Queue: "q", NodeId: "n1", Progress: true}
		if !proto.Equal(asked, want) {
			t.Errorf("request = %v, want %v", asked, want)
		}
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		if len(lines) != 2 {
			t.Fatalf("%s: %d lines, want one for each change:\n%s", format, len(lines), r.out)
		}
		for i, want := range [][]string{{"t1", "RUNNING", "n1"}, {"t1", "PENDING", "retry"}} {
			for _, w := range want {
				if !strings.Contains(lines[i], w) {
					t.Errorf("%s: line %d lacks %q: %s", format, i, w, lines[i])
				}
			}
			var tight bytes.Buffer
			if format == "json" && (json.Compact(&tight, []byte(lines[i])) != nil || tight.String() != lines[i]) {
				t.Errorf("line %d is no compact JSON: %s", i, lines[i])
			}
		}
	}
}

func TestInterruptedWatchEndsWell(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	m := (&member{watch: func(ctx context.Context, _ *v1.WatchTasksRequest, _ *connect.ServerStream[v1.WatchTasksResponse]) error {
		interrupt()
		<-ctx.Done()
		return ctx.Err()
	}}).start(t)
	cliWith(ctx, "", "--server", m.url, "task", "watch").expect(t, 0, nil, nil)
}
