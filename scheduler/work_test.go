package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/migrations"
)

// workChecker compares tasks that are handed out from memory with what a read gives at the
// same log index.
type workChecker struct {
	t          testing.TB
	fromMemory int
	read       int // those that are to be read anyway
}

// compareGiven looks at the answers to polls, when the group on which they rest is
// committed.
func (w *workChecker) compareGiven(s *Scheduler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.st.answers {
		for _, g := range p.given {
			if g.task == nil {
				w.read++
				continue
			}
			w.fromMemory++
			if problem := s.compareWork(context.Background(), g.task); problem != "" {
				w.t.Error("handed out: " + problem)
			}
		}
	}
}

// keptProblems compares all tasks that are kept.
func (s *Scheduler) keptProblems(ctx context.Context) (problems []string) {
	bytes := 0
	for seq, w := range s.st.works.bySeq {
		bytes += w.bytes
		if problem := s.compareWork(ctx, w.task); problem != "" || seq != w.task.Seq {
			problems = append(problems, "kept: "+problem)
		}
	}
	if bytes != s.st.works.bytes {
		problems = append(problems, fmt.Sprintf("kept are %d bytes, and %d are counted", bytes, s.st.works.bytes))
	}
	return problems
}

func (s *Scheduler) compareWork(ctx context.Context, t *controlplane.Task) (problem string) {
	read, err := s.tasks.TasksForWork(ctx, []int64{t.Seq})
	switch {
	case err != nil:
		return err.Error()
	case len(read) != 1:
		return fmt.Sprintf("task %s is not in the state", t.ID)
	case !reflect.DeepEqual(t, read[0]):
		return fmt.Sprintf("in memory\n%+v\nin the state\n%+v", *t, *read[0])
	}
	return ""
}

func TestWorkIsHandedOutAsItWouldBeRead(t *testing.T) {
	all, err := migrations.All()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("schema=1", func(t *testing.T) { testWorkAsRead(t, all[:1]) })
	t.Run("schema=present", func(t *testing.T) { testWorkAsRead(t, all) })
}

func testWorkAsRead(t *testing.T, known []migrations.Migration) {
	const nodes, tasks = 3, 300
	s := newSession(t)
	w := &workChecker{t: t}
	s.close()
	s.migrations, s.cfg.Dir, s.hooks.answering = known, t.TempDir(), w.compareGiven
	s.open()
	s.lead()
	r := &randomTasks{rand.New(rand.NewPCG(1, 0))}
	node := func(i int) string { return fmt.Sprintf("n%d", i) }
	for i := range nodes {
		gpus := make([]controlplane.GPUDevice, tasks)
		for i := range gpus {
			gpus[i] = controlplane.GPUDevice{Index: int32(i), Model: "H100", MemoryBytes: 80}
		}
		s.register(t, node(i), controlplane.NodeSpec{Slots: tasks, Exec: true, Functions: []string{"f"}, GPUDevices: gpus,
			Capacity: controlplane.Resources{CPUMillis: 1 << 40, MemoryBytes: 1 << 40, DiskBytes: 1 << 40, Custom: map[string]int64{"license": 1 << 40}}})
	}
	for range tasks / 10 {
		var some []*controlplane.Task
		for range 10 {
			some = append(some, r.task())
		}
		if _, err := s.tasks.AddTasks(s.ctx, some); err != nil {
			t.Fatal(err)
		}
		if r.IntN(2) == 0 { // some go to nodes that ask for nothing yet, others to polls that wait
			s.advance(time.Millisecond)
			s.fetchAll(t, node(r.IntN(nodes)))
		}
		s.settle()
		s.s.mu.Lock()
		problems := s.s.keptProblems(s.ctx)
		s.s.mu.Unlock()
		for _, p := range problems {
			t.Error(p)
		}
	}
	for i := range nodes {
		s.fetchAll(t, node(i))
	}
	t.Logf("%d from memory, %d read", w.fromMemory, w.read)
	if w.fromMemory < tasks/2 || w.read > 0 { // some wait for a concurrency key
		t.Errorf("%d tasks came from memory, and %d were read", w.fromMemory, w.read)
	}
}

// fetchAll fetches all that is assigned to a node.
func (r *rig) fetchAll(t testing.TB, node string) {
	t.Helper()
	if _, err := r.s.Poll(r.ctx, controlplane.Poll{NodeID: node, SessionID: node + ".1", MaxTasks: 1000}); err != nil {
		t.Fatal(err)
	}
}

// randomTasks makes tasks in which any field may be set, and any list or map be empty.
type randomTasks struct{ *rand.Rand }

func (r *randomTasks) task() *controlplane.Task {
	t := &controlplane.Task{Name: maybe(r, "näme"), RequestID: maybe(r, fmt.Sprint(r.Uint64())), Queue: maybe(r, "q"), Priority: int32(r.IntN(5) - 2),
		Labels: maybe(r, map[string]string{}), Timeout: maybe(r, 1500*time.Microsecond), MaxAttempts: int32(r.IntN(3)), MaxLostAttempts: int32(r.IntN(3)),
		QueueTimeout: maybe(r, time.Hour), ConcurrencyKey: maybe(r, "k"), MaxConcurrency: maybe(r, int32(1000)),
		Trace:         controlplane.TraceContext{Parent: maybe(r, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), State: maybe(r, "a=b")},
		Retry:         maybe(r, &controlplane.RetryPolicy{Jitter: 0.1, MaxBackoff: time.Minute, ExitCodes: maybe(r, []int32{})}),
		EarliestStart: maybe(r, time.Unix(1, 999_999))}
	if r.IntN(2) == 0 {
		t.Labels = map[string]string{"a": "<&>", "b": ""}
	}
	t.Resources = controlplane.Resources{CPUMillis: int64(r.IntN(3)), MemoryBytes: int64(r.IntN(2)), DiskBytes: int64(r.IntN(2)), GPUs: int32(max(0, r.IntN(6)-3)),
		Custom: maybe(r, map[string]int64{})}
	if r.IntN(3) == 0 {
		t.Resources.Custom = map[string]int64{"license": 2}
	}
	t.Constraints = controlplane.Constraints{Providers: maybe(r, []string{}), Labels: maybe(r, []controlplane.LabelSelector{}), GPUModels: maybe(r, []string{"h100", "a100"})}
	if r.IntN(3) == 0 {
		t.Constraints.Labels = []controlplane.LabelSelector{{Key: "x", Operator: controlplane.LabelDoesNotExist, Values: maybe(r, []string{})}}
	}
	if r.IntN(2) == 0 {
		t.Exec = &controlplane.Exec{Command: []string{"sh", "-c", "echo \u2028<é>"}, Env: maybe(r, map[string]string{}), WorkingDir: maybe(r, "/tmp")}
	} else {
		t.Function = &controlplane.Function{Name: "f", Payload: maybe(r, []byte{})}
		if r.IntN(2) == 0 {
			t.Function.Payload = []byte{0, 255}
		}
	}
	return t
}

// maybe is v, or nothing.
func maybe[T any](r *randomTasks, v T) (out T) {
	if r.IntN(2) == 0 {
		return v
	}
	return out
}
