package agent

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// maxErrorBytes bounds the text of an error, by the contract.
const maxErrorBytes = 4 << 10

// fate is what is to become of an attempt that is stopped. A later one counts only
// if it is greater.
type fate int

const (
	unstopped  fate = iota
	handedBack      // the agent is going away: report it unfinished
	cancelled       // report CANCELLED
	dropped         // it is no longer this node's: report nothing
)

// attempt is one try of a task on this node.
type attempt struct {
	key   attemptKey
	task  *controlplanev1.Task
	older *attempt      // of the same task; must end before this one begins
	ended chan struct{} // closed when nothing of it runs

	mu   sync.Mutex
	fate fate
	proc *process // nil before it runs
}

func keyOf(t *controlplanev1.Task) attemptKey {
	return attemptKey{task: t.GetId(), number: t.GetAttempt()}
}

func newAttempt(t *controlplanev1.Task, older *attempt) *attempt {
	return &attempt{key: keyOf(t), task: t, older: older, ended: make(chan struct{})}
}

// stop ends the attempt: SIGTERM, and SIGKILL after the grace period.
func (at *attempt) stop(f fate, grace time.Duration) {
	at.mu.Lock()
	defer at.mu.Unlock()
	at.fate = max(at.fate, f)
	if at.proc != nil {
		at.proc.stop(grace)
	}
}

func (at *attempt) isDropped() bool { return at.fated() == dropped }

func (at *attempt) fated() fate {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.fate
}

// extend moves the deadline by which the attempt's process must end.
func (at *attempt) extend(lease deadlines) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.proc != nil {
		at.proc.extend(lease)
	}
}

// begin starts attempts, each in a goroutine of its own.
func (a *agent) begin(fresh []*attempt) {
	for _, at := range fresh {
		a.running.Go(func() { a.run(at) })
	}
}

// run runs an attempt to its end and has it reported, unless it was dropped: see
// undropped.
func (a *agent) run(at *attempt) {
	if at.older != nil {
		<-at.older.ended
		at.older = nil
	}
	res := a.execute(at)
	close(at.ended)
	a.reports.add(at, res)
}

// execute runs the attempt's process, if it is to run at all, and returns its
// outcome.
func (a *agent) execute(at *attempt) *controlplanev1.TaskResult {
	spec, err := a.jobSpec(at.task)
	if err != nil {
		return at.failed("cannot start: " + err.Error())
	}
	proc, err := a.start(at, spec)
	if err != nil || proc == nil {
		removeScratch(spec.Scratch)
		if err != nil {
			return at.failed("cannot start: " + err.Error())
		}
		return at.unfinished("it was stopped before it began")
	}
	a.log.Info("task started", "task", at.key.task, "attempt", at.key.number, "name", at.task.GetName())
	e := proc.wait()
	if e.Survivors {
		a.log.Warn("processes of a task could not be killed", "task", at.key.task, "attempt", at.key.number)
	}
	if e.Cause == supervisorLost {
		removeScratch(spec.Scratch)
	}
	a.running.Go(func() { <-proc.gone })
	res := at.outcome(e, &proc.output)
	a.log.Info("task ended", "task", at.key.task, "attempt", at.key.number, "status", res.GetStatus(), "error", res.GetError())
	return res
}

// jobSpec says what to run and where.
func (a *agent) jobSpec(t *controlplanev1.Task) (jobSpec, error) {
	if t.GetExec() == nil || len(t.GetExec().GetCommand()) == 0 {
		return jobSpec{}, fmt.Errorf("this node runs commands, and the task is none")
	}
	spec := jobSpec{
		Command: t.GetExec().GetCommand(), Env: taskEnv(os.Environ(), t, len(a.spec.GetGpuDevices()) > 0),
		Dir: t.GetExec().GetWorkingDir(), Timeout: t.GetTimeout().AsDuration(), Grace: a.cfg.StopGrace,
	}
	if spec.Dir == "" {
		dir, err := os.MkdirTemp(a.cfg.WorkDir, fmt.Sprintf("%s-%d-", t.GetId(), t.GetAttempt()))
		if err != nil {
			return jobSpec{}, fmt.Errorf("make a working directory: %w", err)
		}
		spec.Dir, spec.Scratch = dir, dir
	}
	return spec, nil
}

func removeScratch(dir string) {
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
}

// start starts the process, unless the attempt was stopped meanwhile: then it
// returns nil. at.mu is held, so that neither a stop nor a longer lease is missed.
func (a *agent) start(at *attempt, spec jobSpec) (*process, error) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.fate != unstopped {
		return nil, nil
	}
	spec.Lease = a.lease.deadlines()
	proc, err := startProcess(a.cfg.Supervisor, spec)
	at.proc = proc
	return proc, err
}

// outcome says what to report. Whatever ended by itself before an order to stop
// reached it counts as ended.
func (at *attempt) outcome(e exit, out *output) *controlplanev1.TaskResult {
	res := at.judge(e)
	res.LogTail = out.logTail()
	if e.StartError == "" && e.Signal == 0 && e.Cause == endedByItself {
		code := int32(e.Code) //nolint:gosec // 0 to 255
		res.ExitCode = &code
		res.Result = out.result()
	}
	return res
}

func (at *attempt) judge(e exit) *controlplanev1.TaskResult {
	stopped := at.fated() != unstopped
	switch {
	case e.Cause == leaseEnded:
		return at.unfinished("stopped because its node could not renew its lease in time")
	case e.Cause == timedOut:
		return at.failed(fmt.Sprintf("timed out after %v", at.task.GetTimeout().AsDuration()))
	case e.Cause == stoppedByOrder, stopped && e.Cause == supervisorLost:
		return at.unfinished("stopped by its node")
	case stopped && (e.Signal == syscall.SIGTERM || e.Signal == syscall.SIGINT):
		// What stops the agent may have signalled its tasks too.
		return at.unfinished("stopped with its node: " + e.describe())
	case e.StartError == "" && e.Signal == 0 && e.Code == 0:
		return at.result(controlplanev1.TaskStatus_TASK_STATUS_COMPLETED, "")
	case e.Cause == supervisorLost:
		return at.failed(e.StartError)
	}
	return at.failed(e.describe())
}

// unfinished is the outcome of an attempt that was stopped on purpose.
func (at *attempt) unfinished(why string) *controlplanev1.TaskResult {
	if at.fated() == cancelled {
		return at.result(controlplanev1.TaskStatus_TASK_STATUS_CANCELLED, "")
	}
	return at.result(controlplanev1.TaskStatus_TASK_STATUS_PENDING, why)
}

func (at *attempt) failed(why string) *controlplanev1.TaskResult {
	return at.result(controlplanev1.TaskStatus_TASK_STATUS_FAILED, why)
}

func (at *attempt) result(status controlplanev1.TaskStatus, why string) *controlplanev1.TaskResult {
	return &controlplanev1.TaskResult{TaskId: at.key.task, Attempt: at.key.number, Status: status, Error: cutString(why, maxErrorBytes)}
}
