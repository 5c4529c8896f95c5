package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// ScaleConfig is a fleet and what it has to do, after HashiCorp's C2M (2020): two million
// tasks on 6,100 machines.
type ScaleConfig struct {
	// Client makes all calls.
	Client *client.Client
	// Tasks are run by Nodes, which speak the protocol of workers but run nothing: each
	// heartbeats, polls and reports.
	Tasks, Nodes int
	// PIDs are the members' processes.
	PIDs []int32
	// Progress is told from time to time.
	Progress func(string)
}

// ScaleResult is how long it took, in seconds from the beginning of each step.
type ScaleResult struct {
	Tasks, Nodes int
	// RegisterSeconds is until all nodes had a lease; SubmitSeconds and CompleteSeconds
	// count from the first submission.
	RegisterSeconds, SubmitSeconds, CompleteSeconds float64
	// TasksPerSecond is Tasks by CompleteSeconds.
	TasksPerSecond float64
	// IdleCPU is the share of one core that members and nodes use together while the nodes
	// only heartbeat and wait.
	IdleCPU float64
	// MemoryMiB is the most memory that a member held.
	MemoryMiB float64
}

const (
	scaleQueue     = "bench-scale"
	scaleFunction  = "bench-scale"
	scaleHeartbeat = 5 * time.Second
	scaleWait      = 20 * time.Second
	idleTime       = 10 * time.Second
)

// fleet is simulated nodes at work.
type fleet struct {
	ScaleConfig
	slots     int
	function  string
	completed atomic.Int64
	fault     chan error // the first one
}

// RunScale registers the nodes, lets them idle, submits the tasks, and waits until all are
// completed.
func RunScale(ctx context.Context, cfg ScaleConfig) (res ScaleResult, err error) {
	// Twice what each node has on average: the fleet is not full while tasks are submitted.
	f := &fleet{ScaleConfig: cfg, slots: min(10_000, max(1, 2*cfg.Tasks/cfg.Nodes)), function: scaleFunction, fault: make(chan error, 1)}
	res.Tasks, res.Nodes = cfg.Tasks, cfg.Nodes
	ctx, cancel := context.WithCancel(ctx)
	var nodes sync.WaitGroup
	defer nodes.Wait()
	defer cancel()
	begun := time.Now()
	if err := f.register(ctx); err != nil {
		return res, err
	}
	res.RegisterSeconds = time.Since(begun).Seconds()
	f.say("%d nodes registered in %.1f s", cfg.Nodes, res.RegisterSeconds)
	for i := range cfg.Nodes {
		nodes.Go(func() { f.run(ctx, i) })
	}
	if err := sleepUntil(ctx, time.Now().Add(scaleHeartbeat)); err != nil { // until all polls wait
		return res, err
	}
	used := func() time.Duration { return CPUTime(cfg.PIDs...) + ownCPUTime() }
	cpu := used()
	if err := sleepUntil(ctx, time.Now().Add(idleTime)); err != nil {
		return res, err
	}
	res.IdleCPU = (used() - cpu).Seconds() / idleTime.Seconds()
	f.say("idle: %.2f of a core", res.IdleCPU)
	begun = time.Now()
	submitted := make(chan error, 1)
	go func() { submitted <- f.submit(ctx) }()
	for int(f.completed.Load()) < cfg.Tasks {
		select {
		case err := <-submitted:
			if err != nil {
				return res, err
			}
			submitted, res.SubmitSeconds = nil, time.Since(begun).Seconds()
			f.say("submitted in %.1f s", res.SubmitSeconds)
		case err := <-f.fault:
			return res, err
		case <-time.After(time.Second):
			f.say("%d completed after %.0f s", f.completed.Load(), time.Since(begun).Seconds())
		case <-ctx.Done():
			return res, ctx.Err()
		}
		res.MemoryMiB = max(res.MemoryMiB, memory(cfg.PIDs))
	}
	res.CompleteSeconds = time.Since(begun).Seconds()
	res.TasksPerSecond = float64(cfg.Tasks) / res.CompleteSeconds
	return res, f.check(ctx)
}

func (f *fleet) say(format string, args ...any) {
	if f.Progress != nil {
		f.Progress(fmt.Sprintf(format, args...))
	}
}

func nodeName(i int) string { return fmt.Sprintf("bench-%05d", i) }

