package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// An operation on one task, as a client saw it.
type (
	taskInput struct {
		kind    string // submit, read, claim, report, cancel
		task    string
		attempt int
	}
	taskOutput struct {
		outcome string // ok, absent, refused, unknown
		status  string
		attempt int
	}
	// taskState is what clients can rely on. A task that has not ended moves by
	// itself (it is placed, or lost with its node), but its attempt never falls.
	taskState struct {
		exists  bool
		end     string // final status
		attempt int
		atLeast bool // it ended at this attempt or a later one: no answer told which
	}
)

// taskModel is nondeterministic, since what was not answered may have happened.
var taskModel = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byTask := map[string][]porcupine.Operation{}
		for _, op := range history {
			id := op.Input.(taskInput).task
			byTask[id] = append(byTask[id], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byTask {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{taskState{}} },
	Step: func(state, input, output any) []any {
		return step(state.(taskState), input.(taskInput), output.(taskOutput))
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

func step(s taskState, in taskInput, out taskOutput) []any {
	switch out.outcome {
	case "absent":
		if s.exists {
			return nil
		}
		return []any{s}
	case "refused":
		return []any{s}
	case "unknown":
		if next := s.after(in, out); next != nil {
			return append(next, s)
		}
		return []any{s}
	}
	return s.after(in, out)
}

// after is what a state may be after an operation that was done; none if it could
// not be done, or not with this answer.
func (s taskState) after(in taskInput, out taskOutput) []any {
	known := out.outcome == "ok"
	if in.kind == "submit" {
		s.exists = true
		return []any{s}
	}
	if !s.exists {
		return nil
	}
	switch in.kind {
	case "report":
		if s.end != "" { // the same report again
			if s.end == completed && s.attempt == in.attempt {
				return []any{s}
			}
			return nil
		}
		return s.to(completed, in.attempt)
	case "cancel":
		if !known && s.end == "" { // it may have been placed again before, unseen
			return []any{taskState{exists: true, end: cancelled, attempt: s.attempt, atLeast: true}}
		}
		if !known {
			return nil
		}
		if s.end == "" && out.status == cancelled {
			return s.to(cancelled, out.attempt)
		}
	case "claim":
		if s.end != "" {
			return nil
		}
	}
	return s.shown(out)
}

// shown is the state after an answer that only tells it.
func (s taskState) shown(out taskOutput) []any {
	if s.end != "" {
		if out.status == s.end && (out.attempt == s.attempt || s.atLeast && out.attempt > s.attempt) {
			return []any{taskState{exists: true, end: s.end, attempt: out.attempt}}
		}
		return nil
	}
	if final(out.status) {
		return nil
	}
	return s.to("", out.attempt)
}

func (s taskState) to(end string, attempt int) []any {
	if attempt < s.attempt {
		return nil
	}
	return []any{taskState{exists: true, end: end, attempt: attempt}}
}

const cancelled = "TASK_STATUS_CANCELLED"

// history records operations by a clock that all clients share.
type history struct {
	mu    sync.Mutex
	start time.Time
	ops   []porcupine.Operation
	count map[string]int
}

func (h *history) now() int64 { return time.Since(h.start).Nanoseconds() }

func (h *history) add(client int, call int64, in taskInput, out taskOutput) {
	end := h.now()
	if out.outcome == "unknown" {
		end = 1 << 62 // it may take effect at any time
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: end})
	h.count[in.kind+" "+out.outcome]++
}

// outcome of a call: what is certain of it.
func outcome(err error) string {
	switch codeOf(err) {
	case "":
		if err == nil {
			return "ok"
		}
	case "not_found":
		return "absent"
	case "failed_precondition", "unavailable", "resource_exhausted", "already_exists", "invalid_argument":
		return "refused"
	}
	return "unknown"
}

// linear is a cluster with clients that record what they see.
type linear struct {
	*cluster
	h      *history
	tasks  atomic.Int64 // ids given
	parted *parted
	over   chan struct{}
}

func (l *linear) ended() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// operate does one operation on a task of the last few, at any member.
func (l *linear) operate(client int, r *rand.Rand) {
	last := l.tasks.Load()
	id := fmt.Sprintf("lin-%d", last-r.Int64N(min(last+1, 4)))
	member := l.names[r.IntN(len(l.names))]
	var a struct{ Task task }
	in := taskInput{kind: "read", task: id}
	call := l.h.now()
	var err error
	switch n := r.IntN(10); {
	case n < 2:
		in.kind, in.task = "submit", fmt.Sprintf("lin-%d", l.tasks.Add(1))
		err = l.try(member, "TaskService/SubmitTask", m{"task": m{"id": in.task, "exec": m{"command": []string{"true"}}}}, &a)
	case n < 3:
		in.kind = "cancel"
		err = l.try(member, "TaskService/CancelTask", m{"id": id}, &a)
	default:
		err = l.try(member, "TaskService/GetTask", m{"id": id}, &a)
	}
	out := taskOutput{outcome: outcome(err), status: a.Task.Status, attempt: a.Task.Attempt}
	if in.kind == "read" && out.outcome != "ok" && out.outcome != "absent" {
		return // it tells nothing
	}
	l.h.add(client, call, in, out)
}

// work is a node that claims tasks and reports them, sometimes twice.
func (l *linear) work(client int, name string, r *rand.Rand) {
	node := m{"node_id": name, "session_id": "s1"}
	var held []m
	for !l.ended() {
		member := l.names[r.IntN(len(l.names))]
		var a struct{ Tasks []task }
		spec := m{"slots": 8, "exec": true, "capacity": m{"cpu_millis": 64000, "memory_bytes": 1 << 36}}
		_ = l.try(member, "NodeService/Heartbeat", merge(node, m{"spec": spec, "held": held}), &m{})
		call := l.h.now()
		if l.try(member, "NodeService/PollTask", merge(node, m{"max_tasks": 8, "wait": "0.2s", "held": held, "held_complete": true}), &a) != nil {
			continue
		}
		for _, t := range a.Tasks {
			l.h.add(client, call, taskInput{kind: "claim", task: t.ID}, taskOutput{outcome: "ok", status: t.Status, attempt: t.Attempt})
			held = append(held, m{"task_id": t.ID, "attempt": t.Attempt})
		}
		held = slices.DeleteFunc(held, func(h m) bool { return l.report(client, merge(node, h), r) })
	}
}

// report sends one, and tells whether the node is done with the attempt.
func (l *linear) report(client int, of m, r *rand.Rand) bool {
	in := taskInput{kind: "report", task: of["task_id"].(string), attempt: of["attempt"].(int)}
	call := l.h.now()
	err := l.try(l.names[r.IntN(len(l.names))], "NodeService/ReportTaskResult", merge(of, m{"status": completed}), &m{})
	out := taskOutput{outcome: outcome(err)}
	l.h.add(client, call, in, out)
	return out.outcome == "ok" && r.IntN(4) > 0 || codeOf(err) == "failed_precondition" || codeOf(err) == "not_found"
}

func merge(a, b m) m {
	c := maps.Clone(a)
	maps.Copy(c, b)
	return c
}

// disturb kills, stops and parts members, one way after the other.
func (l *linear) disturb(r *rand.Rand) {
	for round := 0; !l.ended(); round++ {
		name := l.names[r.IntN(len(l.names))]
		if r.IntN(2) == 0 {
			name, _ = l.leader()
		}
		p := l.members[name]
		switch round % 3 {
		case 0:
			p.kill()
			l.pause(r, 300)
			l.parted.start(name)
		case 1:
			p.signal(syscall.SIGSTOP)
			l.pause(r, 2500) // often past an election
			p.signal(syscall.SIGCONT)
		case 2:
			l.parted.cut(l.addresses[name])
			l.pause(r, 2500)
			l.parted.heal()
		}
		l.pause(r, 1500)
	}
}

// pause lets the clients go on for a while.
func (l *linear) pause(r *rand.Rand, ms int) {
	select {
	case <-time.After(time.Duration(ms/2+r.IntN(ms)) * time.Millisecond):
	case <-l.over:
	}
}

// TestHistoriesOfTasksAreLinearizable; RAFT_NODE_LINEAR_SECONDS makes it longer.
func TestHistoriesOfTasksAreLinearizable(t *testing.T) {
	seconds, err := strconv.Atoi(cmp.Or(os.Getenv("RAFT_NODE_LINEAR_SECONDS"), "110"))
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c, parted := partable(t)
	c.client.Timeout = 3 * time.Second
	l := &linear{cluster: c, h: &history{start: time.Now(), count: map[string]int{}}, parted: parted, over: make(chan struct{})}
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() {
			for r := rand.New(rand.NewPCG(seed, uint64(i))); !l.ended(); {
				l.operate(i, r)
			}
		})
	}
	for i := range 2 {
		clients.Go(func() { l.work(6+i, fmt.Sprintf("n%d", i), rand.New(rand.NewPCG(seed, uint64(6+i)))) })
	}
	time.AfterFunc(time.Duration(seconds)*time.Second, func() { close(l.over) })
	l.disturb(rand.New(rand.NewPCG(seed, 99)))
	clients.Wait()
	c.ready()
	t.Logf("%d operations on %d tasks: %v", len(l.h.ops), l.tasks.Load(), l.h.count)
	for _, kind := range []string{"submit", "read", "claim", "report", "cancel"} {
		if l.h.count[kind+" ok"] == 0 {
			t.Errorf("no %s was answered", kind)
		}
	}
	if err := checkHistory(l.h.ops); err != nil {
		t.Error(err)
	}
}

