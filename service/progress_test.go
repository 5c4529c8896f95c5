package service

import (
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// beat sends a heartbeat of node n1 that holds the first attempt of a task.
func (m *member) beat(task string, p *v1.Progress) *v1.HeartbeatResponse {
	m.t.Helper()
	res, err := m.nodeClient().Heartbeat(testContext(m.t), connect.NewRequest(&v1.HeartbeatRequest{
		NodeId: "n1", SessionId: "s1", Held: []*v1.HeldAttempt{{TaskId: task, Attempt: 1, Progress: p}}}))
	if err != nil {
		m.t.Fatal(err)
	}
	return res.Msg
}

// nextProgress reads up to the next progress.
func nextProgress(t *testing.T, stream *connect.ServerStreamForClient[v1.WatchTasksResponse]) *v1.TaskProgress {
	t.Helper()
	for stream.Receive() {
		if p := stream.Msg().GetProgress(); p != nil {
			return p
		}
	}
	t.Fatalf("the watch ended: %v", stream.Err())
	return nil
}

func TestProgressIsSeen(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 2)
	task := echo("a")
	task.NoProgressTimeout = durationpb.New(time.Hour)
	stored, err := m.taskClient().SubmitTask(testContext(t), connect.NewRequest(&v1.SubmitTaskRequest{Task: task}))
	if err != nil || stored.Msg.GetTask().GetNoProgressTimeout().AsDuration() != time.Hour {
		t.Fatalf("%v, %v", stored, err)
	}
	if work, err := m.poll("n1", "s1", 10*time.Second); err != nil || len(work.GetTasks()) != 1 {
		t.Fatalf("%v, %v", work, err)
	}
	stream := m.watchTasks(&v1.WatchTasksRequest{TaskIds: []string{"a"}, Progress: true})
	other := m.watchTasks(&v1.WatchTasksRequest{TaskIds: []string{"a"}})
	want := &v1.Progress{Done: 3, Total: 50, Message: "épochs"}
	m.beat("a", want)
	seen := nextProgress(t, stream)
	if seen.GetTaskId() != "a" || seen.GetAttempt() != 1 || !proto.Equal(seen.GetProgress(), want) || seen.GetTime() == nil {
		t.Errorf("watched %v", seen)
	}
	// Two changes in the second in which none is sent: the newest comes after it.
	m.beat("a", &v1.Progress{Done: 4, Total: 50})
	m.beat("a", &v1.Progress{Done: 5, Total: 50})
	for seen.GetProgress().GetDone() < 5 {
		seen = nextProgress(t, stream)
	}
	got, err := m.taskClient().GetTask(testContext(t), connect.NewRequest(&v1.GetTaskRequest{Id: "a"}))
	if err != nil || !proto.Equal(got.Msg.GetTask().GetProgress(), seen.GetProgress()) || !proto.Equal(got.Msg.GetTask().GetProgressTime(), seen.GetTime()) {
		t.Errorf("stored %v, %v", got, err)
	}
	list, err := m.taskClient().ListTasks(testContext(t), connect.NewRequest(&v1.ListTasksRequest{}))
	if err != nil || !proto.Equal(list.Msg.GetTasks()[0].GetProgress(), seen.GetProgress()) || list.Msg.GetTasks()[0].GetNoProgressTimeout() == nil {
		t.Errorf("listed %v, %v", list, err)
	}
	_, err = m.nodeClient().ReportTaskResult(testContext(t), connect.NewRequest(&v1.ReportTaskResultRequest{TaskId: "a", Attempt: 1, NodeId: "n1", SessionId: "s1",
		Status: v1.TaskStatus_TASK_STATUS_COMPLETED, Progress: &v1.Progress{Done: 50, Total: 50}}))
	if err != nil {
		t.Fatal(err)
	}
	if seen = nextProgress(t, stream); seen.GetProgress().GetDone() != 50 {
		t.Errorf("after the end: %v", seen)
	}
	if rows := m.rows("SELECT progress_percent FROM attempts WHERE task_id = 'a'"); rows[0][0] != "100" {
		t.Errorf("in SQL %v", rows)
	}
	for other.Receive() && other.Msg().GetEvent().GetStatus() != v1.TaskStatus_TASK_STATUS_COMPLETED {
		if other.Msg().GetProgress() != nil {
			t.Errorf("progress that was not asked for: %v", other.Msg())
		}
	}
}

func TestProgressOfAllTasksIsNotWatched(t *testing.T) {
	stream, err := solo(t).taskClient().WatchTasks(testContext(t), connect.NewRequest(&v1.WatchTasksRequest{Progress: true}))
	if err == nil {
		stream.Receive()
		err = stream.Err()
	}
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("%v", err)
	}
}
