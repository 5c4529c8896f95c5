package scheduler

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// BenchmarkCycle measures whole cycles (submit, run, recorded) on one member, in
// process and with every entry synced: as many submitters, each with one task
// under way, as workers, each of which reports and polls in one call.
func BenchmarkCycle(b *testing.B) {
	for _, clients := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { benchmarkCycle(b, clients) })
	}
}

func benchmarkCycle(b *testing.B, clients int) {
	r := newRig(b)
	r.opts = Options{}
	r.start()
	for i := range clients {
		r.register(b, fmt.Sprintf("n%d", i), controlplane.NodeSpec{Slots: 1, Functions: []string{"f"}})
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	var workers, submitters sync.WaitGroup
	for i := range clients {
		workers.Go(func() { r.work(b, fmt.Sprintf("n%d", i), done) })
	}
	payload := make([]byte, 256)
	b.ResetTimer()
	start, used := time.Now(), cpu(b)
	for range clients {
		submitters.Go(func() {
			for left.Add(-1) >= 0 {
				_, err := r.tasks.AddTask(r.ctx, &controlplane.Task{Function: &controlplane.Function{Name: "f", Payload: payload}})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	submitters.Wait()
	r.awaitNone(b)
	elapsed := time.Since(start)
	used = cpu(b) - used
	b.StopTimer()
	close(done)
	workers.Wait()
	b.ReportMetric(float64(b.N)/elapsed.Seconds(), "cycles/s")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/cycle")
}

// cpu is the time that the processors have spent on this process: unlike the clock it
// says something also when others use the machine.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (r *rig) register(t testing.TB, id string, spec controlplane.NodeSpec) {
	t.Helper()
	if _, err := r.s.Heartbeat(r.ctx, controlplane.Heartbeat{NodeID: id, SessionID: id + ".1", Spec: &spec}); err != nil {
		t.Fatal(err)
	}
}

// work runs tasks, which take no time, until done is closed.
func (r *rig) work(t testing.TB, id string, done chan struct{}) {
	var results []controlplane.Result
	for {
		select {
		case <-done:
			return
		default:
		}
		req := controlplane.Poll{NodeID: id, SessionID: id + ".1", MaxTasks: 1, Wait: 100 * time.Millisecond}
		outcomes, work, err := r.s.ReportAndPoll(r.ctx, req, results)
		if err != nil {
			t.Error(err)
			return
		}
		for _, o := range outcomes {
			if o.Err != nil {
				t.Error(o.Err)
			}
		}
		results = results[:0]
		for _, task := range work.Tasks {
			results = append(results, controlplane.Result{TaskID: task.ID, Attempt: task.Attempt, Status: controlplane.TaskCompleted, Result: []byte("{}")})
		}
	}
}

// awaitNone waits until no task is left to be done.
func (r *rig) awaitNone(t testing.TB) {
	t.Helper()
	for index := r.engine.AppliedIndex(); ; index++ {
		if n := r.rows("SELECT count(*) FROM tasks WHERE status IN ('PENDING', 'ASSIGNED', 'RUNNING')"); n[0] == "0" {
			return
		}
		if err := r.engine.AwaitApplied(r.ctx, index+1); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkPass measures the scheduler's own part of an entry on a fleet that is
// full, with more waiting than fits: a report makes room, and the poll that comes
// with it is given the first of those that wait.
func BenchmarkPass(b *testing.B) {
	for _, size := range []struct{ nodes, classes int }{{100, 1}, {1000, 1}, {1000, 40}} {
		b.Run(fmt.Sprintf("nodes=%d/classes=%d", size.nodes, size.classes), func(b *testing.B) { benchmarkPass(b, size.nodes, size.classes) })
	}
}

func benchmarkPass(b *testing.B, nodes, classes int) {
	r := newRig(b)
	var begun time.Time
	var spent time.Duration
	r.hooks = hooks{
		planned: func(*Scheduler) { begun = time.Now() },
		passed:  func(*Scheduler) { spent += time.Since(begun) },
	}
	r.start()
	for i := range nodes {
		r.register(b, fmt.Sprintf("n%d", i), controlplane.NodeSpec{Slots: 4, Capacity: controlplane.Resources{CPUMillis: 4000}, Exec: true})
	}
	waiting := make([]*controlplane.Task, 0, 1000)
	for i := range 4*nodes + b.N {
		t := execTask("")
		t.Resources.CPUMillis = int64(1 + i%classes)
		if waiting = append(waiting, t); len(waiting) == cap(waiting) || i == 4*nodes+b.N-1 {
			if _, err := r.tasks.AddTasks(r.ctx, waiting); err != nil {
				b.Fatal(err)
			}
			waiting = waiting[:0]
		}
	}
	running := make([][]*controlplane.Task, nodes)
	for i := range nodes {
		running[i] = r.poll(b, i, 4).Tasks
	}
	spent = 0
	b.ResetTimer()
	for k := range b.N {
		i := k % nodes
		done := running[i][0]
		_, work, err := r.s.ReportAndPoll(r.ctx, pollOf(i, 1), []controlplane.Result{{TaskID: done.ID, Attempt: 1, Status: controlplane.TaskCompleted}})
		if err != nil || len(work.Tasks) != 1 {
			b.Fatal(work, err)
		}
		running[i] = append(running[i][1:], work.Tasks...)
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "µs/pass")
}

func pollOf(i, tasks int) controlplane.Poll {
	id := fmt.Sprintf("n%d", i)
	return controlplane.Poll{NodeID: id, SessionID: id + ".1", MaxTasks: tasks}
}

func (r *rig) poll(t testing.TB, i, tasks int) controlplane.Work {
	t.Helper()
	work, err := r.s.Poll(r.ctx, pollOf(i, tasks))
	if err != nil {
		t.Fatal(err)
	}
	return work
}
