package service

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// watchTasks opens a watch and reads the message that says that it has begun.
func (m *member) watchTasks(req *v1.WatchTasksRequest) *connect.ServerStreamForClient[v1.WatchTasksResponse] {
	m.t.Helper()
	stream, err := m.taskClient().WatchTasks(testContext(m.t), connect.NewRequest(req))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = stream.Close() })
	if !stream.Receive() || stream.Msg().GetEvent() != nil {
		m.t.Fatalf("first message %v, %v", stream.Msg(), stream.Err())
	}
	return stream
}

// next returns the next n changes as "id STATUS".
func next(t *testing.T, stream *connect.ServerStreamForClient[v1.WatchTasksResponse], n int) (changes []string, cursor string) {
	t.Helper()
	for len(changes) < n {
		if !stream.Receive() {
			t.Fatalf("the watch ended after %v: %v", changes, stream.Err())
		}
		cursor = stream.Msg().GetCursor()
		if e := stream.Msg().GetEvent(); e != nil {
			changes = append(changes, e.GetTaskId()+" "+strings.TrimPrefix(e.GetStatus().String(), "TASK_STATUS_"))
			if e.GetTask().GetId() != e.GetTaskId() || e.GetTime() == nil {
				t.Errorf("event %v", e)
			}
		}
	}
	return changes, cursor
}

func TestWatchFromNowOn(t *testing.T) {
	m := solo(t)
	m.submit("before")
	stream := m.watchTasks(&v1.WatchTasksRequest{})
	m.submit("a")
	m.post("TaskService/CancelTask", `{"id":"a"}`)
	if got, _ := next(t, stream, 2); fmt.Sprint(got) != "[a PENDING a CANCELLED]" {
		t.Errorf("changes: %v", got)
	}
}

func TestWatchResumesByItsCursor(t *testing.T) {
	m := solo(t)
	req := &v1.SubmitTasksRequest{}
	for _, id := range []string{"a", "b", "c", "d"} { // one entry: a cursor may point into it
		req.Requests = append(req.Requests, &v1.SubmitTaskRequest{Task: echo(id)})
	}
	if _, err := m.taskClient().SubmitTasks(testContext(t), connect.NewRequest(req)); err != nil {
		t.Fatal(err)
	}
	got, cursor := next(t, m.watchTasks(&v1.WatchTasksRequest{Cursor: "0"}), 2)
	rest, cursor := next(t, m.watchTasks(&v1.WatchTasksRequest{Cursor: cursor}), 2)
	if fmt.Sprint(got, rest) != "[a PENDING b PENDING] [c PENDING d PENDING]" {
		t.Errorf("changes: %v, then %v", got, rest)
	}
	m.submit("e")
	if got, _ := next(t, m.watchTasks(&v1.WatchTasksRequest{Cursor: cursor}), 1); got[0] != "e PENDING" {
		t.Errorf("after the end: %v", got)
	}
}

func TestWatchFilters(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 1)
	byID := m.watchTasks(&v1.WatchTasksRequest{TaskIds: []string{"b", "c"}})
	byQueue := m.watchTasks(&v1.WatchTasksRequest{Queue: "other"})
	byNode := m.watchTasks(&v1.WatchTasksRequest{NodeId: "n1"})
	m.submit("a")
	if work, err := m.poll("n1", "s1", 10*time.Second); err != nil || len(work.GetTasks()) != 1 {
		t.Fatalf("%v, %v", work, err)
	}
	m.submit("b")
	m.post("TaskService/SubmitTask", `{"task":{"id":"c","queue":"other","exec":{"command":["true"]}}}`)
	if got, _ := next(t, byID, 2); fmt.Sprint(got) != "[b PENDING c PENDING]" {
		t.Errorf("by id: %v", got)
	}
	if got, _ := next(t, byQueue, 1); fmt.Sprint(got) != "[c PENDING]" {
		t.Errorf("by queue: %v", got)
	}
	if got, _ := next(t, byNode, 1); !strings.HasPrefix(got[0], "a ") || strings.HasSuffix(got[0], "PENDING") {
		t.Errorf("by node: %v", got)
	}
}

