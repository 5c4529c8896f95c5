package service

import (
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func (m *member) getTasks(ids ...string) []*v1.GetTaskOutcome {
	m.t.Helper()
	res, err := m.taskClient().GetTasks(testContext(m.t), connect.NewRequest(&v1.GetTasksRequest{Ids: ids}))
	if err != nil {
		m.t.Fatal(err)
	}
	if len(res.Msg.GetOutcomes()) != len(ids) {
		m.t.Fatalf("%d outcomes of %d ids", len(res.Msg.GetOutcomes()), len(ids))
	}
	return res.Msg.GetOutcomes()
}

// TestTasksAreReadTogether asks the leader and a follower for what was acknowledged a moment
// ago.
func TestTasksAreReadTogether(t *testing.T) {
	leader, followers := roles(t, newCluster(t, 3))
	for _, m := range []*member{leader, followers[0]} {
		a, b := m.cfg.Name+"-a", m.cfg.Name+"-b"
		leader.submit(a)
		leader.submit(b)
		o := m.getTasks(b, a, "nobody", b)
		for i, id := range []string{b, a, "", b} {
			if got := o[i].GetTask(); got.GetId() != id {
				t.Errorf("%s: outcome %d is of %q, want %q", m.cfg.Name, i, got.GetId(), id)
			}
		}
		one, err := m.taskClient().GetTask(testContext(t), connect.NewRequest(&v1.GetTaskRequest{Id: b}))
		if err != nil || !proto.Equal(one.Msg.GetTask(), o[0].GetTask()) || !proto.Equal(o[0], o[3]) {
			t.Errorf("%s: with others it is %v, by itself %v (%v)", m.cfg.Name, o[0], one, err)
		}
		_, err = m.taskClient().GetTask(testContext(t), connect.NewRequest(&v1.GetTaskRequest{Id: "nobody"}))
		text := strings.TrimPrefix(err.Error(), "not_found: id: ")
		if e := o[2].GetError(); e.GetCode() != "not_found" || e.GetMessage() != "ids[2]: "+text {
			t.Errorf("%s: who is not there: %v, by itself %q", m.cfg.Name, e, text)
		}
	}
}

// TestWhatDoesNotFitIsAskedForAgain reads more than an answer has room for.
func TestWhatDoesNotFitIsAskedForAgain(t *testing.T) {
	m := solo(t)
	large := func(id string) {
		task := &v1.Task{Id: id, Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f", Payload: make([]byte, 1<<20)}}}
		if _, err := m.taskClient().SubmitTask(testContext(t), connect.NewRequest(&v1.SubmitTaskRequest{Task: task})); err != nil {
			t.Fatal(err)
		}
	}
	large("a")
	large("b")
	m.submit("small")
	ask := slices.Concat(slices.Repeat([]string{"a", "small", "b", "small"}, 10), []string{"nobody", "small"})
	calls := 0
	for done := 0; done < len(ask); calls++ {
		fit := 0
		for i, o := range m.getTasks(ask[done:]...) {
			switch e := o.GetError(); {
			case e.GetCode() == "resource_exhausted":
				if !strings.Contains(e.GetMessage(), "ask again") || i == 0 {
					t.Fatalf("outcome %d: %v", i, e)
				}
			case i > fit:
				t.Fatalf("outcome %d fits and that before does not", i)
			case o.GetTask().GetId() != ask[done+i] && (ask[done+i] != "nobody" || e.GetCode() != "not_found"):
				t.Fatalf("%s is answered by %v", ask[done+i], e)
			default:
				fit++
			}
		}
		done += fit
	}
	if calls < 10 {
		t.Errorf("%d calls read 20 MiB", calls)
	}
}
