package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Size is what tasks take up.
type Size struct {
	Tasks int `json:"tasks"`
	// MemoryMiB is the most that a member holds in memory, with so many tasks waiting; of the
	// files of the database that the kernel keeps for it, too, which is part of it.
	MemoryMiB float64 `json:"memory_mib"`
	// DiskBytesPerTask is what each member's database has grown by for each task.
	DiskBytesPerTask float64 `json:"disk_bytes_per_task"`
}

// diskShare is the part of Tasks, one in so many, that the phase disk runs.
const diskShare = 10

// memory fills the members with tasks that wait, and looks at what they hold.
func (r *run) memory(ctx context.Context) (Result, error) {
	return r.size(ctx, "memory", r.Tasks, func(string) error { return nil })
}

// disk has tasks run, and looks at what they leave.
func (r *run) disk(ctx context.Context) (Result, error) {
	n := max(1, r.Tasks/diskShare)
	var done atomic.Int64
	return r.size(ctx, "disk", n, func(queue string) error {
		stop, err := r.Target.Work(ctx, queue, r.Slots, func([]byte) { done.Add(1) })
		if err != nil {
			return err
		}
		for err == nil && done.Load() < int64(n) {
			err = sleepUntil(ctx, time.Now().Add(20*time.Millisecond))
		}
		if err == nil {
			err = r.awaitRecorded(ctx, queue, int64(n))
		}
		return firstError(err, stop())
	})
}

// size submits n tasks, lets then do something with them, and measures.
func (r *run) size(ctx context.Context, phase string, n int, then func(queue string) error) (Result, error) {
	if len(r.PIDs) == 0 {
		return Result{}, errors.New("it looks at the members' processes and files: leave out --server")
	}
	before, err := r.stored(ctx)
	if err != nil {
		return Result{}, err
	}
	m := newMeter(r.ServerCPU)
	m.begin()
	queue := r.queue + "-" + phase
	err = inParallel(batchCallers, (n+batchTasks-1)/batchTasks, func(i int) error {
		begun, size := time.Now(), min(batchTasks, n-i*batchTasks)
		err := r.Target.SubmitBatch(ctx, queue, slices.Repeat([][]byte{r.payload}, size))
		m.record(time.Since(begun), int64(size))
		return err
	})
	if err == nil {
		err = then(queue)
	}
	m.end()
	if err != nil {
		return Result{}, err
	}
	held := memory(r.PIDs)
	after, err := r.stored(ctx)
	if err != nil {
		return Result{}, err
	}
	res := m.result(phase, batchCallers)
	res.Size = &Size{Tasks: n, MemoryMiB: held, DiskBytesPerTask: float64(after-before) / float64(len(r.PIDs)) / float64(n)}
	return res, nil
}

// stored is the size of all members' databases, with nothing left beside them: what is in
// the file of SQLite's log by then is in them, and that file is written over.
func (r *run) stored(ctx context.Context) (total int64, err error) {
	for _, url := range r.Client.Servers() {
		if err := snapshot(ctx, url); err != nil {
			return 0, fmt.Errorf("snapshot of %s: %w", url, err)
		}
	}
	err = filepath.WalkDir(r.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "state.db" {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a state that another one has replaced
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// snapshot has one member put all it has into its database.
func snapshot(ctx context.Context, url string) error {
	c, err := client.New([]string{url})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Snapshot(ctx, &v1.SnapshotRequest{})
	return err
}
