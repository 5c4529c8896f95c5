package bench

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// overloadFactor is how much is offered of what can be done.
	overloadFactor = 2
	// offerTick is how often what is due is offered, in one call for each 1,000 tasks, whether
	// or not the calls before are answered.
	offerTick = 5 * time.Millisecond
	// offerTimeout is when an offer is given up that is not answered.
	offerTimeout = 10 * time.Second
	// bystanders are nodes that only heartbeat: none of them may be lost.
	bystanders = 100
	// peakTime bounds how long the peak is measured.
	peakTime = 10 * time.Second
)

// Overload is what became of more work than could be done.
type Overload struct {
	// PeakPerSecond is what was done when callers waited for their answers;
	// OfferedPerSecond was offered then, DonePerSecond done of that, Ratio is its part of the
	// peak.
	PeakPerSecond    float64 `json:"peak_per_second"`
	OfferedPerSecond float64 `json:"offered_per_second"`
	AcceptedTasks    int64   `json:"accepted_tasks"`
	DonePerSecond    float64 `json:"done_per_second"`
	Ratio            float64 `json:"ratio"`
	// RefusedTasks were refused with RESOURCE_EXHAUSTED and a time to wait, which lay between
	// the two; FailedTasks in any other way.
	RefusedTasks    int64   `json:"refused_tasks"`
	RetryDelayMinMS float64 `json:"retry_delay_min_ms"`
	RetryDelayMaxMS float64 `json:"retry_delay_max_ms"`
	FailedTasks     int64   `json:"failed_tasks"`
	FirstFailure    string  `json:"first_failure,omitempty"`
	// Nodes kept their leases, but for NodesLost, the most that were seen without at a time.
	Nodes     int `json:"nodes"`
	NodesLost int `json:"nodes_lost"`
	// MemoryMiB is the most that a member held.
	MemoryMiB float64 `json:"memory_mib"`
}

// overload offers twice as many cycles as can be done.
func (r *run) overload(ctx context.Context) (Result, error) {
	peak := *r
	peak.Duration, peak.queue = min(r.Duration, peakTime), r.queue+"-peak"
	before, err := peak.cycle(ctx)
	if err != nil {
		return Result{}, err
	}
	var done atomic.Int64
	queue := r.queue + "-overload"
	stop, err := r.Target.Work(ctx, queue, r.Slots, func([]byte) { done.Add(1) })
	if err != nil {
		return Result{}, err
	}
	o := &offer{run: r, queue: queue, peak: before.PerSecond, done: done.Load}
	res, err := o.measure(ctx, "overload")
	return res, firstError(err, stop())
}

// flood offers twice as many submissions as can be stored.
func (r *run) flood(ctx context.Context) (Result, error) {
	peak := *r
	peak.Duration = min(r.Duration, peakTime)
	before, err := peak.closed(ctx, "flood", batchCallers, batchTasks, r.submitBatch)
	if err != nil {
		return Result{}, err
	}
	o := &offer{run: r, queue: r.queue, peak: before.PerSecond, answers: true}
	o.done = o.accepted.Load
	return o.measure(ctx, "flood")
}

// offer is more submissions than are taken.
type offer struct {
	*run
	queue string
	peak  float64
	done  func() int64
	// answers says that done counts answers: those to calls that are under way in the end are
	// waited for, and so is the time that they take.
	answers bool

	accepted atomic.Int64
	offered  int64
	mu       sync.Mutex
	out      Overload
}

// measure offers for Duration.
func (o *offer) measure(ctx context.Context, phase string) (Result, error) {
	o.say("%s: %.0f a second can be done, %.0f are offered", phase, o.peak, overloadFactor*o.peak)
	watching, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	if err := o.stand(watching, &background); err != nil {
		return Result{}, err
	}
	m := newMeter(o.ServerCPU)
	m.begin()
	var calls sync.WaitGroup
	err := o.offerAll(ctx, m, &calls)
	if o.answers {
		calls.Wait()
	}
	done := o.done()
	m.end()
	calls.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	m.count = done
	res := m.result(phase, 0)
	o.out.PeakPerSecond, o.out.OfferedPerSecond = o.peak, float64(o.offered)/res.Seconds
	o.out.AcceptedTasks, o.out.DonePerSecond, o.out.Ratio = o.accepted.Load(), res.PerSecond, res.PerSecond/o.peak
	o.out.Nodes = bystanders
	res.Errors = o.out.FailedTasks
	out := o.out
	res.Overload = &out
	return res, err
}

