package service

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
)

// hopHeader marks a call that a member has forwarded. It is not forwarded again:
// two members that take each other for the leader must not play ball.
const hopHeader = "Control-Plane-Forwarded"

// leadCheckInterval is how often a call that waits for this member to begin its
// term looks whether it still leads.
const leadCheckInterval = 50 * time.Millisecond

// call is one RPC that only the leader can answer.
type call[Res any] struct {
	header http.Header
	// here answers it on this member, which leads.
	here func(ctx context.Context) (*Res, error)
	// there sends it to the leader.
	there func(ctx context.Context, leader *peer) (*connect.Response[Res], error)
	// key is the field by which a repeat of the call is safe; "" if none makes it so.
	key string
	// safe is set for calls of which a repeat is safe as it stands.
	safe bool
	// poll is set for calls that wait for work and change nothing that a repeat
	// would not: once begun they are not tried again here, the caller polls again.
	poll bool
}

// do runs the call on the leader, wherever it is. While it is certain that
// nothing was changed it is tried again until the caller's time is over.
func (c call[Res]) do(ctx context.Context, s *server) (*connect.Response[Res], error) {
	w := newWait(ctx)
	defer w.end()
	for {
		res, again, err := c.try(ctx, s, w)
		if !again {
			return res, c.doubt(err)
		}
		if !w.pause() {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, noLeader()
		}
	}
}

func (c call[Res]) try(ctx context.Context, s *server, w *wait) (res *connect.Response[Res], again bool, err error) {
	address, self, known := s.engine.Leader()
	hop := c.header.Get(hopHeader) != ""
	switch {
	case known && self:
		if !s.awaitWritable(w) {
			return nil, true, nil
		}
		msg, err := c.here(ctx)
		again := !hop && !c.poll && isUnavailable(err)
		if err != nil {
			return nil, again, err
		}
		return connect.NewResponse(msg), false, nil
	case hop:
		return nil, false, notLeader(address)
	case known:
		res, err := c.there(ctx, s.peers.get(address))
		if err == nil {
			return passOn(res), false, nil
		}
		again, err := s.sort(ctx, err, address, c.poll)
		return nil, again, err
	}
	if err = s.engine.AwaitLeader(w.context()); err == nil || !hasReason(err) {
		return nil, err == nil, noLeader()
	}
	return nil, false, err
}

// isUnavailable reports whether a call may be tried again: an error with a reason of
// its own says what to do instead.
func isUnavailable(err error) bool {
	return controlplane.CodeOf(err) == controlplane.CodeUnavailable && !hasReason(err)
}

func hasReason(err error) bool {
	e, ok := errors.AsType[*controlplane.Error](err)
	return ok && e.Reason != ""
}

// passOn returns a fresh response with what of the leader's header is the
// contract's.
func passOn[Res any](res *connect.Response[Res]) *connect.Response[Res] {
	out := connect.NewResponse(res.Msg)
	out.Header().Set(appliedHeader, res.Header().Get(appliedHeader))
	return out
}

// awaitWritable waits until this member, which has been elected, takes writes;
// false if it leads no longer or time is over.
func (s *server) awaitWritable(w *wait) bool {
	if s.Tasks.IsWritable() {
		return true
	}
	ctx := w.context()
	for {
		step, cancel := context.WithTimeout(ctx, leadCheckInterval)
		err := s.Tasks.AwaitWritable(step)
		cancel()
		if err == nil {
			return true
		}
		if _, self, _ := s.engine.Leader(); !self || ctx.Err() != nil {
			return false
		}
	}
}

// doubt tells the caller what to do when the outcome is not known.
func (c call[Res]) doubt(err error) error {
	if c.safe && controlplane.CodeOf(err) == controlplane.CodeUnknownOutcome {
		return controlplane.Errorf(controlplane.CodeUnknownOutcome,
			"the leader was lost while the call was under way, so it may or may not take effect: see by 'raft-node cluster status', or repeat it, which is safe")
	}
	return withRetryKey(err, c.key)
}

// withRetryKey tells, where the outcome of a write is not known, by which key a
// repeat is safe. What a leader sent says so already.
func withRetryKey(err error, key string) error {
	var e *controlplane.Error
	if !errors.As(err, &e) || e.Code != controlplane.CodeUnknownOutcome {
		return err
	}
	out := *e
	out.Reason = reasonOutcomeUnknown
	if key == "" {
		out.Message = "the write may or may not take effect, and it has neither task.id nor request_id, so that a repeat might store a second task: " +
			"look by ListTasks whether it is there, and give a key the next time"
		return &out
	}
	out.Metadata = map[string]string{retryKey: key}
	out.Message += " (the key is " + key + ")"
	return &out
}

func notLeader(leader string) error {
	ce := connect.NewError(connect.CodeUnavailable, errors.New("this member does not lead: the call was not begun"))
	addDetail(ce, errorInfo(reasonNotLeader, leader))
	return ce
}

// sort tells what became of a forwarded call that failed: whether it may be tried
// again, else what the caller is told.
func (s *server) sort(ctx context.Context, err error, leader string, poll bool) (again bool, _ error) {
	var ce *connect.Error
	if errors.As(err, &ce) && connect.IsWireError(err) {
		switch reason, _ := reasonOf(ce); {
		case reason == reasonNotLeader, reason == reasonUnavailable && !poll:
			return true, err
		case ce.Code() == connect.CodeUnauthenticated || ce.Code() == connect.CodePermissionDenied:
			s.log.Error("the leader refuses this member's calls: all members must have the same token", "leader", leader, "error", err)
			return false, connect.NewError(connect.CodeInternal, errInternal)
		case ce.Code() != connect.CodeUnavailable || reason != "":
			return false, copyError(ce)
		}
	}
	switch {
	case neverSent(err):
		return true, err
	case poll && ctx.Err() != nil:
		return false, ctx.Err()
	case poll:
		return false, &controlplane.Error{Code: controlplane.CodeUnavailable, Message: "the connection to the leader was lost: poll again", Leader: leader}
	}
	s.log.Warn("a forwarded write was cut off: its outcome is unknown", "leader", leader, "error", err)
	return false, controlplane.Errorf(controlplane.CodeUnknownOutcome,
		"the connection to the leader was lost while the write was under way, it may or may not take effect: repeat it with the same key to learn its outcome")
}

// neverSent reports whether the connection failed before it carried anything.
func neverSent(err error) bool {
	var dial *dialError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &dial) || errors.As(err, &cert)
}

// copyError returns an error of the leader as this member's own.
func copyError(ce *connect.Error) *connect.Error {
	out := connect.NewError(ce.Code(), errors.New(ce.Message()))
	for _, d := range ce.Details() {
		out.AddDetail(d)
	}
	if applied := ce.Meta().Get(appliedHeader); applied != "" {
		out.Meta().Set(appliedHeader, applied)
	}
	return out
}
