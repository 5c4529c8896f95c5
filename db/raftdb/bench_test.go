package raftdb

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
)

const (
	// benchBatch is how many tasks a call stores while a state is filled, and
	// benchFillers how many calls go on at once.
	benchBatch   = 1000
	benchFillers = 4
	// benchWriters store one task a call while something is measured.
	benchWriters = 64
	// benchPayload is in each task, in bytes.
	benchPayload = 256
	// benchRestarts and benchSnapshots are how often each is measured.
	benchRestarts  = 5
	benchSnapshots = 5
)

// BenchmarkEngine measures what the size of a state must not make slow: a start, a
// snapshot under writes, and an empty follower that catches up under writes. The sizes
// are in RAFT_NODE_BENCH_TASKS, parted by commas. Run it by make bench/engine.
func BenchmarkEngine(b *testing.B) {
	for size := range strings.SplitSeq(cmp.Or(os.Getenv("RAFT_NODE_BENCH_TASKS"), "10000"), ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			b.Fatalf("RAFT_NODE_BENCH_TASKS: %v", err)
		}
		b.Run(fmt.Sprintf("tasks=%d", n), func(b *testing.B) {
			m := newMember(b, "m1")
			m.cfg.Timing = Timing{SnapshotInterval: time.Hour}
			m.start()
			fill(b, m, n)
			b.Run("restart", func(b *testing.B) { benchRestart(b, m) })
			b.Run("snapshot", func(b *testing.B) { benchSnapshot(b, m) })
			b.Run("follower", func(b *testing.B) { benchFollower(b, m) })
		})
	}
}

// fill stores tasks as SubmitTasks does.
func fill(b *testing.B, m *member, n int) {
	b.Helper()
	if err := m.tasks.AwaitWritable(b.Context()); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	batches := make(chan int)
	var wg sync.WaitGroup
	for range benchFillers {
		wg.Go(func() {
			for size := range batches {
				tasks := make([]*controlplane.Task, size)
				for i := range tasks {
					tasks[i] = benchTask()
				}
				if _, err := m.tasks.AddTasks(context.Background(), tasks); err != nil {
					b.Errorf("fill: %v", err)
				}
			}
		})
	}
	for left := n; left > 0; left -= benchBatch {
		batches <- min(left, benchBatch)
	}
	close(batches)
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	b.Logf("%d tasks stored in %s", n, time.Since(begun).Round(time.Millisecond))
}

// benchTasks counts those that were made: no payload is like another.
var benchTasks atomic.Int64

func benchTask() *controlplane.Task {
	return &controlplane.Task{Function: &controlplane.Function{Name: "f", Payload: noise(strconv.Itoa(int(benchTasks.Add(1))), benchPayload)}}
}

// benchRestart measures from Open until the member, which was closed, takes writes.
// scripts/ready-time.py measures the process, also when it was killed.
func benchRestart(b *testing.B, m *member) {
	var closed []time.Duration
	for b.Loop() {
		for range benchRestarts {
			m.close()
			begun := time.Now()
			if err := m.tryStart(); err != nil {
				b.Fatal(err)
			}
			if err := m.tasks.AwaitWritable(b.Context()); err != nil {
				b.Fatal(err)
			}
			closed = append(closed, time.Since(begun))
		}
	}
	slices.Sort(closed)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(closed[len(closed)/2]), "median-ms")
	b.ReportMetric(ms(closed[len(closed)-1]), "slowest-ms")
}

// latency is one write: when it began and how long it took.
type latency struct {
	begun time.Time
	took  time.Duration
}

// load keeps writers busy until stop is called, which returns what they measured.
func load(b *testing.B, m *member) (stop func() []latency) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	all := make([][]latency, benchWriters)
	var wg sync.WaitGroup
	for i := range benchWriters {
		wg.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				if _, err := m.tasks.AddTask(context.Background(), benchTask()); err != nil {
					b.Errorf("write: %v", err)
					return
				}
				all[i] = append(all[i], latency{begun, time.Since(begun)})
			}
		})
	}
	return func() []latency {
		cancel()
		wg.Wait()
		return slices.Concat(all...)
	}
}

