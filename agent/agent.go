// Package agent is the worker side of the control plane: it registers a machine as
// a node, keeps its lease, fetches exec tasks, runs each as a process and reports
// how it ended.
//
// What makes it a node is in internal/session; here an attempt becomes a process
// (run.go). It runs under a supervisor, which is a process of its own (supervisor.go):
// it knows the deadline by which the lease must be renewed, and so ends the process in
// time even if the agent has been stopped or killed.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"connectrpc.com/connect"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/session"
)

// ErrReplaced is returned by Run when another agent registered under the same
// name. The agent has stopped its tasks, and must not be started again under that
// name by itself: two agents would throw each other out for ever.
var ErrReplaced = session.ErrReplaced

// ControlPlane is what the agent calls; client.Client is one.
type ControlPlane = session.ControlPlane

// agent turns attempts into processes.
type agent struct {
	cfg  Config
	log  *slog.Logger
	spec *controlplanev1.NodeSpec
	// supervisors are those whose command has ended: they still remove directories.
	supervisors sync.WaitGroup
}

// supervisorTime is how long Run waits for supervisors. They go on without the agent,
// which kills what they still run by ending.
const supervisorTime = time.Second

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
	if err := makeLogDir(&cfg); err != nil {
		return err
	}
	remove, err := makeWorkDir(&cfg)
	if err != nil {
		return err
	}
	defer remove()
	a := &agent{cfg: cfg, spec: spec, log: cfg.Logger.With("node", cfg.Name)}
	a.warnOfOther(ctx)
	err = session.Run(ctx, session.Config{
		ControlPlane: cfg.ControlPlane, Name: cfg.Name, Spec: spec, Run: a.run, Usage: usage,
		Terminating: (&notice{file: cfg.TerminationFile, log: a.log}).time,
		StopGrace:   cfg.StopGrace, ShutdownGrace: cfg.ShutdownGrace, Logger: cfg.Logger,
	}, nil)
	session.WaitAtMost(&a.supervisors, supervisorTime)
	switch code := connect.CodeOf(err); {
	case errors.Is(err, ErrReplaced):
		return fmt.Errorf("--name %s: %w", cfg.Name, err)
	case code == connect.CodeUnauthenticated, code == connect.CodePermissionDenied:
		return fmt.Errorf("%w; check --token-file", err)
	}
	return err
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
