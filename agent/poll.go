package agent

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
func (a *agent) pollLoop(ctx context.Context, end context.CancelCauseFunc) {
	var wait backoff
	for {
		n := a.held.reserve(ctx)
		if n == 0 {
			return
		}
		err := a.poll(ctx, n, pollWait)
		a.held.release(n)
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
			a.askToRegister()
		default:
			a.log.Debug("poll failed", "error", err)
		}
		if !wait.sleep(ctx) {
			return
		}
	}
}

func (a *agent) askToRegister() {
	select {
	case a.registerAgain <- struct{}{}:
	default:
	}
}

// poll fetches up to n tasks and starts them.
func (a *agent) poll(ctx context.Context, n int, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait+pollSlack)
	defer cancel()
	complete := a.held.takeUncertain()
	req := &controlplanev1.PollTaskRequest{
		NodeId: a.cfg.Name, SessionId: a.session, MaxTasks: int32(n), Wait: durationpb.New(wait), //nolint:gosec // at most maxPollTasks
		Held: a.held.list(), HeldComplete: complete,
	}
	sent := bootClock()
	resp, err := a.cfg.ControlPlane.PollTask(ctx, req)
	if err != nil {
		a.held.setUncertain()
		return err
	}
	a.renewed(sent, resp.GetLease())
	a.begin(a.held.add(resp.GetTasks()))
	a.obey(resp.GetStop())
	return nil
}

// lastPoll asks, when the agent stops, for what the poll that was cut off may have
// been given: handed back, it is not counted as lost.
func (a *agent) lastPoll(ctx context.Context) {
	if !a.held.isUncertain() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastPollTime)
	defer cancel()
	if err := a.poll(ctx, min(a.cfg.Slots, maxPollTasks), 0); err != nil {
		a.log.Debug("last poll failed", "error", err)
	}
}
