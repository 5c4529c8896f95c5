package dbtest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var nodeTests = map[string]func(*testing.T, *db.TaskManifest){
	"a node comes back whole":              testNodeWhole,
	"a node that is not there":             testNodeMissing,
	"heartbeats":                           testHeartbeat,
	"a new session replaces the former":    testSession,
	"a session that was replaced":          testRetiredSession,
	"devices that stay keep their holder":  testDevices,
	"a lease lapses unless it was renewed": testLapse,
	"lists of nodes":                       testListNodes,
	"the least loaded node":                testLeastLoaded,
	"a renewal is for its session":         testRenew,
	"what has a name is counted":           testCustom,
	"a node that will do":                  testConstraints,
	"a node that is gone is forgotten":     testForgetNodes,
}

func testNodeWhole(t *testing.T, m *db.TaskManifest) {
	spec := controlplane.NodeSpec{
		Slots: 3, Capacity: controlplane.Resources{CPUMillis: 8000, MemoryBytes: 1 << 34, DiskBytes: 1 << 40, GPUs: 2, Custom: map[string]int64{"license": 3}}, Labels: map[string]string{"a": "<1>"},
		GPUDevices: []controlplane.GPUDevice{{Index: 0, Model: "H100 \"80\"", MemoryBytes: 80 << 30}, {Index: 3, Model: "H100", MemoryBytes: 1, UUID: "MIG-1"}},
		Provider:   "aws", Region: "us-east-1", Zone: "us-east-1a", InstanceType: "p5", Version: "v1", Spot: true, PriceMicrosPerHour: 98_320_000,
		Exec: true, Functions: []string{"f", "g"},
	}
	if err := m.RegisterNode(await(t), "whole", "s1", spec); err != nil {
		t.Fatal(err)
	}
	n, err := m.GetNode(await(t), "whole")
	if err != nil || n.Status != controlplane.NodeHealthy || !n.Schedulable || n.SessionID != "s1" || n.Renewal != 1 || n.CreateTime.IsZero() || n.HeartbeatTime != n.CreateTime {
		t.Fatalf("registered: %+v, %v", n, err)
	}
	if !reflect.DeepEqual(n.Spec, spec) {
		t.Errorf("its spec is %+v, want %+v", n.Spec, spec)
	}
	spec = controlplane.NodeSpec{Slots: 1, Functions: []string{"h"}}
	if err := m.RegisterNode(await(t), "whole", "s1", spec); err != nil {
		t.Fatal(err)
	}
	again, err := m.GetNode(await(t), "whole")
	if err != nil || !reflect.DeepEqual(again.Spec, spec) || again.Renewal != 2 || again.CreateTime != n.CreateTime {
		t.Errorf("registered anew: %+v, %v", again, err)
	}
}

func testNodeMissing(t *testing.T, m *db.TaskManifest) {
	_, err := m.GetNode(await(t), "no-such-node")
	wantCode(t, "get", err, controlplane.CodeNotFound)
	wantCode(t, "heartbeat", m.UpdateNodeHeartbeat(await(t), "no-such-node", 1, 1, 1), controlplane.CodeNotFound)
}

func testHeartbeat(t *testing.T, m *db.TaskManifest) {
	register(t, m, "beat", 1)
	wantChanged(t, "expire", do(t, m, func(int64) *db.Op { return db.ExpireOp("beat", 1, 1, 1) }), 1)
	before, _ := m.GetNode(await(t), "beat")
	if err := m.UpdateNodeHeartbeat(await(t), "beat", 1500, 1<<30, 2); err != nil {
		t.Fatal(err)
	}
	n, err := m.GetNode(await(t), "beat")
	if err != nil || n.Usage != (controlplane.NodeUsage{CPUMillis: 1500, MemoryBytes: 1 << 30}) || n.Renewal != 2 ||
		before.Status != controlplane.NodeUnhealthy || n.Status != controlplane.NodeHealthy || n.HeartbeatTime.Before(before.HeartbeatTime) {
		t.Errorf("%+v became %+v, %v", before, n, err)
	}
}

