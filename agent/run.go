package agent

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/uuid"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/session"
	"github.com/raft-control-plane/control-plane/internal/tracing"
)

// run runs the attempt's process, if it is to run at all, and returns its outcome.
func (a *agent) run(at *session.Attempt) *controlplanev1.TaskResult {
	t := at.Task()
	spec, err := a.jobSpec(t)
	if err != nil {
		return at.Failed("cannot start: " + err.Error())
	}
	var proc *process
	out := newOutput(at.Log(), a.openLogFile(t))
	begun, err := at.Start(func(lease session.Deadlines) (session.Running, error) {
		spec.Lease = lease
		proc, err = startProcess(a.cfg.Supervisor, spec, out)
		return proc, err
	})
	if !begun {
		out.close()
		removeScratch(spec.Scratch)
		if err != nil {
			return at.Failed("cannot start: " + err.Error())
		}
		return at.Unfinished("it was stopped before it began")
	}
	a.log.Info("task started", append(tracing.LogAttrs(t), "name", t.GetName())...)
	e := proc.wait()
	if e.Survivors {
		a.log.Warn("processes of a task could not be killed", tracing.LogAttrs(t)...)
	}
	if e.Cause == supervisorLost {
		removeScratch(spec.Scratch)
	}
	a.supervisors.Go(func() { <-proc.gone })
	res := outcome(at, e, out)
	a.log.Info("task ended", append(tracing.LogAttrs(t), "status", res.GetStatus(), "error", res.GetError())...)
	return res
}

// jobSpec says what to run and where.
func (a *agent) jobSpec(t *controlplanev1.Task) (jobSpec, error) {
	if t.GetExec() == nil || len(t.GetExec().GetCommand()) == 0 {
		return jobSpec{}, fmt.Errorf("this node runs commands, and the task is none")
	}
	progress := filepath.Join(cmp.Or(a.cfg.WorkDir, os.TempDir()), fmt.Sprintf("%s-%d-%s.progress", t.GetId(), t.GetAttempt(), uuid.NewString()))
	spec := jobSpec{
		Command: t.GetExec().GetCommand(), Env: taskEnv(os.Environ(), t, a.spec.GetGpuDevices(), progress), ProgressFile: progress,
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

// outcome says what to report. Whatever ended by itself before an order to stop
// reached it counts as ended.
func outcome(at *session.Attempt, e exit, out *output) *controlplanev1.TaskResult {
	res := judge(at, e)
	if e.StartError == "" && e.Signal == 0 && e.Cause == endedByItself {
		code := int32(e.Code) //nolint:gosec // 0 to 255
		res.ExitCode = &code
		res.Result = out.result()
	}
	return res
}

func judge(at *session.Attempt, e exit) *controlplanev1.TaskResult {
	stopped := at.Fate() != session.Unstopped
	switch {
	case e.Cause == leaseEnded:
		return at.Unfinished("stopped because its node could not renew its lease in time")
	case e.Cause == timedOut:
		return at.Failed(fmt.Sprintf("timed out after %v", at.Task().GetTimeout().AsDuration()))
	case e.Cause == stoppedByOrder, stopped && e.Cause == supervisorLost:
		return at.Unfinished("stopped by its node")
	case stopped && (e.Signal == syscall.SIGTERM || e.Signal == syscall.SIGINT):
		// What stops the agent may have signalled its tasks too.
		return at.Unfinished("stopped with its node: " + e.describe())
	case e.StartError == "" && e.Signal == 0 && e.Code == 0:
		return at.Result(controlplanev1.TaskStatus_TASK_STATUS_COMPLETED, "")
	case e.Cause == supervisorLost:
		return at.Failed(e.StartError)
	}
	return at.Failed(e.describe())
}
