package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/client"
	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/bench"
	"github.com/raft-control-plane/control-plane/internal/collector"
)

const benchLong = `Measures what a control plane bears, through its public API, in phases:

  fsync     4 KiB appended and synced, over and over: the disk by itself
  submit-1  one caller submits one task after the other
  submit    many callers at once, one task each
  batch     1,000 tasks in each call
  nothing   calls that do nothing, by many callers: against these compare get
  get       linearizable reads of a task by many callers
  cycle     many callers submit, a worker's slots run an empty function; a cycle is
            submitted, run and recorded
  dispatch  from when a submission was due, at a fixed rate, to when its function runs

and, if they are asked for by --phases:

  overload  cycles as before, then twice as many submissions a second as there were
            cycles, come what may: what is done of that, what is refused, and whether
            100 nodes that heartbeat meanwhile keep their leases
  flood     the same with twice as many submissions as can be stored
  memory    resident memory of a member with --tasks tasks waiting
  disk      bytes that a task leaves in the database once it has run: a tenth of
            --tasks
  backlog   cycles from the head of a queue in which a hundredth of --tasks wait all the
            time, and then --tasks: what a cycle costs, and by how much that grows

It starts members of its own in a directory that is removed at the end, and ends them;
with --server it uses those that run, and leaves its tasks there. Server and load share
this machine's processors: compare figures of one run.

--scale simulates a fleet of nodes, each with a session of its own, that heartbeat every
5 s, poll and report, and run nothing; 64 of them share a client. It prints what
they cost while they only heartbeat, and while they also wait for work; then how long all
tasks take, from the first submission until the last is recorded. A task that takes no
time is reported by the call that asks for the next ones. With --task-duration nodes do as
workers do: they report what has ended together, and a poll waits for what their free
slots can take. At the end every task has to be in the state as COMPLETED, and no node may
ever have lost its lease.`

var benchPlacements = map[string]controlplanev1.Placement{
	"spread":   controlplanev1.Placement_PLACEMENT_SPREAD,
	"binpack":  controlplanev1.Placement_PLACEMENT_BINPACK,
	"cheapest": controlplanev1.Placement_PLACEMENT_CHEAPEST,
}

type benchFlags struct {
	members, callers, slots, payload, rate int
	tasks                                  int
	duration                               time.Duration
	phases                                 []string
	dir, scale, placement                  string
	scaleTasks, scaleNodes                 int
	taskDuration                           time.Duration
}

