package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// nodesPerClient is how many nodes share a client, and so its connections. Each has them to
	// itself in a real fleet; there, the other ends are on another machine.
	nodesPerClient = 64
	// What a task reserves. A node has room for as many as it has slots, twice over.
	taskCPUMillis, taskMemoryBytes = 50, 1 << 19
	// reportWait is how long a node that has nothing left to do waits for work in the call
	// that reports.
	reportWait = time.Second
	// recentTasks is how many of the tasks that it has done a node knows again: what was
	// delivered may be delivered once more.
	recentTasks = 128
)

// fleet is simulated nodes at work.
type fleet struct {
	ScaleConfig
	queue     string // and the function that the nodes have
	slots     int
	nodes     []*benchNode
	completed atomic.Int64
	calls     atomic.Int64  // that fetched tasks, and that reported them
	beats     atomic.Int64  // heartbeats that were acknowledged
	done      chan struct{} // closed when all tasks are completed
	fault     chan error    // the first one
}

// benchNode is one node.
type benchNode struct {
	fleet  *fleet
	name   string
	client *client.Client

	mu     sync.Mutex
	held   map[string]int32 // the attempts that it holds, by task
	recent []string         // tasks that it has done, a ring
	next   int              // in recent
	free   chan struct{}    // one token: there is a slot free
}

// newFleet makes nodes with room for twice what each has to do on average: the fleet is not
// full while tasks are submitted.
func newFleet(cfg ScaleConfig) (*fleet, error) {
	f := &fleet{ScaleConfig: cfg, queue: newQueueName(), slots: min(10_000, max(1, 2*cfg.Tasks/cfg.Nodes)), done: make(chan struct{}), fault: make(chan error, 1)}
	var c *client.Client
	for i := range cfg.Nodes {
		if i%nodesPerClient == 0 {
			var err error
			if c, err = cfg.NewClient(); err != nil {
				return nil, err
			}
		}
		f.nodes = append(f.nodes, &benchNode{fleet: f, name: fmt.Sprintf("%s-%05d", f.queue, i), client: c,
			held: map[string]int32{}, recent: make([]string, recentTasks), free: make(chan struct{}, 1)})
	}
	return f, nil
}

