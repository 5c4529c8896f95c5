package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// lease is until when the node may run its tasks, by its own clock (see
// bootClock). It counts from when the agent SENT the last renewal that was
// acknowledged: the control plane counts from later, so the node stops first.
// At four fifths of the lease processes get SIGTERM, at nine tenths SIGKILL; the
// rest is for killing and for clocks that run apart.
//
// The supervisors hold the deadlines and act on them; see deadlines.
type lease struct {
	mu     sync.Mutex
	length time.Duration
	until  deadlines
}

// renewed takes in a renewal, and reports whether it moves the deadlines: an answer
// to a long poll may be older than a heartbeat's.
func (l *lease) renewed(sent, length time.Duration) (deadlines, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := deadlines{Stop: sent + length*4/5, Kill: sent + length*9/10}
	if length <= 0 || d.Stop <= l.until.Stop {
		return l.until, false
	}
	l.length, l.until = length, d
	return d, true
}

func (l *lease) deadlines() deadlines {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// interval is how often to renew: a third of the lease.
func (l *lease) interval() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.length == 0 {
		return controlplane.HeartbeatInterval
	}
	return l.length / 3
}

// renewed extends the lease and the deadlines of all processes.
func (a *agent) renewed(sent time.Duration, length *durationpb.Duration) {
	d, moved := a.lease.renewed(sent, length.AsDuration())
	if !moved {
		return
	}
	for _, at := range a.held.all() {
		at.extend(d)
	}
}

// obey stops what the control plane says.
func (a *agent) obey(stops []*controlplanev1.StopAttempt) {
	for _, s := range stops {
		at := a.held.get(attemptKey{task: s.GetTaskId(), number: s.GetAttempt()})
		switch {
		case at == nil: // it has ended meanwhile
		case s.GetReason() == controlplane.StopCancelled:
			at.stop(cancelled, a.cfg.StopGrace)
		default:
			if !at.isDropped() {
				a.log.Warn("task is no longer this node's: stopped and dropped", "task", at.key.task, "attempt", at.key.number)
			}
			at.stop(dropped, 0)
			a.reports.wakeUp() // a report of it may be waiting
		}
	}
}

// beat sends one heartbeat.
func (a *agent) beat(ctx context.Context, spec *controlplanev1.NodeSpec) error {
	ctx, cancel := context.WithTimeout(ctx, min(a.lease.interval(), controlplane.HeartbeatInterval))
	defer cancel()
	req := &controlplanev1.HeartbeatRequest{
		NodeId: a.cfg.Name, SessionId: a.session, Spec: spec, Usage: usage(ctx), Held: a.held.list(),
	}
	sent := bootClock()
	resp, err := a.cfg.ControlPlane.Heartbeat(ctx, req)
	if err != nil {
		return err
	}
	a.renewed(sent, resp.GetLease())
	a.obey(resp.GetStop())
	return nil
}

// register registers the node, and waits for a control plane that does not answer
// yet. Errors that waiting cannot mend are returned.
func (a *agent) register(ctx context.Context) error {
	for wait := (backoff{}); ; {
		err := a.beat(ctx, a.spec)
		switch code := connect.CodeOf(err); {
		case err == nil:
			a.unheard.over(a.log)
			return nil
		case code == connect.CodeFailedPrecondition:
			return fmt.Errorf("%w (%s)", ErrReplaced, err.Error())
		case code == connect.CodeUnauthenticated, code == connect.CodePermissionDenied:
			return fmt.Errorf("register node %s: %w; check --token-file", a.cfg.Name, err)
		case code == connect.CodeInvalidArgument, code == connect.CodeUnimplemented, code == connect.CodeNotFound:
			return fmt.Errorf("register node %s: %w", a.cfg.Name, err)
		}
		a.unheard.begin(a.log, err)
		if !wait.sleep(ctx) {
			return ctx.Err()
		}
	}
}

// heartbeatLoop renews the lease until ctx ends; it ends the session when that was
// replaced.
func (a *agent) heartbeatLoop(ctx context.Context, end context.CancelCauseFunc) {
	var retry backoff
	var spec *controlplanev1.NodeSpec // set to register again
	timer := time.NewTimer(a.lease.interval())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-a.registerAgain:
			spec = a.spec
		case <-ctx.Done():
			return
		}
		err := a.beat(ctx, spec)
		switch code := connect.CodeOf(err); {
		case err == nil:
			a.unheard.over(a.log)
			spec, retry = nil, backoff{}
			timer.Reset(a.lease.interval())
			continue
		case ctx.Err() != nil:
			return
		case code == connect.CodeFailedPrecondition:
			end(fmt.Errorf("%w (%s)", ErrReplaced, err.Error()))
			return
		case code == connect.CodeNotFound && spec == nil:
			a.log.Warn("the control plane does not know this node: registering again")
			spec = a.spec
		default:
			a.unheard.begin(a.log, err)
		}
		timer.Reset(min(retry.next(), a.lease.interval()))
	}
}

// backoff grows from 100 ms to 2 s, with jitter.
type backoff struct {
	wait time.Duration
}

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 2 * time.Second
)

func (b *backoff) next() time.Duration {
	b.wait = min(max(minBackoff, 2*b.wait), maxBackoff)
	return time.Duration(float64(b.wait) * (0.75 + rand.Float64()/2)) //nolint:gosec // not a secret
}

// sleep waits, and reports false when ctx ends first.
func (b *backoff) sleep(ctx context.Context) bool {
	t := time.NewTimer(b.next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// outage logs the beginning and the end of a time without answers, once each.
type outage struct {
	mu    sync.Mutex
	since time.Time
}

func (o *outage) begin(log *slog.Logger, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		log.Debug("no answer from the control plane", "error", err)
		return
	}
	o.since = time.Now()
	log.Warn("no answer from the control plane: trying on", "error", err)
}

func (o *outage) over(log *slog.Logger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		log.Info("the control plane answers again", "after", time.Since(o.since).Round(time.Millisecond))
		o.since = time.Time{}
	}
}