// between is the p99 and the slowest of the writes that were under way between two moments.
func between(all []latency, from, to time.Time) (p99, slowest time.Duration) {
	var took []time.Duration
	for _, l := range all {
		if l.begun.Before(to) && l.begun.Add(l.took).After(from) {
			took = append(took, l.took)
		}
	}
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[len(took)*99/100], took[len(took)-1]
}

// benchSnapshot compares the writes under way during snapshots with those before, each
// time with as much in SQLite's WAL as calls for a snapshot by default, or five seconds'
// worth.
func benchSnapshot(b *testing.B, m *member) {
	var before, during, slowest, took []time.Duration
	for b.Loop() {
		for range benchSnapshots {
			stop := load(b, m)
			quiet := time.Now()
			for time.Since(quiet) < 5*time.Second {
				if wal, _, err := m.engine.sinceSnapshot(); err != nil || time.Since(quiet) > time.Second && wal > m.engine.cfg.Timing.SnapshotWALBytes {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			begun := time.Now()
			if err := m.engine.snapshot(); err != nil {
				b.Fatal(err)
			}
			end := time.Now()
			all := stop()
			was, _ := between(all, quiet.Add(time.Second/2), begun)
			now, most := between(all, begun, end)
			before, during, slowest, took = append(before, was), append(during, now), append(slowest, most), append(took, end.Sub(begun))
		}
	}
	slices.Sort(before)
	slices.Sort(during)
	slices.Sort(slowest)
	slices.Sort(took)
	mid := len(took) / 2
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(took[mid]), "snapshot-ms")
	b.ReportMetric(ms(before[mid]), "p99-before-ms")
	b.ReportMetric(ms(during[mid]), "p99-during-ms")
	b.ReportMetric(ms(slowest[mid]), "slowest-during-ms")
	b.ReportMetric(float64(during[mid])/float64(before[mid]), "during/before")
}

// benchFollower measures from the start of an empty member until it is a voter that has
// applied what the leader had applied by then, while writes go on. The state that it is
// sent, joining included, is set against a plain copy of the file on the same disk.
func benchFollower(b *testing.B, m *member) {
	c := m.engine.raft.ReloadableConfig()
	c.TrailingLogs = 1
	if err := m.engine.raft.ReloadConfig(c); err != nil {
		b.Fatal(err)
	}
	var bytes int64
	var copied, installed, caught time.Duration
	for b.Loop() {
		if err := m.engine.snapshot(); err != nil {
			b.Fatal(err)
		}
		bytes, copied = timeCopy(b, m.engine.fsm.state.gen.database())
		stop := load(b, m)
		late := newMember(b, "m2")
		late.cfg.Timing, late.cfg.Join = m.cfg.Timing, []string{m.cfg.Advertise}
		begun := time.Now()
		late.start()
		for !late.engine.settled() {
			if installed == 0 && late.engine.fsm.installedIndex() > 0 {
				installed = time.Since(begun)
			}
			if late.engine.Err() != nil || time.Since(begun) > 5*time.Minute {
				b.Fatalf("the follower does not catch up: %v", late.engine.Err())
			}
			time.Sleep(time.Millisecond)
		}
		if err := late.engine.AwaitApplied(b.Context(), m.engine.AppliedIndex()); err != nil {
			b.Fatal(err)
		}
		caught = time.Since(begun)
		stop()
		if late.engine.fsm.installedIndex() == 0 {
			b.Fatal("no state was sent: the log sufficed")
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(bytes)/1e6, "MB")
	b.ReportMetric(ms(installed), "received-ms")
	b.ReportMetric(ms(caught), "caught-up-ms")
	b.ReportMetric(float64(bytes)/1e6/installed.Seconds(), "MB/s")
	b.ReportMetric(float64(bytes)/1e6/copied.Seconds(), "copy-MB/s")
	b.ReportMetric(copied.Seconds()/installed.Seconds(), "of-copy")
}

// timeCopy copies a file, synced.
func timeCopy(b *testing.B, path string) (bytes int64, took time.Duration) {
	b.Helper()
	begun := time.Now()
	in, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(filepath.Join(b.TempDir(), "copy"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	if bytes, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	if err != nil {
		b.Fatal(err)
	}
	return bytes, time.Since(begun)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
