// Package session is what every worker does to be a node: it registers, keeps the
// lease, fetches tasks for free slots, has each run, and reports how it ended.
//
// Five loops share one set of attempts (held.go): heartbeats (heartbeat.go), polls
// (poll.go), reports (report.go), what tasks print (relay.go), and a goroutine for each attempt (attempt.go). What
// an attempt runs, a process or a function, is the business of who uses the package.
package session

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/google/uuid"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Name is what a node may be called, and a resource that it has beside the common ones, by
// the contract.
var Name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// ErrReplaced is returned by Run when another worker registered under the same
// name. The session has stopped its tasks, and must not be started again under that
// name by itself: two workers would throw each other out for ever.
var ErrReplaced = errors.New("another worker registered under this node's name, so this one has stopped its tasks: " +
	"give each worker a name of its own, or stop the other one first")

// ControlPlane is what a session calls; client.Client is one. Errors carry a
// *connect.Error. It finds the member to ask by itself.
type ControlPlane interface {
	Heartbeat(context.Context, *controlplanev1.HeartbeatRequest) (*controlplanev1.HeartbeatResponse, error)
	PollTask(context.Context, *controlplanev1.PollTaskRequest) (*controlplanev1.PollTaskResponse, error)
	ReportTaskResults(context.Context, *controlplanev1.ReportTaskResultsRequest) (*controlplanev1.ReportTaskResultsResponse, error)
	PushLogs(context.Context, *controlplanev1.PushLogsRequest) (*controlplanev1.PushLogsResponse, error)
}

// Config is what a session needs. Every field is required, but for Usage and Terminating.
type Config struct {
	ControlPlane ControlPlane
	// Name is the node's id.
	Name string
	// Spec is what the node says of itself; its slots bound the attempts at a time.
	Spec *controlplanev1.NodeSpec
	// Run runs an attempt to its end and returns its outcome. It begins what runs by
	// Attempt.Start. What it returns for a dropped attempt is not reported.
	Run func(*Attempt) *controlplanev1.TaskResult
	// Usage measures the machine for a heartbeat.
	Usage func(context.Context) *controlplanev1.NodeUsage
	// Terminating tells when the machine is taken away; the zero time while that is
	// not known. It may be nil.
	Terminating func() time.Time
	// StopGrace is how long an attempt that was cancelled has to end, ShutdownGrace
	// how long all have when the worker stops.
	StopGrace, ShutdownGrace time.Duration
	Logger                   *slog.Logger
}

// session is one session of a node.
type session struct {
	cfg     Config
	log     *slog.Logger
	id      string
	lease   lease
	held    *held
	reports *reports
	relay   *relay
	// running counts the goroutines of attempts.
	running sync.WaitGroup
	// unheard is true while calls fail, so that an outage is logged once.
	unheard outage
	// registerAgain is a signal to the heartbeats: a poll found the node unknown.
	registerAgain chan struct{}
}

// Run registers the node and runs tasks until ctx ends. It then stops what runs,
// hands it back unfinished and returns nil, within about ShutdownGrace and 2 s. It
// returns ErrReplaced when another worker took the node's name, and other errors when
// it cannot begin at all. registered, if not nil, is called when the node is known.
func Run(ctx context.Context, cfg Config, registered func()) error {
	s := &session{cfg: cfg, id: uuid.NewString(), reports: newReports(), relay: newRelay(), registerAgain: make(chan struct{}, 1)}
	s.held = newHeld(int(cfg.Spec.GetSlots()), &s.lease, s.relay)
	s.log = cfg.Logger.With("node", cfg.Name, "session", s.id)
	if err := s.register(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.log.Info("registered", "slots", cfg.Spec.GetSlots(), "cpu_millis", cfg.Spec.GetCapacity().GetCpuMillis(),
		"memory_bytes", cfg.Spec.GetCapacity().GetMemoryBytes(), "gpus", len(cfg.Spec.GetGpuDevices()))
	if registered != nil {
		registered()
	}
	return s.work(ctx)
}

// work runs the loops until ctx ends or the session does.
func (s *session) work(ctx context.Context) error {
	// The loops but the polls outlive ctx: they are needed to hand back what runs.
	live, end := context.WithCancelCause(context.WithoutCancel(ctx))
	polling, stopPolls := context.WithCancel(live)
	defer stopPolls()
	var loops, polls sync.WaitGroup
	polls.Go(func() { s.pollLoop(polling, end) })
	loops.Go(func() { s.heartbeatLoop(live, end) })
	loops.Go(func() { s.reportLoop(live) })
	loops.Go(func() { s.relayLoop(live) })
	select {
	case <-ctx.Done():
		s.shutDown(live, func() { stopPolls(); polls.Wait() })
	case <-live.Done():
	}
	end(nil)
	s.held.stopAll(Dropped, 0)
	polls.Wait()
	loops.Wait()
	WaitAtMost(&s.running, endTime)
	if err := context.Cause(live); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// shutDown stops what runs and hands it back.
func (s *session) shutDown(live context.Context, stopPolls func()) {
	live, cancel := context.WithTimeout(live, s.cfg.ShutdownGrace+handBackTime)
	defer cancel()
	s.held.drain()
	if n := s.held.stopAll(HandedBack, s.cfg.ShutdownGrace); n > 0 {
		s.log.Info("stopping: the tasks that run are stopped and handed back", "tasks", n, "grace", s.cfg.ShutdownGrace)
	}
	stopPolls()
	s.lastPoll(live)
	if n := s.held.awaitEmpty(live); n > 0 {
		s.log.Warn("tasks could not be handed back: they go to other nodes when the lease is over", "tasks", n)
	}
}

const (
	// handBackTime is how long the last reports may take.
	handBackTime = 2 * time.Second
	// endTime is how long Run waits for attempts that do not end although they were
	// stopped.
	endTime = time.Second
)

// WaitAtMost waits for a group, but no longer than limit.
func WaitAtMost(wg *sync.WaitGroup, limit time.Duration) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// begin starts attempts, each in a goroutine of its own.
func (s *session) begin(fresh []*Attempt) {
	for _, at := range fresh {
		s.running.Go(func() { s.run(at) })
	}
}

// run runs an attempt to its end and has it reported, unless it was dropped: see
// undropped.
func (s *session) run(at *Attempt) {
	if at.older != nil {
		<-at.older.ended
		at.older = nil
	}
	res := s.cfg.Run(at)
	if res != nil {
		res.LogTail, res.LogOffset = at.log.Tail()
		if p := at.progress(); p != nil {
			res.Progress = p
		}
	}
	close(at.ended)
	s.reports.add(at, res)
}

func (s *session) usage(ctx context.Context) *controlplanev1.NodeUsage {
	if s.cfg.Usage == nil {
		return nil
	}
	return s.cfg.Usage(ctx)
}