// offerAll makes the calls that are due, by the clock.
func (o *offer) offerAll(ctx context.Context, m *meter, calls *sync.WaitGroup) error {
	begun := time.Now()
	for at := begun; at.Sub(begun) < o.Duration; at = at.Add(offerTick) {
		if err := sleepUntil(ctx, at); err != nil {
			return err
		}
		due := int64(time.Since(begun).Seconds() * overloadFactor * o.peak)
		for o.offered < due {
			n := min(due-o.offered, batchTasks)
			o.offered += n
			calls.Go(func() { o.call(ctx, m, int(n), at) })
		}
	}
	return nil
}

// call offers n tasks that were due at a time.
func (o *offer) call(ctx context.Context, m *meter, n int, due time.Time) {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	jobs, err := client.SubmitAll[[]byte, []byte](ctx, o.Once, o.queue, slices.Repeat([][]byte{o.payload}, n), client.WithQueue(o.queue))
	o.accepted.Add(int64(len(jobs)))
	if err == nil {
		m.record(time.Since(due), 0)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delay := retryDelay(err)
	if delay == 0 {
		o.out.FailedTasks += int64(n - len(jobs))
		if o.out.FirstFailure == "" {
			o.out.FirstFailure = err.Error()
		}
		return
	}
	ms := float64(delay.Microseconds()) / 1000
	if o.out.RefusedTasks == 0 || ms < o.out.RetryDelayMinMS {
		o.out.RetryDelayMinMS = ms
	}
	o.out.RetryDelayMaxMS = max(o.out.RetryDelayMaxMS, ms)
	o.out.RefusedTasks += int64(n - len(jobs))
}

// retryDelay is how long an exhausted control plane asks to wait; 0 for other errors.
func retryDelay(err error) time.Duration {
	var ce *connect.Error
	if !errors.As(err, &ce) || ce.Code() != connect.CodeResourceExhausted {
		return 0
	}
	for _, d := range ce.Details() {
		value, bad := d.Value()
		if info, ok := value.(*errdetails.RetryInfo); ok && bad == nil {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// stand registers the bystanders, lets them heartbeat, and looks every second at who is lost
// and at what the members hold.
func (o *offer) stand(ctx context.Context, background *sync.WaitGroup) error {
	f, err := newFleet(ScaleConfig{Nodes: bystanders, NewClient: func() (*client.Client, error) { return o.Client, nil }})
	if err != nil {
		return err
	}
	if err := f.register(ctx); err != nil {
		return err
	}
	for _, n := range f.nodes {
		background.Go(func() { n.beat(ctx) })
	}
	background.Go(func() {
		for sleepUntil(ctx, time.Now().Add(time.Second)) == nil {
			lost := o.lost(ctx, f)
			o.mu.Lock()
			o.out.MemoryMiB = max(o.out.MemoryMiB, memory(o.PIDs))
			o.out.NodesLost = max(o.out.NodesLost, lost)
			o.mu.Unlock()
		}
	})
	return nil
}

// lost counts the nodes that have no lease, or know that they had a fault.
func (o *offer) lost(ctx context.Context, f *fleet) (lost int) {
	select {
	case err := <-f.fault:
		o.say("a node: %s", err)
		lost++
	default:
	}
	res, err := o.Client.Query(ctx, &v1.QueryRequest{Sql: "SELECT count(*) FROM nodes WHERE status <> 'HEALTHY' AND (id LIKE '" + f.queue + "-%' OR id = 'worker-" + o.queue + "')",
		Consistency: v1.Consistency_CONSISTENCY_STALE})
	if err != nil || len(res.GetRows()) != 1 {
		return lost // asked again in a second
	}
	return max(lost, int(res.GetRows()[0].GetValues()[0].GetNumberValue()))
}
