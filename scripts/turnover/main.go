// Command turnover submits and completes tasks for as long as it takes to turn the
// state over many times, while retention deletes what has ended, and shows that the
// disk that a member takes stays bounded:
//
//	go run ./scripts/turnover --tasks 5000000
//
// It prints one line for each twentieth of the tasks and exits 1 if in the second half
// the database, or all files but for what the log goes up and down by, took more disk
// than in the first by over a quarter, or if a submission beside the
// deletion waited too long.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
)

const (
	batchTasks = 200
	lines      = 20
	// maxWait is how long a single submission may take. It is long because machines are
	// shared; the column submit_max shows what it was.
	maxWait = 30 * time.Second
	// swing is by how much the log (files of 32 MiB) and SQLite's WAL (truncated from
	// 64 MiB on) go up and down.
	swing = 128 << 20
	node  = "node"
)

type options struct {
	tasks, keep   int
	payload, tail int
	dir           string
}

func main() {
	var o options
	flag.IntVar(&o.tasks, "tasks", 200_000, "tasks to turn over")
	flag.IntVar(&o.keep, "keep", 0, "ended tasks that are kept; a twentieth of all if 0")
	flag.IntVar(&o.payload, "payload", 256, "bytes of each task's payload")
	flag.IntVar(&o.tail, "log-tail", 256, "bytes of each task's log tail")
	flag.StringVar(&o.dir, "dir", "", "directory to work in; a temporary one if empty")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "turnover:", err)
		os.Exit(1)
	}
}

