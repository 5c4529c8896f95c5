// Package bench loads a control plane through its public API and measures how it bears it.
//
// Closed loops (a caller makes its next call when it has the answer to the last) find the
// most that can be done. Latency at a rate is measured by an open loop: from when a
// submission was due, whether or not the one before was late (Gil Tene, "How NOT to
// Measure Latency", on coordinated omission).
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Config says what to measure.
type Config struct {
	// Client makes the calls: one for all callers, as a program has it. nil if Target is a
	// system of others.
	Client *client.Client
	// Once is a client like Client that tries nothing again: for the phases that offer more
	// than is taken.
	Once *client.Client
	// Target is what is loaded; what Client calls if nil. Only the phases of Comparable can
	// be run on others.
	Target Target
	// Dir is on the disk whose sync is measured, and where the members of PIDs keep their
	// state.
	Dir string
	// Duration of each phase.
	Duration time.Duration
	// Callers submit, Slots work.
	Callers, Slots int
	// Payload is the size of each task's argument, in bytes.
	Payload int
	// Rate is the submissions a second of the phase dispatch.
	Rate int
	// Tasks is how many the phases memory, disk and backlog submit.
	Tasks int
	// Phases are those to run, in order; see Phases.
	Phases []string
	// PIDs are the members' processes, whose memory and CPU are measured; none if they run
	// elsewhere.
	PIDs []int32
	// ServerCPU is the CPU time that the system has used until now; that of PIDs if nil.
	ServerCPU func() time.Duration
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
	// CPUMicros is the CPU time of this process and of the members for each operation,
	// ServerCPUMicros of the members alone.
	CPUMicros       float64 `json:"cpu_us_per_operation"`
	ServerCPUMicros float64 `json:"server_cpu_us_per_operation"`
	Errors          int64   `json:"errors"`
	// Overload is set by the phases overload and flood, Size by memory and disk.
	Overload *Overload `json:"overload,omitempty"`
	Size     *Size     `json:"size,omitempty"`
	Backlog  *Backlog  `json:"backlog,omitempty"`
}

// Comparable are the phases that any Target can be put through.
func Comparable() []string {
	return []string{"fsync", "submit-1", "submit", "batch", "cycle", "dispatch"}
}

// Phases are those that are run by default, in this order.
func Phases() []string {
	return []string{"fsync", "submit-1", "submit", "batch", "nothing", "get", "cycle", "dispatch"}
}

// AllPhases are all that there are: beside Phases those that take long or fill the disk.
func AllPhases() []string { return append(Phases(), "overload", "flood", "memory", "disk", "backlog") }

// batchTasks is the size of a batch in the phase batch: the most that a call takes.
const batchTasks = 1000

// batchCallers submit batches at the same time.
const batchCallers = 4

// run is a run in progress.
type run struct {
	Config
	queue   string
	payload []byte
}

// Run runs the phases. It ends with the first that cannot be run.
func Run(ctx context.Context, cfg Config) ([]Result, error) {
	r := &run{Config: cfg, queue: newQueueName(), payload: []byte(`"` + strings.Repeat("x", max(0, cfg.Payload-2)) + `"`)}
	if r.Target == nil {
		r.Target = controlPlane{r.Client}
	}
	if r.ServerCPU == nil {
		r.ServerCPU = func() time.Duration { return CPUTime(r.PIDs...) }
	}
	if err := r.Target.Open(ctx, r.queue); err != nil {
		return nil, fmt.Errorf("open a queue: %w", err)
	}
	var results []Result
	for _, phase := range cfg.Phases {
		r.say("%s", phase)
		res, err := r.phase(ctx, phase)
		if err != nil {
			return results, fmt.Errorf("phase %s: %w", phase, err)
		}
		results = append(results, res)
	}
	return results, nil
}

func (r *run) say(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(format, args...))
	}
}

func (r *run) phase(ctx context.Context, phase string) (Result, error) {
	if r.Client == nil && !slices.Contains(Comparable(), phase) {
		return Result{}, errors.New("it is of this control plane only")
	}
	switch phase {
	case "fsync":
		return r.fsync(ctx)
	case "submit-1":
		return r.closed(ctx, phase, 1, 1, r.submit)
	case "submit":
		return r.closed(ctx, phase, r.Callers, 1, r.submit)
	case "batch":
		return r.closed(ctx, phase, batchCallers, batchTasks, r.submitBatch)
	case "nothing":
		return r.closed(ctx, phase, r.Callers, 1, r.nothing)
	case "get":
		return r.get(ctx)
	case "cycle":
		return r.cycle(ctx)
	case "dispatch":
		return r.dispatch(ctx)
	case "overload":
		return r.overload(ctx)
	case "flood":
		return r.flood(ctx)
	case "memory":
		return r.memory(ctx)
	case "disk":
		return r.disk(ctx)
	case "backlog":
		return r.backlog(ctx)
	}
	return Result{}, fmt.Errorf("there is no such phase: give some of %s", strings.Join(AllPhases(), ", "))
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
		return syncData(f)
	})
}

// submit stores a task that nobody works on.
func (r *run) submit(ctx context.Context) error { return r.Target.Submit(ctx, r.queue, r.payload) }

func (r *run) submitBatch(ctx context.Context) error {
	return r.Target.SubmitBatch(ctx, r.queue, slices.Repeat([][]byte{r.payload}, batchTasks))
}

// nothing is a call that has nothing to do: what a call costs by itself. A member that does
// not lead passes it on.
func (r *run) nothing(ctx context.Context) error {
	_, err := r.Client.ReportTaskResults(ctx, &v1.ReportTaskResultsRequest{NodeId: r.queue, SessionId: r.queue})
	return err
}

// get reads a task with everything acknowledged before.
func (r *run) get(ctx context.Context) (Result, error) {
	job, err := client.Submit[[]byte, []byte](ctx, r.Client, r.queue, r.payload, client.WithQueue(r.queue))
	if err != nil {
		return Result{}, err
	}
	return r.closed(ctx, "get", r.Callers, 1, func(ctx context.Context) error {
		_, err := r.Client.GetTask(ctx, &v1.GetTaskRequest{Id: job.ID()})
		return err
	})
}
