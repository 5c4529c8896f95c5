package bench

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
)

// Backlog is what a cycle costs while few tasks wait in its queue, and while many do.
type Backlog struct {
	FewTasks  int `json:"few_tasks"`
	ManyTasks int `json:"many_tasks"`
	// FewCPUMicros and ManyCPUMicros are the CPU time of a cycle, of this process and of the
	// members.
	FewCPUMicros  float64 `json:"few_cpu_us_per_operation"`
	ManyCPUMicros float64 `json:"many_cpu_us_per_operation"`
	// Growth is the second by the first.
	Growth float64 `json:"growth"`
}

// backlogShare is the part of Tasks, one in so many, that are few.
const backlogShare = 100

// backlog has tasks run from the head of a queue in which as many wait all the time, since one
// is submitted for each that is done: first with few, then with many.
func (r *run) backlog(ctx context.Context) (Result, error) {
	if len(r.PIDs) == 0 {
		return Result{}, errors.New("it looks at the members' processes: leave out --server")
	}
	queue := r.queue + "-backlog"
	b := &Backlog{FewTasks: max(1, r.Tasks/backlogShare), ManyTasks: r.Tasks}
	few, err := r.cyclesBehind(ctx, queue, b.FewTasks)
	if err != nil {
		return Result{}, err
	}
	many, err := r.cyclesBehind(ctx, queue, b.ManyTasks-b.FewTasks)
	if err != nil {
		return Result{}, err
	}
	b.FewCPUMicros, b.ManyCPUMicros = few.CPUMicros, many.CPUMicros
	b.Growth = many.CPUMicros / few.CPUMicros
	many.Backlog = b
	return many, nil
}

// cyclesBehind adds tasks to a queue, and then measures cycles.
func (r *run) cyclesBehind(ctx context.Context, queue string, more int) (Result, error) {
	err := inParallel(batchCallers, (more+batchTasks-1)/batchTasks, func(i int) error {
		return r.Target.SubmitBatch(ctx, queue, slices.Repeat([][]byte{r.payload}, min(batchTasks, more-i*batchTasks)))
	})
	if err != nil {
		return Result{}, err
	}
	if _, err := r.stored(ctx); err != nil { // what the filling left to do is done
		return Result{}, err
	}
	submitted, over := make(chan struct{}, 4*r.Slots), make(chan struct{})
	var done atomic.Int64
	stop, err := r.Target.Work(ctx, queue, r.Slots, func([]byte) {
		select {
		case <-submitted:
			done.Add(1)
		case <-over:
		}
	})
	if err != nil {
		return Result{}, err
	}
	res, err := r.closed(ctx, "backlog", r.Callers, 1, func(ctx context.Context) error {
		if err := r.Target.Submit(ctx, queue, r.payload); err != nil {
			return err
		}
		select {
		case submitted <- struct{}{}:
			return nil
		case <-overOf(ctx):
			return errOver
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	close(over)
	if err == nil && done.Load() == 0 {
		err = errors.New("no task was run: try a longer --duration")
	}
	return res, firstError(err, stop())
}
