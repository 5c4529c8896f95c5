package main

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func (m *member) CordonNode(_ context.Context, r *connect.Request[v1.CordonNodeRequest]) (*connect.Response[v1.CordonNodeResponse], error) {
	return connect.NewResponse(&v1.CordonNodeResponse{Node: m.nodeChange("cordon", r.Msg.GetId(), nil)}), nil
}

func (m *member) UncordonNode(_ context.Context, r *connect.Request[v1.UncordonNodeRequest]) (*connect.Response[v1.UncordonNodeResponse], error) {
	return connect.NewResponse(&v1.UncordonNodeResponse{Node: m.nodeChange("uncordon", r.Msg.GetId(), nil)}), nil
}

func (m *member) DrainNode(_ context.Context, r *connect.Request[v1.DrainNodeRequest]) (*connect.Response[v1.DrainNodeResponse], error) {
	return connect.NewResponse(&v1.DrainNodeResponse{Node: m.nodeChange("drain", r.Msg.GetId(), r.Msg.GetDeadline())}), nil
}

func (m *member) RemoveNode(_ context.Context, r *connect.Request[v1.RemoveNodeRequest]) (*connect.Response[v1.RemoveNodeResponse], error) {
	return reply(m.removeNode, r)
}

func (m *member) ExplainTask(_ context.Context, r *connect.Request[v1.ExplainTaskRequest]) (*connect.Response[v1.ExplainTaskResponse], error) {
	res, err := m.explain(r.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

func TestNodeScheduling(t *testing.T) {
	var asked []string
	var deadlines []*durationpb.Duration
	left := int32(2)
	drained := func(id string) *v1.Node {
		n := exampleNode(id)
		n.Schedulable, n.RunningTasks = false, left
		n.Drain = &v1.NodeDrain{StartTime: before(time.Minute), Deadline: timestamppb.New(time.Now().Add(time.Hour)), InitialTasks: 2}
		return n
	}
	m := (&member{
		nodeChange: func(change, id string, deadline *durationpb.Duration) *v1.Node {
			asked, deadlines = append(asked, change+" "+id), append(deadlines, deadline)
			switch change {
			case "cordon":
				n := exampleNode(id)
				n.Schedulable = false
				return n
			case "drain":
				return drained(id)
			}
			return exampleNode(id)
		},
		getNode: func(r *v1.GetNodeRequest) (*v1.GetNodeResponse, error) {
			left--
			return &v1.GetNodeResponse{Node: drained(r.GetId())}, nil
		},
	}).start(t)
	m.at(t, "node", "cordon", "n7").squeezed().expect(t, 0, []string{"Status: HEALTHY,CORDONED\n"}, nil)
	m.at(t, "node", "uncordon", "n7").squeezed().expect(t, 0, []string{"Status: HEALTHY\n"}, nil)
	m.at(t, "node", "drain", "n7").squeezed().expect(t, 0, []string{"Status: HEALTHY,DRAINING\n", "2 of 2 tasks left, what runs is stopped at"}, nil)
	m.at(t, "node", "drain", "n7", "--deadline", "0s", "--wait").squeezed().expect(t, 0, []string{"Status: HEALTHY,DRAINED\n"},
		[]string{"n7: 2 of 2 tasks left\n", "n7: 1 of 2 tasks left\n"})
	if want := []string{"cordon n7", "uncordon n7", "drain n7", "drain n7"}; len(asked) != 4 || asked[0] != want[0] || asked[1] != want[1] || asked[3] != want[3] {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	if deadlines[2] != nil || deadlines[3] == nil || deadlines[3].AsDuration() != 0 {
		t.Errorf("deadlines = %v: one that is not given is not sent, and 0s is", deadlines)
	}
}

func TestAnInterruptedDrainGoesOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := (&member{nodeChange: func(_, id string, _ *durationpb.Duration) *v1.Node {
		n := exampleNode(id)
		n.RunningTasks, n.Drain = 2, &v1.NodeDrain{InitialTasks: 2}
		return n
	}, getNode: func(r *v1.GetNodeRequest) (*v1.GetNodeResponse, error) {
		cancel()
		return nil, refusal(connect.CodeUnavailable, "the command is gone")
	}}).start(t)
	cliWith(ctx, "", "--server", m.url, "node", "drain", "n7", "--wait").expect(t, exitInterrupted, nil, []string{
		"n7: 2 of 2 tasks left\n", "no longer waiting. The drain of node n7 goes on: 'raft-node node get n7' shows it, 'raft-node node uncordon n7' takes it back\n"})
}

func TestSchedulingOfNodes(t *testing.T) {
	for want, change := range map[string]func(*v1.Node){
		"":            func(*v1.Node) {},
		"NOT POLLING": func(n *v1.Node) { n.Polling = false },
		"TERMINATING": func(n *v1.Node) { n.TerminatingTime = timestamppb.Now() },
		"HELD BACK":   func(n *v1.Node) { n.ProbationEndTime = timestamppb.Now() },
	} {
		n := exampleNode("n1")
		if change(n); scheduling(n) != want {
			t.Errorf("scheduling = %q, want %q", scheduling(n), want)
		}
	}
	full := exampleNode("n1")
	if full.Polling, full.RunningTasks = false, 4; scheduling(full) != "" {
		t.Errorf("a node without a free slot need not poll, and is shown as %q", scheduling(full))
	}
}

func TestTaskExplain(t *testing.T) {
	m := (&member{explain: func(r *v1.ExplainTaskRequest) (*v1.ExplainTaskResponse, error) {
		if r.GetId() == "done" {
			return &v1.ExplainTaskResponse{Status: v1.TaskStatus_TASK_STATUS_COMPLETED, Summary: "it has ended: COMPLETED"}, nil
		}
		return &v1.ExplainTaskResponse{
			Status: v1.TaskStatus_TASK_STATUS_PENDING, Summary: "none of 5 nodes takes it now", TasksAhead: 3, Nodes: 5,
			Rejections:  []*v1.NodeRejection{{Reason: "memory", Message: "lack memory", Nodes: 4, NodeIds: []string{"a", "b", "c"}}, {Reason: "region", Message: "is in another region", Nodes: 1, NodeIds: []string{"d"}}},
			NearestMiss: &v1.NearestMiss{NodeId: "b", Message: "lacks 2 GiB of memory"},
		}, nil
	}}).start(t)
	m.at(t, "task", "explain", "t1").squeezed().expect(t, 0, []string{
		"Why: none of 5 nodes takes it now\n", "Before it: 3 in its queue\n", "memory: 4 lack memory (a, b, c, …)\n", "region: 1 is in another region (d)\n", "Nearest: b lacks 2 GiB of memory\n",
	}, nil)
	m.at(t, "task", "explain", "done").squeezed().expect(t, 0, []string{"Why: it has ended: COMPLETED\n"}, nil)
	m.at(t, "task", "explain", "t1", "-o", "json").expect(t, 0, []string{`"nearestMiss"`}, nil)
}
