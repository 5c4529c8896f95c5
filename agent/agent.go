// Package agent is the worker side of the control plane: it registers a machine as
// a node, keeps its lease, fetches exec tasks, runs each as a process and reports
// how it ended.
//
// Four loops share one set of attempts (held.go): heartbeats (session.go), polls
// (poll.go), reports (report.go), and a goroutine for each attempt (run.go). A
// process runs under a supervisor, which is a process of its own (supervisor.go):
// it knows the deadline by which the lease must be renewed, and so ends the
// process in time even if the agent has been stopped or killed.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// ErrReplaced is returned by Run when another agent registered under the same
// name. The agent has stopped its tasks, and must not be started again under that
// name by itself: two agents would throw each other out for ever.
var ErrReplaced = errors.New("another agent registered under this node's name, so this one has stopped its tasks: " +
	"give each machine a name of its own (--name), or stop the other agent first")

// ControlPlane is what the agent calls; client.Client is one. Errors carry a
// *connect.Error. It finds the member to ask by itself.
type ControlPlane interface {
	Heartbeat(context.Context, *controlplanev1.HeartbeatRequest) (*controlplanev1.HeartbeatResponse, error)
	PollTask(context.Context, *controlplanev1.PollTaskRequest) (*controlplanev1.PollTaskResponse, error)
	ReportTaskResults(context.Context, *controlplanev1.ReportTaskResultsRequest) (*controlplanev1.ReportTaskResultsResponse, error)
}

// agent is one session of a node.
type agent struct {
	cfg     Config
	log     *slog.Logger
	session string
	spec    *controlplanev1.NodeSpec
	lease   lease
	held    *held
	reports *reports
	// running counts the goroutines of attempts.
	running sync.WaitGroup
	// unheard is true while calls fail, so that an outage is logged once.
	unheard outage
	// registerAgain is a signal to the heartbeats: a poll found the node unknown.
	registerAgain chan struct{}
}

// Run registers the machine and runs tasks until ctx ends. It then stops what runs,
// hands it back unfinished and returns nil, within about Config.ShutdownGrace and 2 s.
// It returns ErrReplaced when another agent took the node's name, and other errors
// when it cannot begin at all.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	spec, err := cfg.spec(ctx)
	if err != nil {
		return err
	}
	remove, err := makeWorkDir(&cfg)
	if err != nil {
		return err
	}
	defer remove()
	a := &agent{
		cfg: cfg, session: uuid.NewString(), spec: spec,
		held: newHeld(cfg.Slots), reports: newReports(), registerAgain: make(chan struct{}, 1),
	}
	a.log = cfg.Logger.With("node", cfg.Name, "session", a.session)
	if err := a.register(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	a.log.Info("registered", "slots", cfg.Slots, "cpu_millis", spec.GetCapacity().GetCpuMillis(),
		"memory_bytes", spec.GetCapacity().GetMemoryBytes(), "gpus", len(spec.GetGpuDevices()), "work_dir", cfg.WorkDir)
	return a.work(ctx)
}

// work runs the loops until ctx ends or the session does.
func (a *agent) work(ctx context.Context) error {
	// The loops but the polls outlive ctx: they are needed to hand back what runs.
	live, end := context.WithCancelCause(context.WithoutCancel(ctx))
	polling, stopPolls := context.WithCancel(live)
	defer stopPolls()
	var loops, polls sync.WaitGroup
	polls.Go(func() { a.pollLoop(polling, end) })
	loops.Go(func() { a.heartbeatLoop(live, end) })
	loops.Go(func() { a.reportLoop(live) })
	select {
	case <-ctx.Done():
		a.shutDown(live, func() { stopPolls(); polls.Wait() })
	case <-live.Done():
	}
	end(nil)
	a.held.stopAll(dropped, 0)
	polls.Wait()
	loops.Wait()
	waitAtMost(&a.running, endTime)
	if err := context.Cause(live); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// shutDown stops what runs and hands it back.
func (a *agent) shutDown(live context.Context, stopPolls func()) {
	live, cancel := context.WithTimeout(live, a.cfg.ShutdownGrace+handBackTime)
	defer cancel()
	a.held.drain()
	if n := a.held.stopAll(handedBack, a.cfg.ShutdownGrace); n > 0 {
		a.log.Info("stopping: the tasks that run are stopped and handed back", "tasks", n, "grace", a.cfg.ShutdownGrace)
	}
	stopPolls()
	a.lastPoll(live)
	if n := a.held.awaitEmpty(live); n > 0 {
		a.log.Warn("tasks could not be handed back: they go to other nodes when the lease is over", "tasks", n)
	}
}

const (
	// handBackTime is how long the last reports may take.
	handBackTime = 2 * time.Second
	// endTime is how long Run waits for supervisors that remove directories. They
	// go on without the agent, which kills what they still run by ending.
	endTime = time.Second
)

func waitAtMost(wg *sync.WaitGroup, limit time.Duration) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// makeWorkDir makes the directory for the tasks' own directories. One that was not
// given is a fresh one, removed at the end.
func makeWorkDir(cfg *Config) (remove func(), err error) {
	if cfg.WorkDir != "" {
		if err := os.MkdirAll(cfg.WorkDir, 0o700); err != nil {
			return nil, fmt.Errorf("--work-dir: %w", err)
		}
		return func() {}, nil
	}
	if cfg.WorkDir, err = os.MkdirTemp("", "raft-node-agent-"); err != nil {
		return nil, fmt.Errorf("make a directory for tasks: %w: give --work-dir", err)
	}
	return func() { _ = os.Remove(cfg.WorkDir) }, nil // supervisors empty it
}
