package session

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/raft-control-plane/control-plane"
	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// renewed extends the lease and the deadlines of all processes.
func (s *session) renewed(sent time.Duration, length *durationpb.Duration) {
	d, moved := s.lease.renewed(sent, length.AsDuration())
	if !moved {
		return
	}
	for _, at := range s.held.all() {
		at.extend(d)
	}
}

// obey stops what the control plane says.
func (s *session) obey(stops []*controlplanev1.StopAttempt) {
	for _, stop := range stops {
		at := s.held.get(attemptKey{task: stop.GetTaskId(), number: stop.GetAttempt()})
		switch {
		case at == nil: // it has ended meanwhile
		case stop.GetReason() == controlplane.StopCancelled:
			at.stop(Cancelled, s.cfg.StopGrace)
		case stop.GetReason() == controlplane.StopDrained:
			at.stop(HandedBack, s.cfg.StopGrace)
		case stop.GetReason() == controlplane.StopNoProgress:
			if at.Fate() < Stuck {
				s.log.Warn("task makes no progress: stopped", "task", at.key.task, "attempt", at.key.number)
			}
			at.stop(Stuck, s.cfg.StopGrace)
		default:
			if !at.IsDropped() {
				s.log.Warn("task is no longer this node's: stopped and dropped", "task", at.key.task, "attempt", at.key.number)
			}
			at.stop(Dropped, 0)
			s.reports.wakeUp() // a report of it may be waiting
		}
	}
}

// beat sends one heartbeat.
func (s *session) beat(ctx context.Context, spec *controlplanev1.NodeSpec) error {
	ctx, cancel := context.WithTimeout(ctx, min(s.lease.interval(), controlplane.HeartbeatInterval))
	defer cancel()
	req := &controlplanev1.HeartbeatRequest{
		NodeId: s.cfg.Name, SessionId: s.id, Spec: spec, Usage: s.usage(ctx), Held: s.held.list(),
	}
	if s.cfg.Terminating != nil {
		if at := s.cfg.Terminating(); !at.IsZero() {
			req.TerminatingTime = timestamppb.New(at)
		}
	}
	sent := BootClock()
	resp, err := s.cfg.ControlPlane.Heartbeat(ctx, req)
	if err != nil {
		return err
	}
	s.saidSo(req.GetHeld())
	s.renewed(sent, resp.GetLease())
	s.logsHeldBy(resp.GetLogGeneration())
	s.obey(resp.GetStop())
	return nil
}

// register registers the node, and waits for a control plane that does not answer
// yet. Errors that waiting cannot mend are returned.
func (s *session) register(ctx context.Context) error {
	for wait := (backoff{}); ; {
		err := s.beat(ctx, s.cfg.Spec)
		switch code := connect.CodeOf(err); {
		case err == nil:
			s.unheard.over(s.log)
			return nil
		case code == connect.CodeFailedPrecondition:
			return fmt.Errorf("%w (%s)", ErrReplaced, err.Error())
		case code == connect.CodeUnauthenticated, code == connect.CodePermissionDenied,
			code == connect.CodeInvalidArgument, code == connect.CodeUnimplemented, code == connect.CodeNotFound:
			return fmt.Errorf("register node %s: %w", s.cfg.Name, err)
		}
		s.unheard.begin(s.log, err)
		if !wait.sleep(ctx) {
			return ctx.Err()
		}
	}
}

// heartbeatLoop renews the lease until ctx ends; it ends the session when that was
// replaced.
func (s *session) heartbeatLoop(ctx context.Context, end context.CancelCauseFunc) {
	var retry backoff
	var spec *controlplanev1.NodeSpec // set to register again
	timer := time.NewTimer(s.lease.interval())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.registerAgain:
			spec = s.cfg.Spec
		case <-ctx.Done():
			return
		}
		err := s.beat(ctx, spec)
		switch code := connect.CodeOf(err); {
		case err == nil:
			s.unheard.over(s.log)
			spec, retry = nil, backoff{}
			timer.Reset(s.lease.interval())
			continue
		case ctx.Err() != nil:
			return
		case code == connect.CodeFailedPrecondition:
			end(fmt.Errorf("%w (%s)", ErrReplaced, err.Error()))
			return
		case code == connect.CodeNotFound && spec == nil:
			s.log.Warn("the control plane does not know this node: registering again")
			spec = s.cfg.Spec
		default:
			s.unheard.begin(s.log, err)
		}
		timer.Reset(min(retry.next(), s.lease.interval()))
	}
}