func testSession(t *testing.T, m *db.TaskManifest) {
	spec := controlplane.NodeSpec{Slots: 1, Exec: true}
	for _, session := range []string{"session-1", "session-2"} {
		if err := m.RegisterNode(await(t), "sessions", session, spec); err != nil {
			t.Fatal(err)
		}
	}
	err := read(t, m, func(c db.Conn) error {
		for session, want := range map[string]bool{"session-1": true, "session-2": false} {
			if retired, err := db.SessionRetired(c, session); err != nil || retired != want {
				t.Errorf("%s retired: %v, %v", session, retired, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantChanged(t, "renew the former", do(t, m, func(now int64) *db.Op { return db.RenewOp("sessions", "session-1", nil, 0, now) }), 0)
	wantChanged(t, "renew the present", do(t, m, func(now int64) *db.Op { return db.RenewOp("sessions", "session-2", nil, 0, now) }), 1)
}

func testRetiredSession(t *testing.T, m *db.TaskManifest) {
	device := []controlplane.GPUDevice{{Index: 7, Model: "old"}}
	for _, session := range []string{"old", "new"} {
		if err := m.RegisterNode(await(t), "retired", session, controlplane.NodeSpec{Slots: 2, GPUDevices: device, Capacity: controlplane.Resources{GPUs: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := m.GetNode(await(t), "retired")
	wantCode(t, "the former session", m.RegisterNode(await(t), "retired", "old", controlplane.NodeSpec{Slots: 9}), controlplane.CodePrecondition)
	after, err := m.GetNode(await(t), "retired")
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("a session that was refused changed %+v to %+v, %v", before, after, err)
	}
	if err := m.RegisterNode(await(t), "retired", "new", controlplane.NodeSpec{Slots: 3}); err != nil {
		t.Errorf("the present session was retired by the former: %v", err)
	}
}

func testDevices(t *testing.T, m *db.TaskManifest) {
	devices := func(indexes ...int32) (list []controlplane.GPUDevice) {
		for _, i := range indexes {
			list = append(list, controlplane.GPUDevice{Index: i, Model: "m"})
		}
		return list
	}
	spec := controlplane.NodeSpec{Slots: 4, Exec: true, GPUDevices: devices(0, 1, 2)}
	if err := m.RegisterNode(await(t), "devices", "s1", spec); err != nil {
		t.Fatal(err)
	}
	take := func(device int32, seq int64) db.OpResult {
		return do(t, m, func(int64) *db.Op { return db.TakeDeviceOp("devices", device, seq) })
	}
	wantChanged(t, "take 0", take(0, 71), 1)
	wantChanged(t, "take 1", take(1, 72), 1)
	wantChanged(t, "take 1, which is taken", take(1, 73), 0)
	spec.GPUDevices = devices(1, 2, 3)
	if err := m.RegisterNode(await(t), "devices", "s1", spec); err != nil {
		t.Fatal(err)
	}
	equal(t, "holders", rows(t, m.Engine(), "SELECT device_index, task_seq FROM node_gpus WHERE node_id = 'devices' ORDER BY 1"), "[1|72 2|NULL 3|NULL]")
	wantChanged(t, "take 1 after that", take(1, 73), 0)
}

func testLapse(t *testing.T, m *db.TaskManifest) {
	register(t, m, "lapse", 1)
	if err := m.UpdateNodeHeartbeat(await(t), "lapse", 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	expire := func(renewal int64) db.OpResult {
		return do(t, m, func(int64) *db.Op { return db.ExpireOp("lapse", renewal, 1, 1) })
	}
	wantChanged(t, "by a renewal that is not the last", expire(1), 0)
	wantChanged(t, "by the last renewal", expire(2), 1)
	wantChanged(t, "again", expire(2), 0)
	healthy, err := m.GetHealthyNodes(await(t))
	for _, n := range healthy {
		if n.ID == "lapse" || n.Status != controlplane.NodeHealthy {
			t.Errorf("%s is listed as healthy, status %s", n.ID, n.Status)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func testListNodes(t *testing.T, m *db.TaskManifest) {
	for i := range 5 {
		register(t, m, fmt.Sprintf("list-%d", i), 1)
	}
	wantChanged(t, "expire", do(t, m, func(int64) *db.Op { return db.ExpireOp("list-2", 1, 1, 1) }), 1)
	ids := func(statuses []controlplane.NodeStatus, after string, limit int) (ids []string) {
		nodes, err := m.ListNodes(await(t), statuses, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			ids = append(ids, n.ID)
		}
		return ids
	}
	equal(t, "a page", ids(nil, "list-", 3), "[list-0 list-1 list-2]")
	equal(t, "the next", ids(nil, "list-2", 2), "[list-3 list-4]")
	equal(t, "healthy ones", ids([]controlplane.NodeStatus{controlplane.NodeHealthy}, "list-0", 2), "[list-1 list-3]")
	equal(t, "others", ids([]controlplane.NodeStatus{controlplane.NodeUnhealthy, controlplane.NodeUnknown}, "list-0", 1), "[list-2]")
}

func testLeastLoaded(t *testing.T, m *db.TaskManifest) {
	node := func(id string, slots int32, cpu int64) {
		spec := controlplane.NodeSpec{Slots: slots, Functions: []string{"least"}, Capacity: controlplane.Resources{CPUMillis: cpu, MemoryBytes: 1000}}
		if err := m.RegisterNode(await(t), id, id+"-s", spec); err != nil {
			t.Fatal(err)
		}
	}
	task := func(id string, cpu int64) {
		add(t, m, &controlplane.Task{ID: id, Function: &controlplane.Function{Name: "least"}, Resources: controlplane.Resources{CPUMillis: cpu}})
	}
	pick := func(id, want string) {
		t.Helper()
		got, err := m.SelectLeastLoadedNode(await(t), id)
		if want == "" {
			wantCode(t, "select for "+id, err, controlplane.CodeNotFound)
		} else if err != nil || got != want {
			t.Errorf("select for %s: %s, %v; want %s", id, got, err, want)
		}
	}
	task("least-1", 500)
	pick("least-1", "")
	node("least-b", 10, 1000)
	node("least-a", 10, 1000)
	node("least-c", 10, 500)
	pick("least-1", "least-a") // half of the CPU of a and b, all of that of c: by id
	if err := m.UpdateNodeHeartbeat(await(t), "least-a", 100, 0, 0); err != nil {
		t.Fatal(err)
	}
	pick("least-1", "least-b") // a is measured busier
	assign(t, m, "least-1", "least-b")
	for i := range 5 {
		task(fmt.Sprintf("least-%d", 2+i), 500)
	}
	pick("least-2", "least-a") // the others would be full
	assign(t, m, "least-2", "least-a")
	pick("least-3", "least-b") // all would be full: b and c are measured idle, by id
	assign(t, m, "least-3", "least-b")
	pick("least-4", "least-c")
	assign(t, m, "least-4", "least-c")
	pick("least-5", "least-a")
	assign(t, m, "least-5", "least-a")
	pick("least-6", "")
	node("least-slots", 1, 1<<20)
	pick("least-6", "least-slots") // its only slot would be taken: full, and fits
	assign(t, m, "least-6", "least-slots")
	task("least-7", 1)
	pick("least-7", "")
	add(t, m, execTask("least-exec"))
	if n, err := m.SelectLeastLoadedNode(await(t), "least-exec"); err == nil && len(n) > 6 && n[:6] == "least-" {
		t.Errorf("%s does not run exec tasks", n)
	}
}

func testRenew(t *testing.T, m *db.TaskManifest) {
	register(t, m, "renew", 1)
	usage := &controlplane.NodeUsage{CPUMillis: 5, MemoryBytes: 6}
	renew := func(session string, u *controlplane.NodeUsage) db.OpResult {
		return do(t, m, func(now int64) *db.Op { return db.RenewOp("renew", session, u, 0, now) })
	}
	wantChanged(t, "with usage", renew("renew-session", usage), 1)
	wantChanged(t, "without", renew("renew-session", nil), 1)
	wantChanged(t, "by another session", renew("other", &controlplane.NodeUsage{}), 0)
	n, err := m.GetNode(await(t), "renew")
	if err != nil || n.Usage != *usage || n.Renewal != 3 || time.Since(n.HeartbeatTime) > patience {
		t.Errorf("renewed: %+v, %v", n, err)
	}
}

func testCustom(t *testing.T, m *db.TaskManifest) {
	spec := controlplane.NodeSpec{Slots: 9, Functions: []string{"custom"}, Capacity: controlplane.Resources{DiskBytes: 10, Custom: map[string]int64{"license.x": 2}}}
	if err := m.RegisterNode(await(t), "custom", "s", spec); err != nil {
		t.Fatal(err)
	}
	task := func(id string, r controlplane.Resources) {
		add(t, m, &controlplane.Task{ID: id, Function: &controlplane.Function{Name: "custom"}, Resources: r})
	}
	task("custom-1", controlplane.Resources{DiskBytes: 9, Custom: map[string]int64{"license.x": 1}})
	task("custom-2", controlplane.Resources{Custom: map[string]int64{"license.x": 2}})
	task("custom-3", controlplane.Resources{DiskBytes: 2})
	task("custom-4", controlplane.Resources{Custom: map[string]int64{"another": 1}})
	assign(t, m, "custom-1", "custom")
	for _, id := range []string{"custom-2", "custom-3", "custom-4"} {
		wantCode(t, id, m.AssignTask(await(t), id, "custom"), controlplane.CodePrecondition)
		_, err := m.SelectLeastLoadedNode(await(t), id)
		wantCode(t, "select for "+id, err, controlplane.CodeNotFound)
	}
	n, err := m.GetNode(await(t), "custom")
	if want := (controlplane.Resources{DiskBytes: 9, Custom: map[string]int64{"license.x": 1}}); err != nil || !reflect.DeepEqual(n.Reserved, want) {
		t.Errorf("reserved is %+v, want %+v; %v", n.Reserved, want, err)
	}
}

func testConstraints(t *testing.T, m *db.TaskManifest) {
	spec := func(region string, price int64, labels map[string]string) controlplane.NodeSpec {
		return controlplane.NodeSpec{Slots: 9, Functions: []string{"choosy"}, Region: region, PriceMicrosPerHour: price, Labels: labels}
	}
	for id, s := range map[string]controlplane.NodeSpec{
		"choice-eu": spec("eu", 3, map[string]string{"a<b>\"&.": "x<y>", "gen": "9"}), "choice-us": spec("us", 2, map[string]string{"gen": "10"}), "choice-0": spec("", 0, nil),
	} {
		if err := m.RegisterNode(await(t), id, "s", s); err != nil {
			t.Fatal(err)
		}
	}
	label := func(key string, op controlplane.LabelOperator, values ...string) controlplane.Constraints {
		return controlplane.Constraints{Labels: []controlplane.LabelSelector{{Key: key, Operator: op, Values: values}}}
	}
	for i, c := range []struct {
		want controlplane.Constraints
		node string // "" if none will do
	}{
		{controlplane.Constraints{Regions: []string{"eu"}}, "choice-eu"},
		{controlplane.Constraints{Regions: []string{"asia"}}, ""},
		{controlplane.Constraints{PreferredRegions: []string{"us"}}, "choice-us"},
		{controlplane.Constraints{PreferredRegions: []string{"asia"}}, "choice-0"},
		{controlplane.Constraints{MaxPriceMicrosPerHour: 2}, "choice-us"},
		{controlplane.Constraints{MaxPriceMicrosPerHour: 1}, ""},
		{controlplane.Constraints{NodeID: "choice-us"}, "choice-us"},
		{label("a<b>\"&.", controlplane.LabelIn, "x<y>"), "choice-eu"},
		{label("a<b>\"&.", controlplane.LabelNotIn, "x<y>"), "choice-0"},
		{label("gen", controlplane.LabelGreaterThan, "9"), "choice-us"},
		{label("gen", controlplane.LabelDoesNotExist), "choice-0"},
	} {
		id := fmt.Sprintf("choosy-%d", i)
		add(t, m, &controlplane.Task{ID: id, Function: &controlplane.Function{Name: "choosy"}, Constraints: c.want})
		got, err := m.SelectLeastLoadedNode(await(t), id)
		if got != c.node || (err == nil) != (c.node != "") {
			t.Errorf("%+v: node %q, want %q; %v", c.want, got, c.node, err)
		}
	}
}
