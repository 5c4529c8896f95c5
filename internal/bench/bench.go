// Package bench loads a control plane through its public API and measures how it bears it.
//
// Closed loops (a caller makes its next call when it has the answer to the last) find the
// most that can be done. Latency at a rate is measured by an open loop: from when a
// submission was due, whether or not the one before was late (Gil Tene, "How NOT to
// Measure Latency", on coordinated omission).
package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Config says what to measure.
type Config struct {
	// Client makes the calls: one for all callers, as a program has it.
	Client *client.Client
	// Dir is on the disk whose fsync is measured.
	Dir string
	// Duration of each phase.
	Duration time.Duration
	// Callers submit, Slots work.
	Callers, Slots int
	// Payload is the size of each task's argument, in bytes.
	Payload int
	// Rate is the submissions a second of the phase dispatch.
	Rate int
	// Phases are those to run, in order; see Phases.
	Phases []string
	// PIDs are the members' processes, to count the CPU that they use; none if they run
	// elsewhere.
	PIDs []int32
	// Progress is told what begins.
	Progress func(phase string)
}

// Result is what a phase measured. Times are in milliseconds.
type Result struct {
	Phase      string  `json:"phase"`
	Callers    int     `json:"callers"`
	Operations int64   `json:"operations"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"per_second"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	P999       float64 `json:"p99_9_ms"`
	Max        float64 `json:"max_ms"`
	// CPUMicros is the CPU time of this process and of the members for each operation.
	CPUMicros float64 `json:"cpu_us_per_operation"`
	Errors    int64   `json:"errors"`
}

// Phases are all that there are, in the order in which they are run by default.
func Phases() []string {
	return []string{"fsync", "submit-1", "submit", "batch", "get", "cycle", "dispatch"}
}

// batchTasks is the size of a batch in the phase batch: the most that a call takes.
const batchTasks = 1000

// run is a run in progress.
type run struct {
	Config
	queue   string
	payload []byte
}

// Run runs the phases. It ends with the first that cannot be run.
func Run(ctx context.Context, cfg Config) ([]Result, error) {
	r := &run{Config: cfg, queue: "bench-" + strings.ToLower(rand.Text()[:8]), payload: []byte(`"` + strings.Repeat("x", max(0, cfg.Payload-2)) + `"`)}
	var results []Result
	for _, phase := range cfg.Phases {
		if cfg.Progress != nil {
			cfg.Progress(phase)
		}
		res, err := r.phase(ctx, phase)
		if err != nil {
			return results, fmt.Errorf("phase %s: %w", phase, err)
		}
		results = append(results, res)
	}
	return results, nil
}

func (r *run) phase(ctx context.Context, phase string) (Result, error) {
	switch phase {
	case "fsync":
		return r.fsync(ctx)
	case "submit-1":
		return r.closed(ctx, phase, 1, 1, r.submit)
	case "submit":
		return r.closed(ctx, phase, r.Callers, 1, r.submit)
	case "batch":
		return r.closed(ctx, phase, 4, batchTasks, r.submitBatch)
	case "get":
		return r.get(ctx)
	case "cycle":
		return r.cycle(ctx)
	case "dispatch":
		return r.dispatch(ctx)
	}
	return Result{}, fmt.Errorf("there is no such phase: give some of %s", strings.Join(Phases(), ", "))
}

// fsync appends 4 KiB and syncs, over and over: what the disk can do by itself.
func (r *run) fsync(ctx context.Context) (Result, error) {
	f, err := os.CreateTemp(r.Dir, "fsync-")
	if err != nil {
		return Result{}, err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(filepath.Clean(f.Name()))
	}()
	block := make([]byte, 4096)
	return r.closed(ctx, "fsync", 1, 1, func(context.Context) error {
		if _, err := f.Write(block); err != nil {
			return err
		}
		return f.Sync()
	})
}

func (r *run) task() *v1.SubmitTaskRequest {
	return &v1.SubmitTaskRequest{Task: &v1.Task{Queue: r.queue + "-idle", Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "bench-nobody", Payload: r.payload}}}}
}

func (r *run) submit(ctx context.Context) error {
	_, err := r.Client.SubmitTask(ctx, r.task())
	return err
}

func (r *run) submitBatch(ctx context.Context) error {
	req := &v1.SubmitTasksRequest{}
	for range batchTasks {
		req.Requests = append(req.Requests, r.task())
	}
	res, err := r.Client.SubmitTasks(ctx, req)
	for _, o := range res.GetOutcomes() {
		if o.GetError() != nil {
			return fmt.Errorf("%s: %s", o.GetError().GetCode(), o.GetError().GetMessage())
		}
	}
	return err
}

// get reads a task with everything acknowledged before.
func (r *run) get(ctx context.Context) (Result, error) {
	res, err := r.Client.SubmitTask(ctx, r.task())
	if err != nil {
		return Result{}, err
	}
	id := res.GetTask().GetId()
	return r.closed(ctx, "get", r.Callers, 1, func(ctx context.Context) error {
		_, err := r.Client.GetTask(ctx, &v1.GetTaskRequest{Id: id})
		return err
	})
}

// cycle has callers submit and a worker's slots work, each as fast as it can: a cycle is
// over when its result is recorded.
func (r *run) cycle(ctx context.Context) (Result, error) {
	var submitted, handled atomic.Int64
	room := make(chan struct{}, 4*r.Slots) // what may wait for a slot
	stop, err := r.work(ctx, "bench-cycle", r.Slots, func(context.Context, *client.Attempt) ([]byte, error) {
		handled.Add(1)
		select {
		case <-room:
		default: // it is run for a second time
		}
		return []byte("true"), nil
	})
	if err != nil {
		return Result{}, err
	}
	res, err := r.closed(ctx, "cycle", r.Callers, 1, func(ctx context.Context) error {
		select {
		case room <- struct{}{}:
		case <-overOf(ctx):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err := client.Submit[[]byte, []byte](ctx, r.Client, "bench-cycle", r.payload, client.WithQueue(r.queue))
		if err == nil {
			submitted.Add(1)
		}
		return err
	})
	if err = firstError(err, stop()); err != nil {
		return res, err
	}
	return res, r.recorded(ctx, submitted.Load())
}

// recorded checks that all but what the end has cut off is completed, and nothing twice.
func (r *run) recorded(ctx context.Context, submitted int64) error {
	answer, err := r.Client.Query(ctx, &v1.QueryRequest{Sql: "SELECT count(*) FILTER (WHERE status = 'COMPLETED'), count(*) FROM tasks WHERE queue = '" + r.queue + "'"})
	if err != nil {
		return err
	}
	values := answer.GetRows()[0].GetValues()
	completed, stored := int64(values[0].GetNumberValue()), int64(values[1].GetNumberValue())
	if stored < submitted || stored-completed > int64(8*r.Slots) {
		return fmt.Errorf("%d tasks were submitted, %d are stored and %d completed", submitted, stored, completed)
	}
	return nil
}

// dispatch measures from when a submission was due to when its function runs.
func (r *run) dispatch(ctx context.Context) (Result, error) {
	m := newMeter(r.PIDs)
	base := time.Now()
	stop, err := r.work(ctx, "bench-dispatch", r.Slots, func(_ context.Context, at *client.Attempt) ([]byte, error) {
		var due int64
		if _, err := fmt.Sscan(string(at.Task.GetFunction().GetPayload()), &due); err != nil {
			return nil, client.Permanent(err)
		}
		m.record(time.Since(base)-time.Duration(due), 1)
		return []byte("true"), nil
	})
	if err != nil {
		return Result{}, err
	}
	m.begin()
	var calls sync.WaitGroup
	interval := time.Second / time.Duration(r.Rate)
	for due := time.Since(base); time.Since(m.begun) < r.Duration; due += interval {
		if err := sleepUntil(ctx, base.Add(due)); err != nil {
			return Result{}, firstError(err, stop())
		}
		calls.Go(func() {
			if _, err := client.Submit[int64, []byte](ctx, r.Client, "bench-dispatch", int64(due), client.WithQueue(r.queue)); err != nil {
				m.failed()
			}
		})
	}
	m.end()
	calls.Wait()
	err = stop()
	return m.result("dispatch", r.Rate), err
}

func sleepUntil(ctx context.Context, at time.Time) error {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work starts a worker with one function.
func (r *run) work(ctx context.Context, function string, slots int, h client.Handler) (stop func() error, err error) {
	w := client.NewWorker(r.Client, client.WorkerOptions{Name: function + "-" + r.queue, Concurrency: slots, Logger: slog.New(slog.DiscardHandler)})
	w.Handle(function, h)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = func() error {
		cancel()
		return <-done
	}
	select {
	case <-w.Ready():
		return stop, nil
	case err := <-done:
		cancel()
		return nil, err
	}
}

// warmUp is not measured.
const warmUp = 500 * time.Millisecond

// closed runs callers that make one call after the other. What is under way at the end is
// waited for, and not counted.
func (r *run) closed(ctx context.Context, phase string, callers int, weight int64, op func(context.Context) error) (Result, error) {
	m := newMeter(r.PIDs)
	over := make(chan struct{})
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, overKey{}, (<-chan struct{})(over)))
	defer cancel(nil)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for ctx.Err() == nil && !isOver(ctx) {
				begun := time.Now()
				err := op(ctx)
				if err != nil && !isOver(ctx) {
					cancel(err) // the first one counts
					return
				}
				m.record(time.Since(begun), weight)
			}
		})
	}
	err := sleepUntil(ctx, time.Now().Add(warmUp))
	m.begin()
	err = firstError(err, sleepUntil(ctx, time.Now().Add(r.Duration)))
	m.end()
	close(over)
	all.Wait()
	if err != nil {
		return Result{}, context.Cause(ctx)
	}
	return m.result(phase, callers), nil
}

type overKey struct{}

// overOf is closed when the phase is over.
func overOf(ctx context.Context) <-chan struct{} {
	over, _ := ctx.Value(overKey{}).(<-chan struct{})
	return over
}

func isOver(ctx context.Context) bool {
	select {
	case <-overOf(ctx):
		return true
	default:
		return false
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// meter counts operations and the CPU that they took.
type meter struct {
	pids []int32

	mu        sync.Mutex
	hist      *hdrhistogram.Histogram // microseconds
	measuring bool
	begun     time.Time
	took      time.Duration
	count     int64
	errors    int64
	cpu       time.Duration
}

func newMeter(pids []int32) *meter {
	return &meter{pids: pids, hist: hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3)}
}

func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.measuring, m.begun, m.cpu = true, time.Now(), -cpuTime(m.pids)
}

func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.measuring = false
	m.took = time.Since(m.begun)
	m.cpu += cpuTime(m.pids)
}

func (m *meter) record(took time.Duration, weight int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.measuring {
		return
	}
	m.count += weight
	_ = m.hist.RecordValue(max(1, took.Microseconds())) // beyond ten minutes it is lost
}

func (m *meter) failed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.errors++
}

func (m *meter) result(phase string, callers int) Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	ms := func(q float64) float64 { return float64(m.hist.ValueAtQuantile(q)) / 1000 }
	res := Result{
		Phase: phase, Callers: callers, Operations: m.count, Seconds: m.took.Seconds(), PerSecond: float64(m.count) / m.took.Seconds(),
		P50: ms(50), P99: ms(99), P999: ms(99.9), Max: float64(m.hist.Max()) / 1000, Errors: m.errors,
	}
	if m.count > 0 {
		res.CPUMicros = float64(m.cpu.Microseconds()) / float64(m.count)
	}
	return res
}