func newBenchCommand(a *app) *cobra.Command {
	f := &benchFlags{}
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure what a control plane bears", Long: benchLong, Args: cobra.NoArgs,
		Example: `  raft-node bench
  raft-node bench --members 3 --duration 10s
  raft-node bench --server 10.0.0.1:8080,10.0.0.2:8080 --phases submit,cycle -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.bench(cmd, f) },
	}
	cmd.Flags().IntVar(&f.members, "members", 1, "members to start, 1 to 9, odd numbers make sense; not with --server")
	cmd.Flags().IntVar(&f.callers, "callers", 64, "callers at once, 1 to 10,000")
	cmd.Flags().IntVar(&f.slots, "slots", 64, "functions that the worker runs at once, 1 to 10,000")
	cmd.Flags().IntVar(&f.payload, "payload", 256, "bytes of each task's argument, 2 to 1,000,000")
	cmd.Flags().IntVar(&f.rate, "rate", 100, "submissions a second of the phase dispatch, 1 to 100,000")
	cmd.Flags().IntVar(&f.tasks, "tasks", 1_000_000, "tasks of the phases memory, disk and backlog, 1,000 to 100,000,000")
	cmd.Flags().DurationVar(&f.duration, "duration", 5*time.Second, "of each phase, 1s to 1h")
	cmd.Flags().StringSliceVar(&f.phases, "phases", bench.Phases(), "those to run, in order; also overload, flood, memory, disk, backlog")
	cmd.Flags().StringVar(&f.scale, "scale", "", "instead of the phases, run TASKSxNODES, such as 2000000x6100, on nodes that only pretend to run them")
	cmd.Flags().StringVar(&f.placement, "placement", "spread", "with --scale: spread, binpack or cheapest, as queues have it")
	cmd.Flags().DurationVar(&f.taskDuration, "task-duration", 0, "with --scale: how long each task pretends to run, up to 1h")
	cmd.Flags().StringVar(&f.dir, "dir", "", "where members that it starts keep their state; a temporary directory by default, whose disk should be the one that is meant")
	return limitFormats(cmd, nameless)
}

func (f *benchFlags) check() error {
	var all []error
	within := func(flag string, n, low, high int) {
		if n < low || n > high {
			all = append(all, fmt.Errorf("--%s %d: give %d to %d", flag, n, low, high))
		}
	}
	within("members", f.members, 1, 9)
	within("callers", f.callers, 1, 10_000)
	within("slots", f.slots, 1, 10_000)
	within("payload", f.payload, 2, 1_000_000)
	within("rate", f.rate, 1, 100_000)
	within("tasks", f.tasks, 1000, 100_000_000)
	if f.duration < time.Second || f.duration > time.Hour {
		all = append(all, fmt.Errorf("--duration %s: give 1s to 1h", f.duration))
	}
	if f.scale != "" {
		if n, err := fmt.Sscanf(f.scale, "%dx%d", &f.scaleTasks, &f.scaleNodes); n != 2 || err != nil || f.scale != fmt.Sprintf("%dx%d", f.scaleTasks, f.scaleNodes) ||
			f.scaleTasks < 1 || f.scaleTasks > 100_000_000 || f.scaleNodes < 1 || f.scaleNodes > 100_000 {
			all = append(all, fmt.Errorf("--scale %s: give 1 to 100,000,000 tasks, x, and 1 to 100,000 nodes, such as 2000000x6100", f.scale))
		}
	}
	if _, ok := benchPlacements[f.placement]; !ok {
		all = append(all, fmt.Errorf("--placement %s: give spread, binpack or cheapest", f.placement))
	}
	if f.taskDuration < 0 || f.taskDuration > time.Hour {
		all = append(all, fmt.Errorf("--task-duration %s: give 0 to 1h", f.taskDuration))
	}
	for _, p := range f.phases {
		if !slices.Contains(bench.AllPhases(), p) {
			all = append(all, fmt.Errorf("--phases %s: give some of %s", p, strings.Join(bench.AllPhases(), ", ")))
		}
	}
	return errors.Join(all...)
}

func (a *app) bench(cmd *cobra.Command, f *benchFlags) error {
	given := cmd.Flags().Changed("server") || a.v.InConfig("server") || os.Getenv("RAFT_NODE_SERVER") != ""
	if given && cmd.Flags().Changed("members") {
		return usageErrorf("--members starts members, --server uses those that run: give one of them")
	}
	if err := f.check(); err != nil {
		return usageErrorf("%w", err)
	}
	dir, err := os.MkdirTemp(f.dir, "raft-node-bench-")
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	defer os.RemoveAll(dir)                                                           //nolint:errcheck // what is left is in a temporary directory
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT) // the members are to be ended
	defer stop()
	cfg := bench.Config{
		Dir: dir, Duration: f.duration, Callers: f.callers, Slots: f.slots, Payload: f.payload, Rate: f.rate, Tasks: f.tasks, Phases: f.phases,
		Progress: func(phase string) { fmt.Fprintln(a.err, "phase", phase) },
	}
	newClient := a.client
	if !given {
		var fleet benchFleet
		defer fleet.stop()
		if err := fleet.start(ctx, dir, f.members); err != nil {
			return err
		}
		cfg.PIDs = fleet.pids()
		newClient = func(opts ...client.Option) (*client.Client, error) { return client.New(fleet.urls, opts...) }
	}
	if cfg.Client, err = newClient(); err != nil {
		return err
	}
	if cfg.Once, err = newClient(client.WithoutRetries()); err != nil {
		return err
	}
	if f.scale != "" {
		return a.benchScale(ctx, bench.ScaleConfig{
			Client: cfg.Client, NewClient: func() (*client.Client, error) { return newClient() },
			Tasks: f.scaleTasks, Nodes: f.scaleNodes, Placement: benchPlacements[f.placement], TaskDuration: f.taskDuration, PIDs: cfg.PIDs,
			Progress: func(text string) { fmt.Fprintln(a.err, text) }})
	}
	collector.CollectLess() // else it is a quarter of the load's own CPU
	results, err := bench.Run(ctx, cfg)
	if printErr := a.printBench(results); err == nil {
		err = printErr
	}
	return err
}

func (a *app) benchScale(ctx context.Context, cfg bench.ScaleConfig) error {
	res, err := bench.RunScale(ctx, cfg)
	if err != nil {
		return err
	}
	return a.printBenchScale(res)
}
