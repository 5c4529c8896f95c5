package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func exampleNode(id string) *v1.Node {
	return &v1.Node{
		Id: id, Usage: &v1.NodeUsage{CpuMillis: 250}, Status: v1.NodeStatus_NODE_STATUS_HEALTHY, Schedulable: true, Polling: true, RunningTasks: 1, HeartbeatTime: before(2500 * time.Millisecond),
		Reserved: &v1.Resources{CpuMillis: 1500, MemoryBytes: 1 << 30, Gpus: 1},
		Spec: &v1.NodeSpec{
			Slots: 4, Capacity: &v1.Resources{CpuMillis: 8000, MemoryBytes: 32 << 30, Gpus: 2}, Provider: "aws", Region: "us-east-1",
			GpuDevices: []*v1.GpuDevice{{Index: 0, Model: "H100", MemoryBytes: 80 << 30}}, Labels: map[string]string{"k": "v"},
			Spot: true, PriceMicrosPerHour: 2_490_000, Exec: true, Functions: []string{"resize"},
		},
	}
}

func TestNodeList(t *testing.T) {
	var asked []*v1.ListNodesRequest
	m := (&member{listNodes: func(r *v1.ListNodesRequest) (*v1.ListNodesResponse, error) {
		asked = append(asked, r)
		drained := exampleNode("n2")
		drained.Schedulable, drained.Status = false, v1.NodeStatus_NODE_STATUS_UNHEALTHY
		if r.GetPageToken() == "" {
			return &v1.ListNodesResponse{Nodes: []*v1.Node{exampleNode("n1")}, NextPageToken: "n1"}, nil
		}
		return &v1.ListNodesResponse{Nodes: []*v1.Node{drained}}, nil
	}}).start(t)
	r := m.at(t, "node", "list", "--status", "healthy,unhealthy", "--limit", "0", "--consistency", "stale")
	r.expect(t, 0, []string{"UNHEALTHY,CORDONED"}, nil)
	r.squeezed().expect(t, 0, []string{"\nn1 HEALTHY 1/4 1.5/8 1GiB/32GiB 1/2 aws us-east-1 2s ago\n"}, nil)
	wantAsked := &v1.ListNodesRequest{
		Statuses: []v1.NodeStatus{v1.NodeStatus_NODE_STATUS_HEALTHY, v1.NodeStatus_NODE_STATUS_UNHEALTHY}, PageSize: 1000,
		Consistency: v1.Consistency_CONSISTENCY_STALE,
	}
	if len(asked) != 2 || !proto.Equal(asked[0], wantAsked) || asked[1].GetPageToken() != "n1" {
		t.Errorf("requests = %v", asked)
	}
	m.at(t, "node", "list", "--limit", "1").expect(t, 0, nil, []string{"there are more nodes"})
}

func TestNodeGet(t *testing.T) {
	m := (&member{getNode: func(r *v1.GetNodeRequest) (*v1.GetNodeResponse, error) {
		return &v1.GetNodeResponse{Node: exampleNode(r.GetId())}, nil
	}}).start(t)
	m.at(t, "node", "get", "n7").squeezed().expect(t, 0, []string{
		"Node: n7\n", "Tasks: 1 of 4\n", "Reserved: 1.5 CPU, 1GiB memory, 1 GPU\n", "In use: 0.25 CPU, 0B memory\n", "GPU 0: H100, 80GiB\n",
		"Labels: k=v\n", "Price: 2.49 USD an hour, spot\n", "Runs: commands, resize\n", "(2s ago)",
	}, nil)
	m.at(t, "node", "get", "n7", "-o", "json").expect(t, 0, []string{`"memoryBytes": "34359738368"`, `"spot": true`}, nil)
}

func TestClusterStatus(t *testing.T) {
	m := (&member{cluster: func(*v1.GetClusterRequest) (*v1.GetClusterResponse, error) {
		return &v1.GetClusterResponse{ClusterId: "c1", Term: 3, AppliedIndex: 42, Members: []*v1.Member{
			{Name: "a", Address: "10.0.0.1:8080", Role: v1.MemberRole_MEMBER_ROLE_FOLLOWER, AppliedIndex: 42, Version: "v1"},
			{Name: "b", Address: "10.0.0.2:8080", Role: v1.MemberRole_MEMBER_ROLE_NON_VOTER},
		}}, nil
	}}).start(t)
	r := m.at(t, "cluster", "status")
	r.squeezed().expect(t, 0, []string{
		"Cluster: c1\n", "Leader: none", "Applied index: 42\n", "\na 10.0.0.1:8080 FOLLOWER 42 v1\n", "\nb 10.0.0.2:8080 NON_VOTER no answer -\n",
	}, nil)
	m.at(t, "cluster", "status", "-o", "json").expect(t, 0, []string{`"role": "MEMBER_ROLE_NON_VOTER"`, `"appliedIndex": "42"`}, nil)
}

func TestSQL(t *testing.T) {
	var asked *v1.QueryRequest
	m := (&member{query: func(r *v1.QueryRequest) (*v1.QueryResponse, error) {
		asked = r
		row := &structpb.ListValue{Values: []*structpb.Value{
			structpb.NewStringValue("x\ny" + strings.Repeat("z", 200)), structpb.NewNumberValue(1e9), structpb.NewNumberValue(0.5), structpb.NewNullValue(),
		}}
		return &v1.QueryResponse{Columns: []string{"a", "b", "c", "d"}, Rows: []*structpb.ListValue{row}, AppliedIndex: 7, Truncated: true}, nil
	}}).start(t)
	r := m.at(t, "sql", "--consistency", "stale", "SELECT ?1", "7", "text", "null", "true", `"7"`, "9007199254740993", "1.50", "[1]")
	r.expect(t, 0, []string{"x yzzz", "…  1000000000  0.5  NULL\n"}, []string{"only the first 1 rows are shown"})
	want := &v1.QueryRequest{Sql: "SELECT ?1", Consistency: v1.Consistency_CONSISTENCY_STALE, Params: []*structpb.Value{
		structpb.NewNumberValue(7), structpb.NewStringValue("text"), structpb.NewNullValue(), structpb.NewBoolValue(true), structpb.NewStringValue("7"),
		structpb.NewStringValue("9007199254740993"), structpb.NewNumberValue(1.5), structpb.NewStringValue("[1]"),
	}}
	if !proto.Equal(asked, want) {
		t.Errorf("request = %v\nwant %v", asked, want)
	}
	cliWith(t.Context(), "SELECT 2\n", "--server", m.url, "sql", "-", "-o", "json").expect(t, 0, []string{`"appliedIndex": "7"`, `"truncated": true`, strings.Repeat("z", 200)}, nil)
	if asked.GetSql() != "SELECT 2\n" {
		t.Errorf("sql = %q", asked.GetSql())
	}
}

func TestDistances(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s ago", 59 * time.Second: "59s ago", time.Minute: "1m ago", 90 * time.Minute: "1h ago", 47 * time.Hour: "47h ago", 50 * time.Hour: "2d ago",
		-90 * time.Second: "in 1m",
	} {
		if got := distance(d); got != want {
			t.Errorf("distance(%v) = %s, want %s", d, got, want)
		}
	}
	if got := short("äöü", 3) + " " + short("äöüß", 3); got != "äöü äö…" {
		t.Errorf("short = %s", got)
	}
}
