package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

func TestAnyMemberTakesAnyWrite(t *testing.T) {
	members := newCluster(t, 3)
	roles(t, members)
	for i, m := range members {
		id := fmt.Sprintf("t%d", i)
		index := m.submit(id).Header().Get(appliedHeader)
		for _, other := range members { // what a member said is at any member with the index it gave
			req := connect.NewRequest(&v1.GetTaskRequest{Id: id, Consistency: v1.Consistency_CONSISTENCY_STALE})
			req.Header().Set(minIndexHeader, index)
			if _, err := other.taskClient().GetTask(testContext(t), req); err != nil {
				t.Errorf("%s at %s, submitted at %s: %v", id, other.cfg.Name, m.cfg.Name, err)
			}
		}
		if _, err := m.taskClient().CancelTask(testContext(t), connect.NewRequest(&v1.CancelTaskRequest{Id: id})); err != nil {
			t.Errorf("cancel at %s: %v", m.cfg.Name, err)
		}
	}
	_, _, body := members[0].post("TaskService/ListTasks", `{"statuses":["TASK_STATUS_CANCELLED"]}`)
	if tasks, _ := body["tasks"].([]any); len(tasks) != 3 {
		t.Errorf("cancelled: %v", body)
	}
}

func TestErrorsOfTheLeaderComeThrough(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.submit("a")
	other := echo("a")
	other.Priority = 1
	for _, m := range append(followers, leader) {
		_, err := m.taskClient().SubmitTask(testContext(t), connect.NewRequest(&v1.SubmitTaskRequest{Task: other}))
		var ce *connect.Error
		if !errors.As(err, &ce) || ce.Code() != connect.CodeAlreadyExists || len(ce.Details()) != 1 || len(ce.Meta().Values(appliedHeader)) != 1 {
			t.Errorf("%s: %v, details %v, meta %v", m.cfg.Name, err, ce.Details(), ce.Meta())
		}
	}
}

func TestNodesWorkThroughAnyMember(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	one, two := followers[0], followers[1]
	one.register("n1", "s1", 1)
	polled := make(chan *v1.PollTaskResponse, 1)
	go func() {
		res, err := two.poll("n1", "s1", 20*time.Second)
		if err != nil {
			t.Error(err)
		}
		polled <- res
	}()
	one.submit("a")
	if work := <-polled; len(work.GetTasks()) != 1 {
		t.Fatalf("polled: %v", work)
	}
	res, err := two.nodeClient().ReportTaskResults(testContext(t), connect.NewRequest(&v1.ReportTaskResultsRequest{NodeId: "n1", SessionId: "s1",
		Results: []*v1.TaskResult{{TaskId: "a", Attempt: 1, Status: v1.TaskStatus_TASK_STATUS_FAILED, Error: "no"}}}))
	if err != nil || res.Msg.GetOutcomes()[0].GetStatus() != v1.TaskStatus_TASK_STATUS_FAILED {
		t.Errorf("report: %v, %v", res, err)
	}
	if got, err := leader.taskClient().GetTask(testContext(t), connect.NewRequest(&v1.GetTaskRequest{Id: "a"})); err != nil || got.Msg.GetTask().GetError() != "no" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAForwardedCallIsNotForwardedAgain(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	req := connect.NewRequest(&v1.SubmitTaskRequest{Task: echo("a")})
	req.Header().Set(hopHeader, "1")
	_, err := followers[0].taskClient().SubmitTask(testContext(t), req)
	var ce *connect.Error
	if !errors.As(err, &ce) || ce.Code() != connect.CodeUnavailable {
		t.Fatalf("%v", err)
	}
	if reason, hint := reasonOf(ce); reason != reasonNotLeader || hint != leader.cfg.Advertise {
		t.Errorf("reason %s, leader %s, want %s", reason, hint, leader.cfg.Advertise)
	}
}

// mistaken is an engine that takes another member for the leader.
type mistaken struct {
	db.Engine
	leader atomic.Value
}

func (m *mistaken) Leader() (address string, self, ok bool) {
	return m.leader.Load().(string), false, true
}

// TestMembersThatDisagreeOnTheLeader lets two members each take the other for the
// leader: a call goes from one to the other, and never back.
func TestMembersThatDisagreeOnTheLeader(t *testing.T) {
	m := solo(t)
	var engines [2]*mistaken
	var addresses [2]string
	var hops [2]atomic.Int32 // forwarded calls that came to each
	for i := range engines {
		s, err := newServer(m.conf)
		if err != nil {
			t.Fatal(err)
		}
		engines[i] = &mistaken{Engine: m.engine}
		s.engine = engines[i]
		h := s.handler()
		addresses[i] = serveH2(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(hopHeader) != "" {
				hops[i].Add(1)
			}
			h.ServeHTTP(w, r)
		})
	}
	engines[0].leader.Store(addresses[1])
	engines[1].leader.Store(addresses[0])
	one := controlplanev1connect.NewTaskServiceClient(newPeers("", nil).http, "http://"+addresses[0])
	submit := func(id string, wait time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		_, err := one.SubmitTask(ctx, connect.NewRequest(&v1.SubmitTaskRequest{Task: echo(id)}))
		return err
	}
	if err := submit("a", time.Second); err == nil {
		t.Error("it was stored by members of which none leads")
	}
	if hops[0].Load() != 0 || hops[1].Load() == 0 {
		t.Errorf("forwarded to the first %d times, to the second %d times", hops[0].Load(), hops[1].Load())
	}
	if _, err := m.tasks.GetTask(testContext(t), "a"); controlplane.CodeOf(err) != controlplane.CodeNotFound {
		t.Errorf("afterwards: %v", err)
	}
	engines[0].leader.Store(m.cfg.Advertise) // it has learned who leads
	if err := submit("b", testTimeout); err != nil {
		t.Errorf("to the leader: %v", err)
	}
}