// register registers all nodes, some at a time.
func (f *fleet) register(ctx context.Context) error {
	return inParallel(64, f.Nodes, func(i int) error {
		n := f.nodes[i]
		_, err := n.client.Heartbeat(ctx, &v1.HeartbeatRequest{NodeId: n.name, SessionId: n.name, Spec: &v1.NodeSpec{
			Slots: int32(f.slots), Functions: []string{f.queue}, //nolint:gosec // at most 10,000
			Capacity: &v1.Resources{CpuMillis: int64(f.slots) * 2 * taskCPUMillis, MemoryBytes: int64(f.slots) * 2 * taskMemoryBytes},
			Provider: []string{"aws", "gcp", "azure"}[i%3], Region: fmt.Sprintf("region-%d", i%7), PriceMicrosPerHour: int64(1+i%5) * 1_000_000,
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

// fail notes what went wrong, unless it is that the run ends.
func (n *benchNode) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	select {
	case n.fleet.fault <- fmt.Errorf("node %s: %w", n.name, err):
	default:
	}
}

// beat keeps the node's lease.
func (n *benchNode) beat(ctx context.Context) {
	at := time.Now().Add(rand.N(scaleHeartbeat))
	for sleepUntil(ctx, at) == nil {
		_, err := n.client.Heartbeat(ctx, &v1.HeartbeatRequest{NodeId: n.name, SessionId: n.name, Held: n.holds()})
		if err != nil {
			n.fail(ctx, err)
			return
		}
		n.fleet.beats.Add(1)
		at = at.Add(scaleHeartbeat)
	}
}

// work fetches tasks and reports them. Tasks that take no time are reported by the call that
// fetches the next ones; those that do, beside it, as the sessions of workers do.
func (n *benchNode) work(ctx context.Context, all *sync.WaitGroup) {
	if n.fleet.TaskDuration == 0 {
		all.Go(func() { n.follow(ctx) })
		return
	}
	ended := make(chan []*v1.Task, n.fleet.slots)
	run := func(tasks []*v1.Task) {
		time.AfterFunc(n.fleet.TaskDuration, func() { ended <- tasks })
	}
	all.Go(func() {
		for tasks := n.poll(ctx); ctx.Err() == nil; tasks = n.poll(ctx) {
			if len(tasks) > 0 {
				run(tasks)
			}
		}
	})
	all.Go(func() {
		for {
			tasks := n.take(ctx, ended)
			if len(tasks) == 0 {
				return
			}
			for batch := range slices.Chunk(tasks, batchTasks) {
				if more := n.report(ctx, batch, 0); len(more) > 0 {
					run(more)
				}
			}
		}
	})
}

// follow reports tasks as soon as it has them, until ctx ends.
func (n *benchNode) follow(ctx context.Context) {
	var tasks []*v1.Task
	for ctx.Err() == nil {
		if len(tasks) == 0 {
			tasks = n.poll(ctx)
		} else {
			tasks = n.report(ctx, tasks, reportWait)
		}
	}
}

// take returns all tasks that have ended, once there are any; none when ctx ends.
func (n *benchNode) take(ctx context.Context, ended <-chan []*v1.Task) (all []*v1.Task) {
	select {
	case all = <-ended:
	case <-ctx.Done():
		return nil
	}
	for len(all) < batchTasks {
		select {
		case more := <-ended:
			all = append(all, more...)
		default:
			return all
		}
	}
	return all
}

// poll waits for tasks, if there is a free slot or once there is.
func (n *benchNode) poll(ctx context.Context) []*v1.Task {
	free := n.awaitFree(ctx)
	if free == 0 {
		return nil
	}
	res, err := n.client.PollTask(ctx, &v1.PollTaskRequest{NodeId: n.name, SessionId: n.name, MaxTasks: int32(min(free, batchTasks)), Wait: durationpb.New(scaleWait)}) //nolint:gosec // at most batchTasks
	if err != nil {
		n.fail(ctx, err)
		<-ctx.Done() // which the fault ends
		return nil
	}
	if len(res.GetTasks()) > 0 {
		n.fleet.calls.Add(1)
	}
	return n.hold(res.GetTasks())
}

// report reports tasks as completed, and returns those that it was given in their place.
func (n *benchNode) report(ctx context.Context, tasks []*v1.Task, wait time.Duration) []*v1.Task {
	req := &v1.ReportTaskResultsRequest{NodeId: n.name, SessionId: n.name, MaxTasks: int32(len(tasks))} //nolint:gosec // at most batchTasks
	if wait > 0 {
		req.MaxTasks, req.Wait = batchTasks, durationpb.New(wait)
	}
	for _, t := range tasks {
		req.Results = append(req.Results, &v1.TaskResult{TaskId: t.GetId(), Attempt: t.GetAttempt(), Status: v1.TaskStatus_TASK_STATUS_COMPLETED})
	}
	n.fleet.calls.Add(1)
	res, err := n.client.ReportTaskResults(ctx, req)
	for i, o := range res.GetOutcomes() {
		if o.GetError() != nil && err == nil {
			err = fmt.Errorf("task %s: %s", tasks[i].GetId(), o.GetError().GetMessage())
		}
	}
	if err != nil {
		n.fail(ctx, err)
		<-ctx.Done()
		return nil
	}
	if len(res.GetTasks()) > 0 {
		n.fleet.calls.Add(1)
	}
	fresh := n.hold(res.GetTasks()) // before the others give up their slots
	n.release(tasks)
	return fresh
}

// awaitFree returns how many slots are free, once there are any; 0 when ctx ends.
func (n *benchNode) awaitFree(ctx context.Context) int {
	for {
		n.mu.Lock()
		free := n.fleet.slots - len(n.held)
		n.mu.Unlock()
		if free > 0 {
			return free
		}
		select {
		case <-n.free:
		case <-ctx.Done():
			return 0
		}
	}
}

// hold takes in tasks, but for those that were delivered before.
func (n *benchNode) hold(tasks []*v1.Task) (fresh []*v1.Task) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range tasks {
		if _, has := n.held[t.GetId()]; has || n.hasDone(t.GetId()) {
			continue
		}
		n.held[t.GetId()] = t.GetAttempt()
		fresh = append(fresh, t)
	}
	return fresh
}

func (n *benchNode) hasDone(id string) bool {
	return slices.Contains(n.recent, id)
}

// release is for tasks that are recorded.
func (n *benchNode) release(tasks []*v1.Task) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range tasks {
		delete(n.held, t.GetId())
		n.recent[n.next] = t.GetId()
		n.next = (n.next + 1) % len(n.recent)
	}
	if f := n.fleet; f.completed.Add(int64(len(tasks))) == int64(f.Tasks) {
		close(f.done)
	}
	select {
	case n.free <- struct{}{}:
	default:
	}
}

// holds is what a heartbeat says that the node holds.
func (n *benchNode) holds() (list []*v1.HeldAttempt) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, attempt := range n.held {
		list = append(list, &v1.HeldAttempt{TaskId: id, Attempt: attempt})
	}
	return list
}
