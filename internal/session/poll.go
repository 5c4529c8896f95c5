package session

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// pollWait is how long a poll waits for the first task.
	pollWait = 20 * time.Second
	// pollSlack is how much longer its answer may take.
	pollSlack = 10 * time.Second
	// lastPollTime bounds the poll that finds what was lost at the end.
	lastPollTime = time.Second
)

// pollLoop fetches tasks for free slots until ctx ends; it ends the session when
// that was replaced.
func (s *session) pollLoop(ctx context.Context, end context.CancelCauseFunc) {
	var wait backoff
	for {
		n := s.held.reserve(ctx)
		if n == 0 {
			return
		}
		err := s.poll(ctx, n, pollWait)
		s.held.release(n)
		switch code := connect.CodeOf(err); {
		case err == nil:
			wait = backoff{}
			continue
		case ctx.Err() != nil:
			return
		case code == connect.CodeFailedPrecondition:
			end(fmt.Errorf("%w (%s)", ErrReplaced, err.Error()))
			return
		case code == connect.CodeNotFound:
			s.askToRegister()
		default:
			s.log.Debug("poll failed", "error", err)
		}
		if !wait.sleep(ctx) {
			return
		}
	}
}

func (s *session) askToRegister() {
	select {
	case s.registerAgain <- struct{}{}:
	default:
	}
}

// poll fetches up to n tasks and starts them.
func (s *session) poll(ctx context.Context, n int, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait+pollSlack)
	defer cancel()
	complete := s.held.takeUncertain()
	req := &controlplanev1.PollTaskRequest{
		NodeId: s.cfg.Name, SessionId: s.id, MaxTasks: int32(n), Wait: durationpb.New(wait), //nolint:gosec // at most maxPollTasks
		Held: s.held.list(), HeldComplete: complete,
	}
	sent := BootClock()
	resp, err := s.cfg.ControlPlane.PollTask(ctx, req)
	if err != nil {
		s.held.setUncertain()
		return err
	}
	s.renewed(sent, resp.GetLease())
	s.begin(s.held.add(resp.GetTasks()))
	s.obey(resp.GetStop())
	return nil
}

// lastPoll asks, when the agent stops, for what the poll that was cut off may have
// been given: handed back, it is not counted as lost.
func (s *session) lastPoll(ctx context.Context) {
	if !s.held.isUncertain() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastPollTime)
	defer cancel()
	if err := s.poll(ctx, min(int(s.cfg.Spec.GetSlots()), maxPollTasks), 0); err != nil {
		s.log.Debug("last poll failed", "error", err)
	}
}
