package dbtest

import (
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var keyTests = map[string]func(*testing.T, *db.TaskManifest){
	"a repeat by id returns the first":  testRepeatByID,
	"a repeat by id of all fields":      testRepeatByIDOfAll,
	"a repeat by key returns the first": testRepeatByKey,
	"another task of the same id":       testOtherByID,
	"a key that belongs to another id":  testOtherByKey,
	"the same string as id and as key":  testIDAsKey,
}

func testRepeatByID(t *testing.T, m *db.TaskManifest) {
	give := func() *controlplane.Task {
		return &controlplane.Task{ID: "repeat", Name: "n", Labels: map[string]string{"b": "2", "a": "1"}, Timeout: 1500 * time.Microsecond,
			Exec: &controlplane.Exec{Command: []string{"a", "<b>"}, Env: map[string]string{"x": "y", "k": "v"}}}
	}
	first := add(t, m, give())
	if again := add(t, m, give()); again.Seq != first.Seq {
		t.Errorf("the repeat has key %d, the first %d", again.Seq, first.Seq)
	}
	register(t, m, "repeat-node", 1)
	assign(t, m, "repeat", "repeat-node")
	if again := add(t, m, give()); again.Status != controlplane.TaskAssigned || again.Attempt != 1 {
		t.Errorf("a late repeat returns %+v, not the task as it is by then", again)
	}
	traced := give()
	traced.Trace = controlplane.TraceContext{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	if again := add(t, m, traced); again.Seq != first.Seq || again.Trace != first.Trace {
		t.Error("another span that submits it makes it another task")
	}
	explicit := give()
	explicit.Queue, explicit.MaxAttempts, explicit.MaxLostAttempts = controlplane.DefaultQueue, 1, 5
	if again := add(t, m, explicit); again.Seq != first.Seq {
		t.Error("defaults that are spelled out make it another task")
	}
}

// testRepeatByIDOfAll repeats a submission in which all is given: clients name the tasks
// that their users do not, and send them again when they got no answer.
func testRepeatByIDOfAll(t *testing.T, m *db.TaskManifest) {
	give := func() *controlplane.Task {
		return &controlplane.Task{ID: "repeat-all", Name: "n", Queue: "repeat", Priority: -3, Labels: map[string]string{"a": "1"},
			Function:  &controlplane.Function{Name: "f", Payload: []byte{0, 255, 'x'}},
			Resources: controlplane.Resources{CPUMillis: 1500, MemoryBytes: 1 << 30, DiskBytes: 1, GPUs: 1, Custom: map[string]int64{"b": 2, "a": 1}},
			Constraints: controlplane.Constraints{Regions: []string{"z", "a"}, PreferredRegions: []string{"z", "a"}, MaxPriceMicrosPerHour: 7,
				Labels: []controlplane.LabelSelector{{Key: "k", Operator: controlplane.LabelIn, Values: []string{"v", "u"}}}},
			Timeout: time.Hour, NoProgressTimeout: time.Minute, MaxAttempts: 4, MaxLostAttempts: 2, QueueTimeout: time.Hour,
			StartDelay: 1500 * time.Millisecond, ConcurrencyKey: "k", MaxConcurrency: 3,
			Retry: &controlplane.RetryPolicy{InitialBackoff: time.Second, MaxBackoff: time.Minute, Multiplier: 1.5, Jitter: 0.1, ExitCodes: []int32{1, 75}}}
	}
	first := add(t, m, give())
	if again := add(t, m, give()); again.Seq != first.Seq {
		t.Errorf("the repeat has key %d, the first %d", again.Seq, first.Seq)
	}
}

func testRepeatByKey(t *testing.T, m *db.TaskManifest) {
	first := execTask("")
	first.RequestID, first.Name = "key", "first"
	stored := add(t, m, first)
	second := execTask("")
	second.RequestID, second.Name = "key", "second"
	if again := add(t, m, second); again.ID != stored.ID || again.Name != "first" {
		t.Errorf("the same key gave %+v after %+v", again, stored)
	}
	named := execTask(stored.ID)
	named.RequestID, named.Name = "key", "first"
	if again := add(t, m, named); again.ID != stored.ID {
		t.Errorf("the same key with its id gave %+v", again)
	}
}

func testOtherByID(t *testing.T, m *db.TaskManifest) {
	taken := execTask("taken")
	taken.Labels = map[string]string{"a": "1"}
	add(t, m, taken)
	change := map[string]func(*controlplane.Task){
		"name":     func(c *controlplane.Task) { c.Name = "x" },
		"queue":    func(c *controlplane.Task) { c.Queue = "x" },
		"priority": func(c *controlplane.Task) { c.Priority = 1 },
		"label":    func(c *controlplane.Task) { c.Labels = map[string]string{"a": "2"} },
		"command":  func(c *controlplane.Task) { c.Exec = &controlplane.Exec{Command: []string{"false"}} },
		"env": func(c *controlplane.Task) {
			c.Exec = &controlplane.Exec{Command: []string{"true"}, Env: map[string]string{"a": ""}}
		},
		"function": func(c *controlplane.Task) { c.Exec, c.Function = nil, &controlplane.Function{Name: "f"} },
		"memory":   func(c *controlplane.Task) { c.Resources.MemoryBytes = 1 },
		"license":  func(c *controlplane.Task) { c.Resources.Custom = map[string]int64{"license": 1} },
		"region":   func(c *controlplane.Task) { c.Constraints.Regions = []string{"eu"} },
		"timeout":  func(c *controlplane.Task) { c.Timeout = time.Second },
		"attempts": func(c *controlplane.Task) { c.MaxAttempts = 2 },
		"key":      func(c *controlplane.Task) { c.RequestID = "x" },
		"losses":   func(c *controlplane.Task) { c.MaxLostAttempts = 2 },
	}
	for what, fn := range change {
		c := *taken
		fn(&c)
		_, err := m.AddTask(await(t), &c)
		wantCode(t, "another "+what, err, controlplane.CodeExists)
		if !strings.HasPrefix(err.Error(), "task.id: ") {
			t.Errorf("the field at fault is not named: %v", err)
		}
	}
}

func testOtherByKey(t *testing.T, m *db.TaskManifest) {
	a := execTask("key-a")
	a.RequestID = "shared-key"
	add(t, m, a)
	b := execTask("key-b")
	b.RequestID = "shared-key"
	_, err := m.AddTask(await(t), b)
	wantCode(t, "a key of another id", err, controlplane.CodeExists)
	if !strings.HasPrefix(err.Error(), "request_id: ") {
		t.Errorf("the field at fault is not named: %v", err)
	}
	_, err = m.GetTask(await(t), "key-b")
	wantCode(t, "the one refused", err, controlplane.CodeNotFound)
	// Two keys, each of another task: which one is at fault does not matter.
	c := execTask("key-a")
	c.RequestID = "another-key"
	_, err = m.AddTask(await(t), c)
	wantCode(t, "an id of another key", err, controlplane.CodeExists)
}

// A key counts once whether or not it is the id as well.
func testIDAsKey(t *testing.T, m *db.TaskManifest) {
	both := execTask("both")
	both.RequestID = "both"
	first := add(t, m, both)
	keyOnly := execTask("")
	keyOnly.RequestID = "both"
	if again := add(t, m, keyOnly); again.ID != first.ID {
		t.Errorf("the key alone made task %s", again.ID)
	}
	if again := add(t, m, both); again.Seq != first.Seq {
		t.Error("both again made another task")
	}
}
