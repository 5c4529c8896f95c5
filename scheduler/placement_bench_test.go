package scheduler

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// BenchmarkPlacement measures placing pending tasks of 40 shapes in four queues over
// heterogeneous nodes that have room for all: how many are placed in a second by passes
// alone, and with the entries that they become, applied and synced on one member.
func BenchmarkPlacement(b *testing.B) {
	for _, placement := range controlplane.Placements {
		b.Run(string(placement), func(b *testing.B) { benchmarkPlacement(b, placement, 100_000, 1000) })
	}
}

// BenchmarkPlacementScale compares that with ten times as many tasks and nodes:
// what a task costs may double at most. It takes minutes.
func BenchmarkPlacementScale(b *testing.B) {
	for _, nodes := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) { benchmarkPlacement(b, controlplane.PlacementSpread, 100*nodes, nodes) })
	}
}

const benchShapes = 40

// benchNode is one of six kinds of machines, of which two have GPUs.
func benchNode(i int) controlplane.NodeSpec {
	cores := []int64{200, 400, 300, 500, 400, 600}[i%6]
	s := controlplane.NodeSpec{Slots: 300, Capacity: controlplane.Resources{CPUMillis: 1000 * cores, MemoryBytes: cores << 32, DiskBytes: 1 << 42},
		PriceMicrosPerHour: 1000*cores + int64(i%7), Exec: true, Provider: []string{"aws", "gcp"}[i%2], Region: fmt.Sprintf("r%d", i%5)}
	if i%3 == 2 {
		for d := range int32(8) {
			s.GPUDevices = append(s.GPUDevices, controlplane.GPUDevice{Index: d, Model: []string{"A100", "H100"}[i%2], MemoryBytes: 80 << 30})
		}
		s.Capacity.GPUs = 8
	}
	return s
}

// benchTask is one of the shapes, of which one asks for a GPU and four are particular
// about their place.
func benchTask(i int) *controlplane.Task {
	t := execTask("")
	shape := i / 4 % benchShapes
	t.Queue = fmt.Sprintf("q%d", i%4)
	t.Resources = controlplane.Resources{CPUMillis: int64(100 + 10*shape), MemoryBytes: int64(1+shape%8) << 26, DiskBytes: int64(shape%2) << 30}
	switch {
	case shape == 0:
		t.Resources.GPUs = 1
	case shape < 3:
		t.Constraints.Providers = []string{"gcp"}
	case shape < 5:
		t.Constraints.PreferredRegions = []string{"r1"}
	}
	return t
}

// benchRig is a member that leads, with the queues and nodes of a benchmark, of which
// none asks for work yet. Its passes add to spent; left is closed when so many tasks
// are placed.
func benchRig(b *testing.B, placement controlplane.Placement, tasks, nodes int) (r *rig, spent *time.Duration, left chan struct{}) {
	b.Helper()
	r, spent, left = newRig(b), new(time.Duration), make(chan struct{})
	r.ctx = b.Context() // a million tasks take longer than testTimeout
	var begun time.Time
	placed := 0
	r.hooks = hooks{
		planned: func(*Scheduler) { begun = time.Now() },
		passed:  func(*Scheduler) { *spent += time.Since(begun) },
		committed: func(s *Scheduler, _ *db.Group, _ bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if before := placed; before < tasks {
				if placed = len(s.st.held); placed == tasks {
					close(left)
				}
			}
		},
	}
	r.open()
	r.lead()
	for i := range 4 {
		s := controlplane.DefaultQueueSettings()
		s.Weight, s.Placement = int32(i+1), placement
		if _, err := r.tasks.CreateQueue(r.ctx, fmt.Sprintf("q%d", i), s); err != nil {
			b.Fatal(err)
		}
	}
	var group sync.WaitGroup
	for part := range 100 { // they share entries
		group.Go(func() {
			for i := part; i < nodes; i += 100 {
				r.register(b, fmt.Sprintf("n%d", i), benchNode(i))
			}
		})
	}
	group.Wait()
	return r, spent, left
}

func benchmarkPlacement(b *testing.B, placement controlplane.Placement, tasks, nodes int) {
	for range b.N {
		b.StopTimer()
		r, spent, left := benchRig(b, placement, tasks, nodes)
		batch := make([]*controlplane.Task, 0, 1000)
		for i := range tasks {
			if batch = append(batch, benchTask(i)); len(batch) == cap(batch) {
				if _, err := r.tasks.AddTasks(r.ctx, batch); err != nil {
					b.Fatal(err)
				}
				batch = batch[:0]
			}
		}
		*spent = 0
		b.StartTimer()
		start, used := time.Now(), cpu(b)
		r.together(func() { // all nodes ask for work at once
			r.s.mu.Lock()
			defer r.s.mu.Unlock()
			for _, n := range r.s.st.byNum {
				n.polled = r.now()
				r.s.st.touch(n)
			}
		})
		<-left
		b.StopTimer()
		elapsed, used := time.Since(start), cpu(b)-used
		r.close()
		n := float64(tasks)
		b.ReportMetric(n/spent.Seconds(), "placed/s-in-passes")
		b.ReportMetric(n/elapsed.Seconds(), "placed/s")
		b.ReportMetric(float64(used.Microseconds())/n, "cpu-µs/placement")
	}
}
