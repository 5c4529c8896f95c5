package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// BenchmarkPlacement measures placing 100,000 pending tasks of 40 shapes in four queues
// over 1,000 nodes that have room for all: how many are placed in a second by passes
// alone, and with the entries that they become, applied and synced on one member.
func BenchmarkPlacement(b *testing.B) {
	for _, placement := range controlplane.Placements {
		b.Run(string(placement), func(b *testing.B) {
			for range b.N {
				benchmarkPlacement(b, placement)
			}
		})
	}
}

const (
	benchTasks  = 100_000
	benchNodes  = 1000
	benchShapes = 40
)

func benchmarkPlacement(b *testing.B, placement controlplane.Placement) {
	b.StopTimer()
	r := newRig(b)
	defer r.close()
	var begun time.Time
	var spent time.Duration
	left := make(chan struct{})
	placed := 0
	r.hooks = hooks{
		planned: func(*Scheduler) { begun = time.Now() },
		passed:  func(*Scheduler) { spent += time.Since(begun) },
		committed: func(s *Scheduler, _ *db.Group, _ bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if before := placed; before < benchTasks {
				if placed = len(s.st.held); placed == benchTasks {
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
	for i := range benchNodes {
		capacity := controlplane.Resources{CPUMillis: 400_000, MemoryBytes: 1 << 40}
		r.register(b, fmt.Sprintf("n%d", i), controlplane.NodeSpec{Slots: 2 * benchTasks / benchNodes, Capacity: capacity, PriceMicrosPerHour: int64(i % 7), Exec: true})
	}
	batch := make([]*controlplane.Task, 0, 1000)
	for i := range benchTasks {
		t := execTask("")
		t.Queue, t.Resources = fmt.Sprintf("q%d", i%4), controlplane.Resources{CPUMillis: int64(100 + 10*(i%benchShapes)), MemoryBytes: 1 << 20}
		if batch = append(batch, t); len(batch) == cap(batch) {
			if _, err := r.tasks.AddTasks(r.ctx, batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	spent = 0
	b.StartTimer()
	start := time.Now()
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
	b.ReportMetric(benchTasks/spent.Seconds(), "placed/s-in-passes")
	b.ReportMetric(benchTasks/time.Since(start).Seconds(), "placed/s")
}
