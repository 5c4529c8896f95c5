package scheduler

import (
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// maxCycleAllocs is a tenth more than a cycle allocates when it is alone in its two
// entries: one that submits the task, and one that reports it and polls for the next.
// Times tell nothing on a machine that others use; this does. Who makes it less lowers it.
const maxCycleAllocs = 189

func TestAllocationsOfACycle(t *testing.T) {
	r := newRig(t)
	r.opts = Options{}
	r.start()
	r.register(t, "n1", controlplane.NodeSpec{Slots: 1, Functions: []string{"f"}})
	var results []controlplane.Result
	cycle := func() {
		_, err := r.tasks.AddTask(r.ctx, &controlplane.Task{Function: &controlplane.Function{Name: "f", Payload: make([]byte, 256)}})
		if err != nil {
			t.Fatal(err)
		}
		req := controlplane.Poll{NodeID: "n1", SessionID: "n1.1", MaxTasks: 1, Wait: 10 * time.Second}
		_, work, err := r.s.ReportAndPoll(r.ctx, req, results)
		if err != nil || len(work.Tasks) != 1 {
			t.Fatalf("%v, %v", work, err)
		}
		results = []controlplane.Result{{TaskID: work.Tasks[0].ID, Attempt: 1, Status: controlplane.TaskCompleted, Result: []byte("{}")}}
	}
	const cycles = 300
	for range cycles / 3 { // statements are prepared, maps have grown
		cycle()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range cycles {
		cycle()
	}
	runtime.ReadMemStats(&after)
	allocs := (after.Mallocs - before.Mallocs) / cycles
	t.Logf("%d allocations of %d bytes a cycle", allocs, (after.TotalAlloc-before.TotalAlloc)/cycles)
	if allocs > maxCycleAllocs {
		t.Errorf("a cycle allocates %d times, at most %d are allowed: see by go test ./scheduler -bench 'Cycle/clients=1$' -memprofile what came, or raise the limit and say why", allocs, maxCycleAllocs)
	}
}

// maxSubmissionBytes is a tenth more than the engine and the scheduler allocate for each of
// 1,000 tasks that are submitted together.
const maxSubmissionBytes = 1570

func TestAllocationsOfSubmissions(t *testing.T) {
	r := newRig(t)
	r.opts = Options{}
	r.start()
	const tasks = 1000
	task := &controlplane.Task{Function: &controlplane.Function{Name: "f", Payload: make([]byte, 256)}}
	submit := func() {
		outcomes, err := r.tasks.AddTasks(r.ctx, slices.Repeat([]*controlplane.Task{task}, tasks))
		if err != nil || len(outcomes) != tasks || outcomes[tasks-1].Err != nil {
			t.Fatalf("%v, %d outcomes", err, len(outcomes))
		}
	}
	for range 3 { // statements are prepared, memory has grown
		submit()
	}
	bytes, pieces := uint64(math.MaxUint64), 0.0
	for range 30 { // the least: after a collection, and on another processor, memory is made that is used again
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		submit()
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / tasks; n < bytes {
			bytes, pieces = n, float64(after.Mallocs-before.Mallocs)/tasks
		}
	}
	t.Logf("%d bytes in %.1f pieces a task", bytes, pieces)
	if bytes > maxSubmissionBytes {
		t.Errorf("a submission allocates %d bytes, at most %d are allowed: see by go test ./client -bench SubmitAll -memprofile what came, or raise the limit and say why", bytes, maxSubmissionBytes)
	}
}