// checkHistory checks task by task, to name the one that fails.
func checkHistory(ops []porcupine.Operation) error {
	var errs []error
	for _, part := range taskModel.Partition(ops) {
		switch porcupine.CheckOperationsTimeout(taskModel.ToModel(), part, time.Minute) {
		case porcupine.Ok:
		case porcupine.Unknown:
			errs = append(errs, fmt.Errorf("a history of %d operations was not checked in time", len(part)))
		default:
			errs = append(errs, errors.New("not linearizable:\n"+describe(part)))
		}
	}
	return errors.Join(errs...)
}

func describe(part []porcupine.Operation) string {
	slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var b strings.Builder
	for _, op := range part {
		fmt.Fprintf(&b, "%10.3f ms to %10.3f ms, client %d: %+v -> %+v\n", float64(op.Call)/1e6, float64(op.Return)/1e6, op.ClientId, op.Input, op.Output)
	}
	return b.String()
}

// TestTheCheckerFindsWhatIsNotLinearizable gives it histories that must fail.
func TestTheCheckerFindsWhatIsNotLinearizable(t *testing.T) {
	op := func(call, end int64, in taskInput, out taskOutput) porcupine.Operation {
		in.task = "t"
		return porcupine.Operation{Input: in, Call: call, Output: out, Return: end}
	}
	submit := op(0, 1, taskInput{kind: "submit"}, taskOutput{outcome: "ok"})
	claim := op(2, 3, taskInput{kind: "claim"}, taskOutput{outcome: "ok", status: "TASK_STATUS_RUNNING", attempt: 1})
	report := op(4, 5, taskInput{kind: "report", attempt: 1}, taskOutput{outcome: "ok"})
	for name, last := range map[string]porcupine.Operation{
		"a stored task is absent":      op(6, 7, taskInput{kind: "read"}, taskOutput{outcome: "absent"}),
		"a completed task runs":        op(6, 7, taskInput{kind: "read"}, taskOutput{outcome: "ok", status: "TASK_STATUS_RUNNING", attempt: 1}),
		"it is claimed again":          op(6, 7, taskInput{kind: "claim"}, taskOutput{outcome: "ok", status: "TASK_STATUS_RUNNING", attempt: 2}),
		"another attempt completes it": op(6, 7, taskInput{kind: "report", attempt: 2}, taskOutput{outcome: "ok"}),
		"it is cancelled after all":    op(6, 7, taskInput{kind: "cancel"}, taskOutput{outcome: "ok", status: cancelled, attempt: 1}),
	} {
		if checkHistory([]porcupine.Operation{submit, claim, report, last}) == nil {
			t.Errorf("%s: it passes", name)
		}
	}
	unanswered := op(4, 1<<62, taskInput{kind: "cancel"}, taskOutput{outcome: "unknown"})
	ended := func(at int64, attempt int) porcupine.Operation {
		return op(at, at+1, taskInput{kind: "read"}, taskOutput{outcome: "ok", status: cancelled, attempt: attempt})
	}
	if checkHistory([]porcupine.Operation{submit, claim, unanswered, ended(6, 2), ended(8, 1)}) == nil {
		t.Error("the attempt of a cancelled task changes: it passes")
	}
	fine := op(6, 7, taskInput{kind: "read"}, taskOutput{outcome: "ok", status: completed, attempt: 1})
	for name, history := range map[string][]porcupine.Operation{
		"completed": {submit, claim, report, fine},
		"placed unseen, cancelled without an answer": {submit, unanswered, ended(6, 1), ended(8, 1)},
	} {
		if err := checkHistory(history); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