func run(o options) (err error) {
	if o.tasks < lines*batchTasks {
		return fmt.Errorf("--tasks %d: give at least %d", o.tasks, lines*batchTasks)
	}
	if o.keep == 0 {
		o.keep = o.tasks / lines
	}
	dir, err := os.MkdirTemp(o.dir, "turnover-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := slog.New(slog.DiscardHandler)
	engine, err := raftdb.Open(raftdb.Config{Dir: dir, Name: "a", Advertise: "127.0.0.1:1", Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	m := db.NewTaskManifest(engine)
	m.SetLogger(log)
	m.SetRetention(db.Retention{Entries: 1000})
	m.SetTaskRetention(db.TaskRetention{}) // this program says when
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- m.Run(ctx) }()
	defer func() { stop(); err = errors.Join(err, <-ran) }()
	if err := m.AwaitWritable(ctx); err != nil {
		return err
	}
	spec := controlplane.NodeSpec{Slots: 1000, Functions: []string{"f"}, Capacity: controlplane.Resources{CPUMillis: 1 << 40, MemoryBytes: 1 << 40}}
	if err := m.RegisterNode(ctx, node, "session", spec); err != nil {
		return err
	}
	return (&turnover{options: o, m: m, dir: dir}).run(ctx)
}

type turnover struct {
	options
	m     *db.TaskManifest
	dir   string
	waits []time.Duration // of single submissions, since the last line
	sizes []int64         // of all files
	state []int64         // of the database
	worst time.Duration
}

func (r *turnover) run(ctx context.Context) error {
	pruned := make(chan error, 1)
	pruning, stop := context.WithCancel(ctx)
	go func() { pruned <- r.prune(pruning) }()
	fmt.Println("  tasks   kept  total_MiB  log_MiB  state_MiB  free_MiB  wal_MiB  tasks/s  submit_p50  submit_max")
	begun := time.Now()
	for done, next := 0, r.tasks/lines; done < r.tasks; {
		if err := r.batch(ctx, done); err != nil {
			stop()
			return errors.Join(err, <-pruned)
		}
		if done += batchTasks; done >= next {
			if err := r.line(ctx, done, float64(r.tasks/lines)/time.Since(begun).Seconds()); err != nil {
				stop()
				return errors.Join(err, <-pruned)
			}
			begun, next = time.Now(), next+r.tasks/lines
		}
	}
	stop()
	if err := <-pruned; err != nil {
		return err
	}
	return r.judge()
}

// prune deletes what is too much, beside the load.
func (r *turnover) prune(ctx context.Context) error {
	for ctx.Err() == nil {
		_, err := r.m.PruneTasks(ctx, db.TaskRetention{Tasks: int64(r.keep)})
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// batch submits tasks, one of them by itself, and completes them.
func (r *turnover) batch(ctx context.Context, from int) error {
	tasks := make([]*controlplane.Task, batchTasks)
	for i := range tasks {
		tasks[i] = &controlplane.Task{ID: fmt.Sprintf("task-%09d", from+i), Function: &controlplane.Function{Name: "f", Payload: make([]byte, r.payload)}}
	}
	begun := time.Now()
	first, err := r.m.AddTask(ctx, tasks[0])
	if err != nil {
		return err
	}
	r.waits = append(r.waits, time.Since(begun))
	added, err := r.m.AddTasks(ctx, tasks[1:])
	if err != nil {
		return err
	}
	stored := []*controlplane.Task{first}
	for _, a := range added {
		if a.Err != nil {
			return a.Err
		}
		stored = append(stored, a.Task)
	}
	return r.complete(ctx, stored)
}

func (r *turnover) complete(ctx context.Context, tasks []*controlplane.Task) error {
	ended := 0
	result := controlplane.Result{LogTail: strings.Repeat("x", r.tail)}
	err := r.m.Do(ctx, len(tasks)*r.tail, func(g *db.Group) {
		for _, t := range tasks {
			h := db.Held{Seq: t.Seq, TaskID: t.ID, NodeID: node, Attempt: 1}
			g.Add(db.AssignOp(h, "session", controlplane.TaskRunning, g.Now), nil)
			g.Add(db.EndOp(h, controlplane.TaskCompleted, &result, "", g.Now), func(res db.OpResult) { ended += int(res.Changed) })
		}
	})
	if err == nil && ended != len(tasks) {
		err = fmt.Errorf("%d of %d tasks ended", ended, len(tasks))
	}
	return err
}

func (r *turnover) line(ctx context.Context, done int, rate float64) error {
	kept, free, err := r.counts(ctx)
	if err != nil {
		return err
	}
	var total, log, state, wal int64
	err = filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) { // a file of the log that was just dropped
			return nil
		}
		if err != nil {
			return err
		}
		total += info.Size()
		switch {
		case strings.HasSuffix(path, "state.db"):
			state += info.Size()
		case strings.HasSuffix(path, "state.db-wal"):
			wal += info.Size()
		case filepath.Base(filepath.Dir(path)) == "log":
			log += info.Size()
		}
		return nil
	})
	slices.Sort(r.waits)
	p50, worst := r.waits[len(r.waits)/2], r.waits[len(r.waits)-1]
	fmt.Printf("%7d %6d %10.1f %8.1f %10.1f %9.1f %8.1f %8.0f %11s %11s\n", done, kept, mib(total), mib(log), mib(state), mib(free), mib(wal), rate,
		p50.Round(10*time.Microsecond), worst.Round(10*time.Microsecond))
	r.sizes, r.state, r.waits, r.worst = append(r.sizes, total), append(r.state, state), r.waits[:0], max(r.worst, worst)
	return err
}

// counts returns the tasks that are kept, and the bytes of the database that are free
// to be used again.
func (r *turnover) counts(ctx context.Context) (tasks, free int64, err error) {
	_, err = r.m.Engine().Read(ctx, db.ReadOptions{Level: db.Stale}, func(c db.Conn) error {
		rows, err := c.Query("SELECT (SELECT count(*) FROM tasks), freelist_count * page_size FROM pragma_freelist_count, pragma_page_size")
		if err != nil {
			return err
		}
		if rows.Next() {
			tasks, free = rows.Int(0), rows.Int(1)
		}
		return rows.Close()
	})
	return tasks, free, err
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func (r *turnover) judge() error {
	half := len(r.sizes) / 2
	first, second := slices.Max(r.sizes[:half]), slices.Max(r.sizes[half:])
	fmt.Printf("most disk in the first half %.1f MiB, in the second %.1f MiB; slowest submission %s\n", mib(first), mib(second), r.worst.Round(time.Millisecond))
	before, after := slices.Max(r.state[:half]), slices.Max(r.state[half:])
	if second > first+first/4+swing || after > before+before/4+4<<20 {
		return errors.New("the disk that the state takes grows although what is kept does not")
	}
	if r.worst > maxWait {
		return fmt.Errorf("a submission took %s: deletion holds up writes", r.worst)
	}
	return nil
}