func TestWritesGoOnWithoutTheLeader(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	for _, m := range followers {
		m.submit("before-" + m.cfg.Name) // connections to the old leader are kept
	}
	leader.close()
	for _, m := range followers {
		m.submit("after-" + m.cfg.Name) // at once: it waits for the next leader
	}
}

func TestWithoutAMajorityCallsSaySo(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.submit("a")
	last := followers[0]
	if err := last.engine.AwaitApplied(testContext(t), leader.engine.AppliedIndex()); err != nil {
		t.Fatal(err)
	}
	leader.close()
	followers[1].close()
	begun := time.Now()
	_, err := last.taskClient().SubmitTask(context.Background(), connect.NewRequest(&v1.SubmitTaskRequest{Task: echo("b")}))
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("write: %v", err)
	}
	if took := time.Since(begun); took < defaultWait || took > 3*defaultWait {
		t.Errorf("it waited for %s", took)
	}
	if _, err := last.taskClient().GetTask(context.Background(), connect.NewRequest(&v1.GetTaskRequest{Id: "a"})); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("linearizable read: %v", err)
	}
	if _, err := last.taskClient().GetTask(testContext(t), connect.NewRequest(&v1.GetTaskRequest{Id: "a", Consistency: v1.Consistency_CONSISTENCY_STALE})); err != nil {
		t.Errorf("stale read: %v", err)
	}
	if res, err := last.clusterOf(); err != nil || len(res.GetMembers()) != 3 || res.GetVersion() != "test" {
		t.Errorf("cluster: %v, %v", res, err)
	}
	if code, _, body := last.get("/readyz"); code != 503 {
		t.Errorf("readyz: %d %v", code, body)
	}
}

func TestAPollEndsWithItsLeader(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	m := followers[0]
	m.register("n1", "s1", 1)
	ended := make(chan error, 1)
	go func() {
		res, err := m.poll("n1", "s1", 25*time.Second)
		if err == nil && len(res.GetTasks()) > 0 {
			err = fmt.Errorf("got %v", res)
		}
		ended <- err
	}()
	<-leader.polls
	begun := time.Now()
	leader.close()
	if err := <-ended; err != nil && connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the poll ended with %v", err)
	}
	if took := time.Since(begun); took > 20*time.Second { // it would wait for 25 s
		t.Errorf("the poll went on for %s", took)
	}
	m.submit("a")
	if work, err := m.poll("n1", "s1", 20*time.Second); err != nil || len(work.GetTasks()) != 1 {
		t.Errorf("poll at the next leader: %v, %v", work, err)
	}
}

