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
	"a repeat by key of all fields":     testRepeatByKeyOfAll,
	"a repeat by id with another key":   testRepeatByIDWithAnotherKey,
	"another task of the same key":      testOtherOfTheSameKey,
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
	give := func() *controlplane.Task { return wholeSubmission("repeat-all") }
	first := add(t, m, give())
	if again := add(t, m, give()); again.Seq != first.Seq {
		t.Errorf("the repeat has key %d, the first %d", again.Seq, first.Seq)
	}
}

// wholeSubmission is a task in which all is given.
func wholeSubmission(id string) *controlplane.Task {
	return &controlplane.Task{ID: id, Name: "n", Queue: "repeat", Priority: -3, Labels: map[string]string{"a": "1"},
		Function:  &controlplane.Function{Name: "f", Payload: []byte{0, 255, 'x'}},
		Resources: controlplane.Resources{CPUMillis: 1500, MemoryBytes: 1 << 30, DiskBytes: 1, GPUs: 1, Custom: map[string]int64{"b": 2, "a": 1}},
		Constraints: controlplane.Constraints{Regions: []string{"z", "a"}, PreferredRegions: []string{"z", "a"}, MaxPriceMicrosPerHour: 7,
			Labels: []controlplane.LabelSelector{{Key: "k", Operator: controlplane.LabelIn, Values: []string{"v", "u"}}}},
		Timeout: time.Hour, NoProgressTimeout: time.Minute, MaxAttempts: 4, MaxLostAttempts: 2, QueueTimeout: time.Hour,
		StartDelay: 1500 * time.Millisecond, ConcurrencyKey: "k", MaxConcurrency: 3,
		Retry: &controlplane.RetryPolicy{InitialBackoff: time.Second, MaxBackoff: time.Minute, Multiplier: 1.5, Jitter: 0.1, ExitCodes: []int32{1, 75}}}
}

func testRepeatByKey(t *testing.T, m *db.TaskManifest) {
	first := execTask("")
	first.RequestID, first.Name = "key", "first"
	stored := add(t, m, first)
	second := execTask("") // another id is made for it
	second.RequestID, second.Name = "key", "first"
	if again := add(t, m, second); again.ID != stored.ID || again.Seq != stored.Seq {
		t.Errorf("the same key gave %+v after %+v", again, stored)
	}
	named := execTask(stored.ID)
	named.RequestID, named.Name = "key", "first"
	if again := add(t, m, named); again.ID != stored.ID {
		t.Errorf("the same key with its id gave %+v", again)
	}
	register(t, m, "key-node", 1)
	assign(t, m, stored.ID, "key-node")
	if err := m.CompleteTask(await(t), stored.ID, []byte("r")); err != nil {
		t.Fatal(err)
	}
	explicit := execTask("")
	explicit.RequestID, explicit.Name, explicit.Queue, explicit.MaxAttempts = "key", "first", controlplane.DefaultQueue, controlplane.DefaultMaxAttempts
	if again := add(t, m, explicit); again.ID != stored.ID || again.Status != controlplane.TaskCompleted {
		t.Errorf("a late repeat with its defaults spelled out gave %+v", again)
	}
}

// A repeat by key is one whatever is given, since the id is made by the server each time.
func testRepeatByKeyOfAll(t *testing.T, m *db.TaskManifest) {
	give := func() *controlplane.Task {
		all := wholeSubmission("")
		all.RequestID = "key-all"
		return all
	}
	first := add(t, m, give())
	if again := add(t, m, give()); again.ID != first.ID {
		t.Errorf("the repeat is task %s, the first %s", again.ID, first.ID)
	}
}

