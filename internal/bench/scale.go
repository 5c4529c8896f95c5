package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// ScaleConfig is a fleet and what it has to do, after HashiCorp's C2M (2020): two million
// tasks on 6,100 machines.
type ScaleConfig struct {
	// Client submits, and looks at the end. NewClient makes others like it, for the nodes.
	Client    *client.Client
	NewClient func() (*client.Client, error)
	// Tasks are run by Nodes, which speak the protocol of workers but run nothing: each
	// heartbeats, polls and reports.
	Tasks, Nodes int
	// Placement is the queue's.
	Placement v1.Placement
	// TaskDuration is for how long a task pretends to run.
	TaskDuration time.Duration
	// PIDs are the members' processes.
	PIDs []int32
	// Progress is told from time to time.
	Progress func(string)
}

// ScaleResult is how long it took, in seconds from the beginning of each step, and what of
// the processors. Shares are of one core, in the members alone and with the nodes.
type ScaleResult struct {
	Tasks, Nodes int
	// RegisterSeconds is until all nodes had a lease; SubmitSeconds and CompleteSeconds
	// count from the first submission.
	RegisterSeconds, SubmitSeconds, CompleteSeconds float64
	// TasksPerSecond is Tasks by CompleteSeconds.
	TasksPerSecond float64
	// TasksPerCall is how many tasks a node was given or reported in a call that was about
	// any: 1 if each task takes a call to be fetched and another to be reported.
	TasksPerCall float64
	// HeartbeatCPU and HeartbeatMemberCPU are used while the nodes only heartbeat, IdleCPU and
	// IdleMemberCPU while they also wait for work.
	HeartbeatCPU, HeartbeatMemberCPU, IdleCPU, IdleMemberCPU float64
	// HeartbeatsPerSecond were acknowledged meanwhile, and HeartbeatMemberMicros is what one
	// cost a member: what to compare on a machine that others use too.
	HeartbeatsPerSecond, HeartbeatMemberMicros float64
	// CPUMicros and MemberCPUMicros are used for each task, heartbeats included.
	CPUMicros, MemberCPUMicros float64
	// MemoryMiB is the most memory that a member held.
	MemoryMiB float64
}

const (
	scaleHeartbeat = 5 * time.Second
	scaleWait      = 20 * time.Second
	idleTime       = 2 * scaleHeartbeat
	// scaleSubmitters is how many batches are submitted at the same time.
	scaleSubmitters = 8
)

// RunScale registers the nodes, lets them idle, submits the tasks, and waits until all are
// completed.
func RunScale(ctx context.Context, cfg ScaleConfig) (res ScaleResult, err error) {
	res.Tasks, res.Nodes = cfg.Tasks, cfg.Nodes
	f, err := newFleet(cfg)
	if err != nil {
		return res, err
	}
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
		nodes.Go(func() { f.nodes[i].beat(ctx) })
	}
	beats := f.beats.Load()
	if res.HeartbeatCPU, res.HeartbeatMemberCPU, err = f.idle(ctx, 0); err != nil {
		return res, err
	}
	res.HeartbeatsPerSecond = float64(f.beats.Load()-beats) / idleTime.Seconds()
	res.HeartbeatMemberMicros = res.HeartbeatMemberCPU / max(res.HeartbeatsPerSecond, 1) * 1e6
	f.say("%d nodes that heartbeat take %.2f of a core, the member %.2f of that: %.0f us for each of %.0f heartbeats a second",
		cfg.Nodes, res.HeartbeatCPU, res.HeartbeatMemberCPU, res.HeartbeatMemberMicros, res.HeartbeatsPerSecond)
	for i := range cfg.Nodes {
		f.nodes[i].work(ctx, &nodes)
	}
	if res.IdleCPU, res.IdleMemberCPU, err = f.idle(ctx, scaleHeartbeat); err != nil { // all polls wait by then
		return res, err
	}
	f.say("and wait for work: %.2f of a core, the member %.2f of that", res.IdleCPU, res.IdleMemberCPU)
	if err := f.load(ctx, &res); err != nil {
		return res, err
	}
	return res, f.check(ctx)
}