func (m *member) clusterOf() (*v1.GetClusterResponse, error) {
	res, err := m.service.GetCluster(testContext(m.t), connect.NewRequest(&v1.GetClusterRequest{}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// TestWhatBecameOfAForwardedCall sorts failures into those that changed nothing
// and those whose outcome is unknown.
func TestWhatBecameOfAForwardedCall(t *testing.T) {
	m := solo(t)
	abort := serveH2(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	_ = ln.Close()
	unavailable := serveH2(t, func(w http.ResponseWriter, r *http.Request) {
		_ = m.service.errors.Write(w, r, fromControlplane(controlplane.Errorf(controlplane.CodeUnavailable, "not now")))
	})
	proxy := serveH2(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", http.StatusBadGateway) })
	for _, c := range []struct {
		name, address string
		poll, again   bool
		code          controlplane.Code
	}{
		{"nothing listens", nobody, false, true, ""},
		{"nothing listens for a poll", nobody, true, true, ""},
		{"cut off", abort, false, false, controlplane.CodeUnknownOutcome},
		{"a poll cut off", abort, true, false, controlplane.CodeUnavailable},
		{"unavailable", unavailable, false, true, ""},
		{"something in between", proxy, false, false, controlplane.CodeUnknownOutcome},
	} {
		_, err := m.service.peers.get(c.address).tasks.SubmitTask(testContext(t), connect.NewRequest(&v1.SubmitTaskRequest{Task: echo("a")}))
		if err == nil {
			t.Fatalf("%s: no error", c.name)
		}
		again, told := m.service.sort(testContext(t), err, c.address, c.poll)
		if again != c.again || !again && controlplane.CodeOf(told) != c.code {
			t.Errorf("%s: again %v, told %v", c.name, again, told)
		}
	}
}

func serveH2(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: p}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}

// TestACallWaitsUntilTheLeaderIsReady holds a leader back between its election and
// its first entry.
func TestACallWaitsUntilTheLeaderIsReady(t *testing.T) {
	m := newMember(t, "solo")
	m.hold = make(chan struct{})
	m.start()
	for ctx := testContext(t); ; {
		if err := m.engine.AwaitLeader(ctx); err != nil {
			t.Fatal(err)
		}
		if _, self, _ := m.engine.Leader(); self {
			break
		}
	}
	begun := make(chan struct{}, 1)
	answered := make(chan error, 1)
	go func() {
		_, err := call[v1.PollTaskResponse]{poll: true, here: func(context.Context) (*v1.PollTaskResponse, error) {
			begun <- struct{}{}
			return &v1.PollTaskResponse{}, nil
		}}.do(testContext(t), m.service)
		answered <- err
	}()
	short, cancel := context.WithTimeout(context.Background(), 3*leadCheckInterval)
	defer cancel()
	_, err := call[v1.PollTaskResponse]{here: func(context.Context) (*v1.PollTaskResponse, error) {
		return nil, errors.New("it was run before the leader took writes")
	}}.do(short, m.service)
	if controlplane.CodeOf(err) != controlplane.CodeUnavailable {
		t.Errorf("a call whose time ends before: %v", err)
	}
	select {
	case <-begun:
		t.Error("the call began before the leader took writes")
	default:
	}
	close(m.hold)
	if err := <-answered; err != nil {
		t.Errorf("the call: %v", err)
	}
}

// TestWhatWasRefusedIsTriedAgain runs calls on a leader that refuses the first try
// with nothing changed.
func TestWhatWasRefusedIsTriedAgain(t *testing.T) {
	m := solo(t)
	for _, c := range []struct {
		name  string
		call  call[v1.SubmitTaskResponse]
		tries int
	}{
		{"a write", call[v1.SubmitTaskResponse]{}, 2},
		{"a poll", call[v1.SubmitTaskResponse]{poll: true}, 1},
		{"a forwarded write", call[v1.SubmitTaskResponse]{header: http.Header{hopHeader: {"1"}}}, 1},
	} {
		tries := 0
		c.call.here = func(context.Context) (*v1.SubmitTaskResponse, error) {
			if tries++; tries == 1 {
				return nil, controlplane.Errorf(controlplane.CodeUnavailable, "refused")
			}
			return &v1.SubmitTaskResponse{}, nil
		}
		_, err := c.call.do(testContext(t), m.service)
		if tries != c.tries || (err == nil) != (c.tries > 1) {
			t.Errorf("%s: %d tries, %v", c.name, tries, err)
		}
	}
}