func TestWatchShowsThatItLives(t *testing.T) {
	m := solo(t)
	m.service.watchTimes.heartbeat = 20 * time.Millisecond
	stream := m.watchTasks(&v1.WatchTasksRequest{TaskIds: []string{"nobody"}})
	stored, err := strconv.ParseUint(m.submit("a").Header().Get(appliedHeader), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	var cursor string
	for signs, behind := 0, false; signs < 3 || !behind; signs++ {
		if !stream.Receive() || stream.Msg().GetEvent() != nil {
			t.Fatalf("%v, %v", stream.Msg(), stream.Err())
		}
		cursor = stream.Msg().GetCursor()
		at, _, err := parseCursor(cursor)
		if err != nil {
			t.Fatal(err)
		}
		behind = at.Index > stored
	}
	m.submit("b")
	if got, _ := next(t, m.watchTasks(&v1.WatchTasksRequest{Cursor: cursor}), 1); got[0] != "b PENDING" {
		t.Errorf("resumed at a sign of life: %v", got)
	}
}

func TestWatchRefusesBadCursors(t *testing.T) {
	m := solo(t)
	for _, cursor := range []string{"x", "1-", "-1", "1-x", "99999999999-0", "18446744073709551615-0", "0-0-", "0-0-x", "0-0-00000000-0", "0-00000000"} {
		stream, err := m.taskClient().WatchTasks(testContext(t), connect.NewRequest(&v1.WatchTasksRequest{Cursor: cursor}))
		if err == nil {
			if stream.Receive() {
				t.Errorf("%s: %v", cursor, stream.Msg())
			}
			err = stream.Err()
			_ = stream.Close()
		}
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "cursor: ") {
			t.Errorf("%s: %v", cursor, err)
		}
	}
}

// TestACursorOfAnotherCluster: a cluster that was restored counts on from its backup, so
// that only the id tells a cursor of the one before.
func TestACursorOfAnotherCluster(t *testing.T) {
	m, other := solo(t), solo(t)
	for i := range 3 {
		m.submit(fmt.Sprintf("t%d", i))
		other.submit(fmt.Sprintf("t%d", i))
	}
	_, cursor := next(t, other.watchTasks(&v1.WatchTasksRequest{Cursor: "0"}), 1)
	stream, err := m.taskClient().WatchTasks(testContext(t), connect.NewRequest(&v1.WatchTasksRequest{Cursor: cursor}))
	if err != nil {
		t.Fatal(err)
	}
	if stream.Receive() {
		t.Errorf("%s of another cluster: %v", cursor, stream.Msg())
	}
	_, err = m.eventClient().ListEvents(testContext(t), connect.NewRequest(&v1.ListEventsRequest{Cursor: cursor}))
	for _, err := range []error{err, stream.Err()} {
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "comes from another cluster") {
			t.Errorf("%s of another cluster: %v", cursor, err)
		}
	}
	_, own := next(t, m.watchTasks(&v1.WatchTasksRequest{Cursor: "0"}), 1)
	place, _, _ := strings.Cut(own, "-"+m.engine.ClusterID()[:8])
	for _, cursor := range []string{own, place} {
		if got, _ := next(t, m.watchTasks(&v1.WatchTasksRequest{Cursor: cursor}), 2); fmt.Sprint(got) != "[t1 PENDING t2 PENDING]" {
			t.Errorf("from %s: %v", cursor, got)
		}
	}
}

func TestEveryMemberShowsTheSameChanges(t *testing.T) {
	members := newCluster(t, 3)
	leader, _ := roles(t, members)
	for i := range 5 {
		leader.submit(fmt.Sprintf("t%d", i))
	}
	var want, cursor string
	for _, m := range members {
		got, end := next(t, m.watchTasks(&v1.WatchTasksRequest{Cursor: "0"}), 5)
		if want == "" {
			want, cursor = fmt.Sprint(got), end
		}
		if fmt.Sprint(got) != want || end != cursor {
			t.Errorf("%s shows %v up to %s, the first %s up to %s", m.cfg.Name, got, end, want, cursor)
		}
	}
	late := members[2].watchTasks(&v1.WatchTasksRequest{Cursor: cursor})
	members[0].submit("last")
	if got, _ := next(t, late, 1); got[0] != "last PENDING" {
		t.Errorf("resumed at another member: %v", got)
	}
}
