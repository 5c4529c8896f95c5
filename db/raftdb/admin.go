package raftdb

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
)

// transferTimeout bounds a transfer of leadership: hashicorp/raft's can hang
// (issue 696 there), so nothing may depend on its end.
const transferTimeout = 10 * time.Second

// RemoveMember takes a member out of the cluster. It works on the leader only,
// which may name itself.
func (e *Engine) RemoveMember(ctx context.Context, name string) error {
	s, err := e.member(name)
	if err != nil {
		return err
	}
	if voters := e.voters(); len(voters) == 1 && voters[0].ID == s.ID {
		return controlplane.Errorf(controlplane.CodePrecondition, "%s is the only voter: without it there is no cluster; stop it instead", name)
	}
	return e.change(ctx, e.raft.RemoveServer(s.ID, 0, changeTimeout))
}

// PromoteMember gives a member without a vote one. A member that joins gets its
// vote by itself once it has caught up.
func (e *Engine) PromoteMember(ctx context.Context, name string) error {
	s, err := e.member(name)
	if err != nil || s.Suffrage == raft.Voter {
		return err
	}
	return e.change(ctx, e.raft.AddVoter(s.ID, s.Address, 0, changeTimeout))
}

// TransferLeadership lets a member lead; the one that is the furthest if none is
// named.
func (e *Engine) TransferLeadership(ctx context.Context, name string) error {
	if e.leader.serving() == nil {
		return e.notLeading()
	}
	transfer := e.raft.LeadershipTransfer
	if name != "" {
		s, err := e.member(name)
		switch {
		case err != nil:
			return err
		case s.ID == e.self.serverID():
			return nil
		case s.Suffrage != raft.Voter:
			return controlplane.Errorf(controlplane.CodePrecondition, "%s has no vote, so it cannot lead: promote it first", name)
		}
		transfer = func() raft.Future { return e.raft.LeadershipTransferToServer(s.ID, s.Address) }
	}
	select {
	case err := <-wait(func() error { return transfer().Error() }):
		if err != nil {
			return controlplane.Errorf(controlplane.CodeUnavailable, "leadership stays where it is (%v): try again", err)
		}
		return nil
	case <-time.After(transferTimeout):
		return controlplane.Errorf(controlplane.CodeDeadline, "the transfer has not ended in %s: look who leads, and try again", transferTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SnapshotNow makes this member checkpoint its database and drop old log.
func (e *Engine) SnapshotNow(ctx context.Context) error {
	select {
	case err := <-wait(func() error { return e.raft.Snapshot().Error() }):
		if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return controlplane.Errorf(controlplane.CodeUnavailable, "no snapshot now (%v): try again", err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// member finds a server by name, on the leader.
func (e *Engine) member(name string) (raft.Server, error) {
	if e.leader.serving() == nil {
		return raft.Server{}, e.notLeading()
	}
	for _, s := range e.servers() {
		if nameOf(s.ID) == name {
			return s, nil
		}
	}
	return raft.Server{}, &controlplane.Error{Code: controlplane.CodeNotFound, Field: "name",
		Message: "there is no member " + name + ": see who there is by 'raft-node cluster status'"}
}

func (e *Engine) change(ctx context.Context, f raft.IndexFuture) error {
	select {
	case err := <-wait(f.Error):
		if err == nil {
			return nil
		}
		return e.commitError(err)
	case <-ctx.Done():
		return unknownOutcome()
	}
}