// load submits the tasks and waits until all are completed.
func (f *fleet) load(ctx context.Context, res *ScaleResult) error {
	begun, cpu := time.Now(), f.usedCPU()
	submitted := make(chan error, 1)
	go func() { submitted <- f.submit(ctx) }()
	for waiting := true; waiting; {
		select {
		case <-f.done:
			waiting = false
		case err := <-submitted:
			if err != nil {
				return err
			}
			submitted, res.SubmitSeconds = nil, time.Since(begun).Seconds()
			f.say("submitted in %.1f s", res.SubmitSeconds)
		case err := <-f.fault:
			return err
		case <-time.After(time.Second):
			f.say("%d completed after %.0f s", f.completed.Load(), time.Since(begun).Seconds())
		case <-ctx.Done():
			return ctx.Err()
		}
		res.MemoryMiB = max(res.MemoryMiB, memory(f.PIDs))
	}
	if submitted != nil {
		res.SubmitSeconds = time.Since(begun).Seconds()
	}
	res.CompleteSeconds = time.Since(begun).Seconds()
	res.TasksPerSecond = float64(f.Tasks) / res.CompleteSeconds
	res.TasksPerCall = 2 * float64(f.Tasks) / float64(max(f.calls.Load(), 1))
	used := f.usedCPU()
	res.CPUMicros = (used.all - cpu.all).Seconds() * 1e6 / float64(f.Tasks)
	res.MemberCPUMicros = (used.members - cpu.members).Seconds() * 1e6 / float64(f.Tasks)
	return nil
}

// usedCPU is CPU time.
type usedCPU struct{ all, members time.Duration }

func (f *fleet) usedCPU() usedCPU {
	members := CPUTime(f.PIDs...)
	return usedCPU{all: members + ownCPUTime(), members: members}
}

// idle returns what is used while the nodes have nothing to do, once what was begun has had
// the time to settle.
func (f *fleet) idle(ctx context.Context, settle time.Duration) (all, members float64, err error) {
	if err := sleepUntil(ctx, time.Now().Add(settle)); err != nil {
		return 0, 0, err
	}
	before := f.usedCPU()
	if err := sleepUntil(ctx, time.Now().Add(idleTime)); err != nil {
		return 0, 0, err
	}
	select {
	case err := <-f.fault:
		return 0, 0, err
	default:
	}
	after := f.usedCPU()
	return (after.all - before.all).Seconds() / idleTime.Seconds(), (after.members - before.members).Seconds() / idleTime.Seconds(), nil
}

func (f *fleet) say(format string, args ...any) {
	if f.Progress != nil {
		f.Progress(fmt.Sprintf(format, args...))
	}
}

// submit makes the queue and submits all tasks, some batches at a time.
func (f *fleet) submit(ctx context.Context) error {
	_, err := f.Client.CreateQueue(ctx, &v1.CreateQueueRequest{Queue: &v1.Queue{Name: f.queue, Placement: f.Placement}})
	if err != nil {
		return err
	}
	batches := (f.Tasks + batchTasks - 1) / batchTasks
	return inParallel(scaleSubmitters, batches, func(i int) error {
		req := &v1.SubmitTasksRequest{}
		for range min(batchTasks, f.Tasks-i*batchTasks) {
			req.Requests = append(req.Requests, &v1.SubmitTaskRequest{Task: &v1.Task{
				Queue: f.queue, Resources: &v1.Resources{CpuMillis: taskCPUMillis, MemoryBytes: taskMemoryBytes},
				Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: f.queue}},
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

// check holds the state against what was seen: every task is recorded as completed, and no
// node has ever been without its lease.
func (f *fleet) check(ctx context.Context) error {
	recorded, err := controlPlane{f.Client}.Recorded(ctx, f.queue)
	if err != nil {
		return err
	}
	if recorded != int64(f.Tasks) {
		return fmt.Errorf("%d of %d tasks are recorded as completed", recorded, f.Tasks)
	}
	lost, err := controlPlane{f.Client}.count(ctx, "SELECT count(*) FROM nodes WHERE id LIKE '"+f.queue+"-%' AND (status <> 'HEALTHY' OR lapses > 0)")
	if err == nil && lost > 0 {
		err = fmt.Errorf("%d nodes were lost to the load", lost)
	}
	return err
}

// newQueueName is for a queue, and a function, that nobody else has.
func newQueueName() string { return "bench-" + strings.ToLower(rand.Text()[:8]) }