// Who repeats a submission by its id need not know with which key it came first.
func testRepeatByIDWithAnotherKey(t *testing.T, m *db.TaskManifest) {
	first := execTask("repeat-rekeyed")
	first.RequestID = "rekeyed-1"
	stored := add(t, m, first)
	for _, key := range []string{"", "rekeyed-2", "rekeyed-1"} {
		again := execTask("repeat-rekeyed")
		again.RequestID = key
		if got := add(t, m, again); got.Seq != stored.Seq {
			t.Errorf("with the key %q the repeat is another task", key)
		}
	}
	other := execTask("repeat-rekeyed-other")
	other.RequestID = "rekeyed-other"
	add(t, m, other)
	both := execTask("repeat-rekeyed")
	both.RequestID = "rekeyed-other"
	_, err := m.AddTask(await(t), both)
	wantRefused(t, "the id of one task with the key of another", err, "request_id: it belongs to task repeat-rekeyed-other, which has another id")
}

func testOtherByID(t *testing.T, m *db.TaskManifest) {
	taken := execTask("taken")
	taken.Labels = map[string]string{"a": "1"}
	add(t, m, taken)
	for what, change := range otherSubmissions() {
		c := *taken
		change(&c)
		_, err := m.AddTask(await(t), &c)
		wantRefused(t, "another "+what, err, "task.id: task taken exists and is another one, it differs in "+what+":")
	}
}

// A key stands for one submission: what differs from it is not taken for it, and not lost
// without a word.
func testOtherOfTheSameKey(t *testing.T, m *db.TaskManifest) {
	taken := execTask("")
	taken.RequestID, taken.Labels = "taken-key", map[string]string{"a": "1"}
	stored := add(t, m, taken)
	for what, change := range otherSubmissions() {
		c := *taken
		change(&c)
		_, err := m.AddTask(await(t), &c)
		wantRefused(t, "another "+what, err, "request_id: it belongs to task "+stored.ID+", which differs in "+what+":")
	}
	out, err := m.AddTasks(await(t), []*controlplane.Task{taken, {RequestID: "taken-key", Exec: &controlplane.Exec{Command: []string{"false"}}}})
	if err != nil || out[0].Err != nil || out[0].Task.ID != stored.ID {
		t.Fatalf("the repeat beside another one gave %+v, %v", out, err)
	}
	wantCode(t, "another one beside the repeat", out[1].Err, controlplane.CodeExists)
}

func wantRefused(t *testing.T, what string, err error, text string) {
	t.Helper()
	wantCode(t, what, err, controlplane.CodeExists)
	if err != nil && !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %q in it", what, err, text)
	}
}

// otherSubmissions change a task, by what they change.
func otherSubmissions() map[string]func(*controlplane.Task) {
	return map[string]func(*controlplane.Task){
		"name":         func(c *controlplane.Task) { c.Name = "x" },
		"queue":        func(c *controlplane.Task) { c.Queue = "x" },
		"priority":     func(c *controlplane.Task) { c.Priority = 1 },
		"labels":       func(c *controlplane.Task) { c.Labels = map[string]string{"a": "2"} },
		"exec.command": func(c *controlplane.Task) { c.Exec = &controlplane.Exec{Command: []string{"false"}} },
		"exec.env": func(c *controlplane.Task) {
			c.Exec = &controlplane.Exec{Command: []string{"true"}, Env: map[string]string{"a": ""}}
		},
		"its kind of work":  func(c *controlplane.Task) { c.Exec, c.Function = nil, &controlplane.Function{Name: "f"} },
		"resources":         func(c *controlplane.Task) { c.Resources.MemoryBytes = 1 },
		"resources.custom":  func(c *controlplane.Task) { c.Resources.Custom = map[string]int64{"license": 1} },
		"constraints":       func(c *controlplane.Task) { c.Constraints.Regions = []string{"eu"} },
		"timeout":           func(c *controlplane.Task) { c.Timeout = time.Second },
		"max_attempts":      func(c *controlplane.Task) { c.MaxAttempts = 2 },
		"max_lost_attempts": func(c *controlplane.Task) { c.MaxLostAttempts = 2 },
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