// register registers all nodes, a few at a time.
func (f *fleet) register(ctx context.Context) error {
	return inParallel(64, f.Nodes, func(i int) error {
		_, err := f.Client.Heartbeat(ctx, &v1.HeartbeatRequest{NodeId: nodeName(i), SessionId: nodeName(i), Spec: &v1.NodeSpec{
			Slots: int32(f.slots), Functions: []string{f.function}, //nolint:gosec // at most 10,000
			Capacity: &v1.Resources{CpuMillis: int64(f.slots) * 100, MemoryBytes: int64(f.slots) << 20},
			Provider: []string{"aws", "gcp", "azure"}[i%3], Region: fmt.Sprintf("region-%d", i%7),
		}})
		return err
	})
}

func inParallel(workers, n int, do func(i int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[w] == nil; i = int(next.Add(1)) - 1 {
				errs[w] = do(i)
			}
		})
	}
	all.Wait()
	return firstError(errs...)
}

// submit submits all tasks, four batches at a time.
func (f *fleet) submit(ctx context.Context) error {
	batches := (f.Tasks + batchTasks - 1) / batchTasks
	return inParallel(4, batches, func(i int) error {
		req := &v1.SubmitTasksRequest{}
		for range min(batchTasks, f.Tasks-i*batchTasks) {
			req.Requests = append(req.Requests, &v1.SubmitTaskRequest{Task: &v1.Task{
				Queue: scaleQueue, Resources: &v1.Resources{CpuMillis: 50, MemoryBytes: 1 << 19},
				Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: scaleFunction}},
			}})
		}
		res, err := f.Client.SubmitTasks(ctx, req)
		for _, o := range res.GetOutcomes() {
			if o.GetError() != nil {
				return errors.New(o.GetError().GetMessage())
			}
		}
		return err
	})
}

// run is one node: it reports what it was given as done, in the call that asks for more.
func (f *fleet) run(ctx context.Context, i int) {
	name := nodeName(i)
	var beats sync.WaitGroup
	defer beats.Wait()
	beats.Go(func() { f.beat(ctx, name) })
	res, err := f.Client.PollTask(ctx, &v1.PollTaskRequest{NodeId: name, SessionId: name, MaxTasks: batchTasks, Wait: durationpb.New(scaleWait), HeldComplete: true})
	tasks := res.GetTasks()
	for ctx.Err() == nil {
		if err != nil {
			f.fail(fmt.Errorf("node %s: %w", name, err))
			return
		}
		tasks, err = f.next(ctx, name, tasks)
	}
}

// next reports tasks as completed and returns the ones that follow.
func (f *fleet) next(ctx context.Context, name string, tasks []*v1.Task) ([]*v1.Task, error) {
	if len(tasks) == 0 {
		res, err := f.Client.PollTask(ctx, &v1.PollTaskRequest{NodeId: name, SessionId: name, MaxTasks: batchTasks, Wait: durationpb.New(scaleWait)})
		return res.GetTasks(), err
	}
	req := &v1.ReportTaskResultsRequest{NodeId: name, SessionId: name, MaxTasks: batchTasks}
	for _, t := range tasks {
		req.Results = append(req.Results, &v1.TaskResult{TaskId: t.GetId(), Attempt: t.GetAttempt(), Status: v1.TaskStatus_TASK_STATUS_COMPLETED})
	}
	res, err := f.Client.ReportTaskResults(ctx, req)
	for _, o := range res.GetOutcomes() {
		if o.GetError() != nil {
			return nil, errors.New(o.GetError().GetMessage())
		}
		f.completed.Add(1)
	}
	return res.GetTasks(), err
}

// beat keeps the node's lease.
func (f *fleet) beat(ctx context.Context, name string) {
	at := time.Now().Add(rand.N(scaleHeartbeat))
	for sleepUntil(ctx, at) == nil {
		_, err := f.Client.Heartbeat(ctx, &v1.HeartbeatRequest{NodeId: name, SessionId: name})
		if err != nil && ctx.Err() == nil {
			f.fail(fmt.Errorf("heartbeat of %s: %w", name, err))
			return
		}
		at = at.Add(scaleHeartbeat)
	}
}

func (f *fleet) fail(err error) {
	select {
	case f.fault <- err:
	default:
	}
}

// check holds the state against what was seen.
func (f *fleet) check(ctx context.Context) error {
	res, err := f.Client.ListNodes(ctx, &v1.ListNodesRequest{})
	if err != nil {
		return err
	}
	for _, n := range res.GetNodes() {
		if n.GetStatus() != v1.NodeStatus_NODE_STATUS_HEALTHY {
			return fmt.Errorf("node %s is %s: it was lost to the load", n.GetId(), n.GetStatus())
		}
	}
	return nil
}
